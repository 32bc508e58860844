# docker build -t clip-robustness-explorer .
# docker run --rm -p 7860:7860 --read-only --tmpfs /tmp clip-robustness-explorer
#
# For an NVIDIA GPU: docker build --build-arg TORCH_INDEX= ... and docker run --gpus all ...
# The embedded models are inside; nothing is fetched at run time unless -e HF_HUB_OFFLINE=0 and a
# hub model ask for it. `make docker-proof` performs these steps without Docker.

FROM python:3.11-slim-bookworm AS packages
# Where PyTorch comes from: its CPU builds, a fraction of the size; empty for the default (CUDA).
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# Some of TextAttack's dependencies have no wheel and may need a compiler. Unpinned: the base image
# decides the Debian release, and these go no further than this stage.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/* \
    && python -m venv /venv
ENV PATH=/venv/bin:$PATH
WORKDIR /build
COPY requirements.txt .
# PyTorch first, so that the second line finds its versions in place.
RUN grep -E '^torch(vision)?==' requirements.txt > torch.txt \
    && pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r torch.txt \
    && pip install -r requirements.txt

FROM python:3.11-slim-bookworm
RUN useradd --no-create-home --home-dir /tmp --shell /usr/sbin/nologin --uid 10001 app
COPY --from=packages /venv /venv
# Everything that is written goes to /tmp, so that all else may be read-only.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    XDG_CACHE_HOME=/tmp/cache \
    MPLCONFIGDIR=/tmp/cache/matplotlib \
    NUMBA_CACHE_DIR=/tmp/cache/numba \
    HF_HOME=/tmp/cache/huggingface \
    HF_HUB_OFFLINE=1 \
    EXPLORER_RUNS=/tmp/runs \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=False
WORKDIR /app
COPY requirements.txt app.py ./
COPY assets assets
COPY explorer explorer
USER 10001
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
CMD ["python", "app.py"]
