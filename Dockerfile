# docker build -t clip-robustness-explorer .
# docker run --rm -p 7860:7860 clip-robustness-explorer
#
# For an NVIDIA GPU: docker build --build-arg TORCH_INDEX= ... and docker run --gpus all ...
# The embedded models need no network at run time; -e HF_HUB_OFFLINE=1 forbids any other download.

FROM python:3.11-slim AS packages
# Where PyTorch comes from: its CPU builds, a fraction of the size; empty for the default (CUDA).
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Some of TextAttack's dependencies have no wheel and may need a compiler.
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY requirements.txt .
# PyTorch first, so that the second line finds its versions in place.
RUN grep -E '^torch(vision)?==' requirements.txt > torch.txt \
    && pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r torch.txt \
    && pip install -r requirements.txt

FROM python:3.11-slim
RUN useradd --create-home --uid 1000 app
COPY --from=packages /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=False
WORKDIR /app
# The app's folder belongs to its user, who may keep fine-tuned models there.
RUN chown app:app /app
USER app
COPY --chown=app:app requirements.txt app.py ./
COPY --chown=app:app assets assets
COPY --chown=app:app explorer explorer
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/', timeout=4)"]
CMD ["python", "app.py"]
