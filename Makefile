# `make demo` and `make test` are all a newcomer needs; both build .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo-run
PEER := .venv-gammapy

.PHONY: help demo test lint format bench clean

help:
	@echo "make demo    simulate a survey, reduce and stack it on 2 workers, show what came out"
	@echo "make test    run the tests (those that need the public data look at GAMMAPY_DATA)"
	@echo "make lint    formatting, lint and type checks"
	@echo "make bench   the benchmarks; see benchmarks/README.md"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "gammaflow needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "The venv module is missing: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(READY)

demo: $(READY)
	$(BIN)/python workflow/simulated_survey/demo.py $(DEMO)

test: $(READY)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) $(PEER)/.ready
	GAMMAPY_PYTHON=$(PEER)/bin/python $(BIN)/python benchmarks/reduction.py
	GAMMAPY_PYTHON=$(PEER)/bin/python $(BIN)/python benchmarks/reduction_1d.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/engine_overhead.py
	$(BIN)/python benchmarks/images.py
	GAMMAPY_PYTHON=$(PEER)/bin/python $(BIN)/python benchmarks/fits.py
	GAMMAPY_PYTHON=$(PEER)/bin/python $(BIN)/python benchmarks/spectra.py
	$(BIN)/python benchmarks/fit_scaling.py

# Gammapy lives in an environment of its own: it is measured against, never imported.
$(PEER)/.ready:
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check "gammapy==2.1" "regions<0.12"
	@touch $(PEER)/.ready

clean:
	rm -rf $(VENV) $(PEER) $(DEMO)
