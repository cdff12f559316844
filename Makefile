# `make demo` and `make test` need only Python 3.11+, git and make: they set up .venv from constraints.txt.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
RUN := $(BIN)/python
STUDY := studies/ladder_ablation.py

.PHONY: demo test check bench install clean

demo: install  ## The first table of the first paper, on synthetic data, in minutes
	$(RUN) $(STUDY)

# More processes than cores: tests of Ray mostly wait for it to start.
test: install check  ## Linters, types, import contract, tests
	$(RUN) -m pytest --numprocesses 4 --dist loadfile

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install  ## Speed as ratios within one run
	$(RUN) -m tests.bench

install: $(VENV)/.installed

# torch first and pinned: left to another package's range, pip would bring several gigabytes of CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
