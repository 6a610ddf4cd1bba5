PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PYTEST := $(RUN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

.PHONY: train test test-all lint format clean

## Train the demo: real ImageNet weights, synthetic cells, no GPU and no download needed.
train: $(STAMP)
	$(RUN)/fastleuk train --backbone tf_efficientnet_lite0 --weights bundled --amp \
		--epochs 6 --batch-size 16 --val-fraction 0.15 --test-fraction 0.2

## Lint, type check and the default tests.
test: lint
	$(PYTEST) -m "not slow"

## Everything, slow tests too.
test-all: lint
	$(PYTEST)

lint: $(STAMP)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

format: $(STAMP)
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "fastleuk needs Python 3.10 or newer; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
