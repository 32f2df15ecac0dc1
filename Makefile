# One verb each; CI runs the same ones (.ci/run). `make test` and `make demo` set everything up on a new machine.
# They share one virtual environment, which is made anew only when pyproject.toml or constraints.txt change.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 1
# pip's own build of the package obeys the constraints too: the first name is for old pips, the second for new ones.
PIP := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip

.PHONY: help demo test test-data lint format clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/demo.stamp  ## from nothing to runs/demo/report.html (SEEDS=3 repeats it with intervals)
	$(BIN)/alumnus demo out=runs/demo --seeds $(SEEDS)

test: lint  ## what CI runs: format, lint, types, tests
	$(BIN)/python -m pytest -n auto

test-data: $(VENV)/dev.stamp  ## the tests that download packages
	$(BIN)/python -m pytest -m 'data and not gpu'

lint: $(VENV)/dev.stamp  ## format, lint and types, changing nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(VENV)/dev.stamp  ## mend what can be mended
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:  ## the environment, caches and build products; runs/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The demo's packages are among the developer's, so the second environment is a no-op after the first.
$(VENV)/dev.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -e '.[dev]'
	touch $(VENV)/demo.stamp $@

$(VENV)/demo.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -e '.[demo]'
	touch $@
