# `make demo` and `make test` need only Python 3.11+, git and make: they set up .venv from constraints.txt.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
RUN := $(BIN)/python
STUDY := studies/ladder_ablation.py

.PHONY: demo test check bench install clean

demo: install  ## The first table of the first paper, on synthetic data, in minutes
	$(RUN) $(STUDY)

# Tests of Ray mostly wait for it to start, so two at a time.
test: install check  ## Linters, types, import contract, tests
	$(RUN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install  ## Speed as ratios within one run
	$(RUN) -m tests.bench

install: $(VENV)/.installed

# torch first and pinned, so that an index or folder of CPU builds which pip is configured with serves it; the default build
# for Linux brings several gigabytes of CUDA with it.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
