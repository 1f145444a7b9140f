# `make demo` and `make test` are all you need; each sets up what it needs in .venv on first use.
# Needs: Python 3.11 or newer (with venv), make. Another interpreter: make test PYTHON=/path/to/python

.DEFAULT_GOAL := help
.PHONY: help setup demo docs test coverage check lint format types imports bench sweep soak-queue sweep-cutover story wheel clean

SHELL   := /bin/sh
PYTHON  ?=
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
# Tests start many processes: without the compiled modules each would compile all of them again.
PYTEST  := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest
PIP     := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
CODE    := src tests .ci $(wildcard bench scripts)
TYPED   := src tests .ci/wheel_check.py $(wildcard bench scripts)

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP) ## a workspace with a synthetic book, run and shown, in ./demo
	@rm -rf demo
	@$(BIN)/abaco demo demo

test: $(STAMP) ## all tests
	@$(PYTEST) -n 3 --dist worksteal --durations=25

# Its tracer makes a test two to three times as slow, so what walks many examples or starts processes goes without,
# and `make test`, which has 20 minutes, goes without altogether.
coverage: $(STAMP) ## the quick tests with coverage: under 90 % fails (a quarter of an hour)
	@$(PYTEST) -n 2 --dist worksteal -m "not (slow or hypothesis or sweep)" --cov --cov-report=term

check: test lint types imports wheel ## everything that CI checks

lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/ruff format --check --quiet $(CODE) || { \
	  echo "not formatted: 'make format' mends that" >&2; exit 1; }

format: $(STAMP) ## ruff: mend what can be mended
	@$(BIN)/ruff check --quiet --fix $(CODE)
	@$(BIN)/ruff format --quiet $(CODE)

types: $(STAMP) ## mypy, strict, tests too
	@$(BIN)/mypy $(TYPED)

imports: $(STAMP) ## the direction of imports
	@$(BIN)/lint-imports --no-logo

bench: $(STAMP) ## the numbers of docs/performance.md
	@$(BIN)/python -m bench

sweep: $(STAMP) ## kill a run at every step it has (minutes)
	@$(PYTEST) -n 2 -m sweep

soak-queue: $(STAMP) ## 1,000 tapes, two workers that die at random, on both databases (minutes)
	@$(PYTEST) -n 2 -m sweep tests/faults/test_worker_kill.py

sweep-cutover: $(STAMP) ## kill a cutover and a rollback at every commit and fsync, and at random (ten minutes)
	@$(PYTEST) -n 2 -m sweep tests/faults/test_cutover_kill.py

story: $(STAMP) ## every month end of the real book through a cutover and back, with the real checks (minutes)
	@ABACO_TEST_STORY=whole $(PYTEST) tests/operations/test_cutover_story.py

wheel: $(STAMP) ## build the wheel and try it in an empty environment
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	@$(BIN)/python .ci/wheel_check.py dist/*.whl

docs: $(STAMP) ## the reference pages, made from the code
	@$(BIN)/python scripts/generate_docs.py

clean: ## remove everything that make made
	rm -rf $(VENV) demo dist build .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

setup: $(STAMP) ## only the .venv

# Of transitionMatrix only a data set is wanted (tests/portfolio), not the libraries that it needs.
# The build backend goes in first, pinned like the rest, so that the install fetches nothing unpinned.
$(STAMP): pyproject.toml constraints.txt
	@set -e; \
	if ! [ -x $(BIN)/python ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  found=""; \
	  for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	      found="$$candidate"; break; \
	    fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "Abaco Loans needs Python 3.11 or newer, and none of python3, python3.14 ... python3.11 is one." >&2; \
	    echo "Install it (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python)" >&2; \
	    echo "or name yours: make test PYTHON=/path/to/python" >&2; \
	    exit 1; \
	  fi; \
	  if ! "$$found" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	    echo "$$found cannot make virtual environments: its venv or ensurepip module is missing." >&2; \
	    echo "Install it (Debian, Ubuntu: apt install python3-venv), then make again." >&2; \
	    exit 1; \
	  fi; \
	  echo "setting up $(VENV) with $$("$$found" --version) (once) ..."; \
	  rm -rf $(VENV); \
	  "$$found" -m venv $(VENV); \
	else \
	  echo "bringing $(VENV) up to date ..."; \
	fi; \
	$(PIP) install -c constraints.txt hatchling editables; \
	$(PIP) install -c constraints.txt --no-build-isolation -e '.[book,dev,excel,lineage,pdf,postgres,traces,watch]'; \
	$(PIP) install -c constraints.txt --no-deps transitionMatrix; \
	$(BIN)/python -m compileall -q src; \
	touch $(STAMP)
