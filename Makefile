# `make` checks everything; `make help` lists the rest.
.DEFAULT_GOAL := check
PYTHON ?= python

.PHONY: help check lint types imports generated test slow device generate format

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

check: lint types imports generated test  ## everything that has to be green

lint:  ## format and lint
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types:  ## static types
	$(PYTHON) -m pyright --pythonpath $$($(PYTHON) -c 'import sys; print(sys.executable)')

imports:  ## the arrows between the parts
	$(PYTHON) -c 'import sys; from importlinter.cli import lint_imports_command; sys.argv = ["lint-imports"]; lint_imports_command()'

generated:  ## man pages and tables are fresh
	$(PYTHON) tools/generate.py --check

test:  ## the fast tests
	$(PYTHON) -m pytest

slow:  ## the tests that take minutes
	$(PYTHON) -m pytest -m slow

device:  ## the tests that need a CUDA GPU
	$(PYTHON) -m pytest -m device

generate:  ## write man pages and tables
	$(PYTHON) tools/generate.py

format:  ## format and mend what can be mended
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .
