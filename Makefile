# Every target works from an empty clone: it makes .venv first when that is missing or older than setup.py.

BIN := .venv/bin
STAMP := .venv/installed
SUPPORTED := 'import sys; sys.exit(not (sys.implementation.name == "cpython" and (3, 10) <= sys.version_info[:2] <= (3, 11)))'
# The first of these that is CPython 3.10 or 3.11; `make venv PYTHON=/path/to/python` to choose.
PYTHON ?= $(shell for p in python3.11 python3.10 python3 python; do $$p -c $(SUPPORTED) 2>/dev/null && echo $$p && break; done)
WRONG_PYTHON = this project runs on CPython 3.10 and 3.11 (tensorflow-addons has no wheel for others); found $(or $(shell $(or $(PYTHON),python3) --version 2>&1 | head -n 1),none); name one with PYTHON=/path/to/python3.11

.PHONY: venv demo tables-demo test test-all scheduler bench stages optimism lint clean

venv: $(STAMP)

$(STAMP): setup.py
	$(if $(shell $(or $(PYTHON),false) -c $(SUPPORTED) 2>/dev/null && echo yes),,$(error $(WRONG_PYTHON)))
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(STAMP)

# Corpus, preparation, two networks, evaluation, late fusion and a table of what came out, under demo/.
demo: $(STAMP)
	$(BIN)/python -m fer.demo

# Every run of the dissertation's tables on a drawn corpus, narrow and two steps each, into one report: an hour or so.
# It shows that the machinery works; the numbers say nothing. What is done is not done again.
tables-demo: $(STAMP)
	$(BIN)/python -m fer.demo.tables

test: lint
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadgroup

# The proofs that take minutes as well (NASNet Large and Keras' weights of it, real video at full size, learning over
# seeds).
test-all: lint
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadgroup -m 'slow or not slow'

# A table through the qsub of this machine: arrays, a dependency, a walltime that is met, a failure; some five minutes.
# Says that it skips where there is no qsub, and installs none (CONTRIBUTING.md).
scheduler: $(STAMP)
	$(BIN)/python -m pytest -m slow -rs tests/test_experiment.py

# What our ways of preparing sound and faces, of searching for ensembles and of training gain over those they replace and
# over PyTorch (in an environment of its own, .venv-bench), and that sound and faces are of one instant. Hours; ends with
# a table of training's goals, and all its figures in demo/benchmarks.json.
bench: $(STAMP)
	for name in alignment smile faces grouped rnn search torch_venv; do \
	    $(BIN)/python -m tests.benchmarks.$$name || exit; \
	done
	$(BIN)/python -m tests.benchmarks

# What each stage of training adds on the drawn corpus, over five seeds: an hour or so.
stages: $(STAMP)
	$(BIN)/python -m tests.benchmarks.stages

# How far scores of searched ensembles lie from the truth, in made-up studies: the table in the README, ten minutes.
optimism: $(STAMP)
	$(BIN)/python -m tests.benchmarks.optimism

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .venv-bench demo *.egg-info build .hypothesis .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
