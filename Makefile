# `make` checks everything; `make help` lists the rest.
.DEFAULT_GOAL := check
PYTHON ?= python
DEVICE ?= cpu
PEERS ?=  # --python of an environment that has SpeechBrain and asteroid; one is made without
PAPERS = galr-table3 galr-table1 dp-rcnet-table1 papez-table3 papez-table2 sepformer-fig3
RESULTS = benchmarks/results/$(DEVICE)
MEASURED = $(PAPERS) $(if $(filter cpu,$(DEVICE)),halting repeats growth peers train)

.PHONY: help check lint spelling types imports generated test long coverage mutants slow device peers bench generate docs format

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

check: lint spelling types imports generated test long  ## everything that has to be green

lint:  ## format and lint
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

spelling:  ## words that are mistyped
	$(PYTHON) -m codespell_lib

types:  ## static types
	$(PYTHON) -m pyright --pythonpath $$($(PYTHON) -c 'import sys; print(sys.executable)')

imports:  ## the arrows between the parts
	$(PYTHON) -c 'import sys; from importlinter.cli import lint_imports_command; sys.argv = ["lint-imports"]; lint_imports_command()'

generated:  ## man pages and tables are fresh, lines that mutants break are there
	$(PYTHON) -m tools.generate --check
	$(PYTHON) -m tools.mutants --check

test:  ## the fast tests
	$(PYTHON) -m pytest

long:  ## the tests that take longer, a second or a few each
	$(PYTHON) -m pytest -m "long and not slow and not device"

coverage:  ## the fast and the long tests with branch coverage, and what they leave out
	$(PYTHON) -m pytest -m "not slow and not device" --cov --cov-report=term:skip-covered

mutants:  ## break the code a line at a time: an hour on two cores
	$(PYTHON) -m tools.mutants

slow:  ## the tests that take minutes
	$(PYTHON) -m pytest -n0 -m slow

device:  ## the tests that need a CUDA GPU
	$(PYTHON) -m pytest -n0 -m device

peers:  ## the tests that need SpeechBrain, asteroid and ESPnet, in an environment of their own
	$(PYTHON) -m benchmarks.peers --tests $(PEERS)

bench: $(MEASURED:%=$(RESULTS)/%.jsonl)  ## measure what is missing in benchmarks/results: over an hour on two cores
	$(PYTHON) -m tools.generate

$(RESULTS)/%.jsonl:
	@mkdir -p $(@D)
	$(PYTHON) -m septool profile --paper $* --device $(DEVICE) --budget 3 --out $@ > /dev/null

$(RESULTS)/halting.jsonl $(RESULTS)/repeats.jsonl $(RESULTS)/growth.jsonl $(RESULTS)/peers.jsonl $(RESULTS)/train.jsonl: $(RESULTS)/%.jsonl:
	@mkdir -p $(@D)
	$(PYTHON) -m benchmarks.$* $(if $(filter peers train,$*),$(PEERS)) --out $@ > /dev/null

generate:  ## write man pages and tables
	$(PYTHON) -m tools.generate

docs:  ## build the site, with warnings as errors
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict

format:  ## format and mend what can be mended
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .
