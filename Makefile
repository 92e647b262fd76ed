# Everything runs in .venv in this checkout. It is made when missing, and again when the requirements change.
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
BIN := .venv/bin
STAMP := .venv/.installed
# Without torch's exact version on pip's own line, pip may prefer a CUDA build of several GB.
TORCH := torch==$(shell sed -n 's/^torch==//p' constraints.txt)

.PHONY: install demo test slow lint check clean
.DEFAULT_GOAL := check

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "edgelr needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt $(TORCH) -e '.[dev]'
	@touch $@

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/edgelr demo

test: $(STAMP)
	$(BIN)/python -m pytest

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check edgelr tests tools
	$(BIN)/mypy

check: lint test

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
