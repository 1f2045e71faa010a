# SPDX-License-Identifier: Apache-2.0
# Every target works from an empty clone. It first makes .venv if .venv is missing or older than setup.py or the lock.

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# The newest supported interpreter on the PATH; `make venv PYTHON=/path/to/python` to choose another.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.10 python3 python; do \
    $$p fer/interpreter.py 2>/dev/null && echo $$p && break; done)
MINOR = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
NO_PYTHON = no supported Python on the PATH: expected CPython 3.10 to 3.13; name one with PYTHON=/path/to/python3.13
EXTRAS ?= gpu
# Options of pip where there is no internet: `make venv WHEELHOUSE=wheelhouse`, a folder that `make wheelhouse` filled.
OFFLINE = $(if $(WHEELHOUSE),--no-index --find-links=$(abspath $(WHEELHOUSE)))

.PHONY: venv demo tables-demo weights test core test-all scheduler bench learning stages optimism lint docs docs-flags \
    lock wheel wheelhouse clean

venv: $(STAMP)

$(STAMP): setup.py $(wildcard requirements/*.txt)
	$(if $(PYTHON),,$(error $(NO_PYTHON)))
	@$(PYTHON) fer/interpreter.py
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet $(OFFLINE) --upgrade pip
	$(BIN)/python -m pip install --quiet $(OFFLINE) --constraint requirements/$(MINOR).txt --editable '.[dev]'
	@touch $(STAMP)

# Corpus, preparation, two networks, evaluation, late fusion and a table of their scores, under demo/.
demo: $(STAMP)
	$(BIN)/python -m fer.demo

# Every run of the dissertation's tables on a synthetic corpus, narrow and two steps each, into one report: an hour or
# so. It shows that the machinery works, and its numbers mean nothing. Finished runs are not repeated.
tables-demo: $(STAMP)
	$(BIN)/python -m fer.demo.tables

# The networks of the starter set from open data, trained and built into runs/starter: an hour on two cores. The data
# are prepared first, from `make weights FER2013=FOLDER RAVDESS=FOLDER`, unless data/ has them (docs/open-data.md).
# Finished runs are not repeated, and a stopped one is resumed.
weights: $(STAMP)
	$(BIN)/python -m fer.demo.weights $(if $(FER2013),'--fer2013=$(FER2013)') $(if $(RAVDESS),'--ravdess=$(RAVDESS)')

# Three processes on two cores, because many tests wait for processes of their own.
test: lint
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadgroup

# The tests marked `core`: networks, one run of every stage, replay, resume, preparation, fusion and report. CI runs
# them on the stack that does not run the whole suite.
core: $(STAMP)
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadgroup -m 'core and not slow'

# All tests, with the proofs that take minutes (NASNet Large and Keras' weights of it, real video at full size, learning
# over seeds).
test-all: lint
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadgroup -m 'slow or not slow'

# A table and single runs through the qsub of this machine: arrays, a dependency, walltimes that are reached, a failure.
# Some ten minutes. Without a qsub it prints that it skips (docs/testing.md tells how to install one).
scheduler: $(STAMP)
	$(BIN)/python -m pytest -m slow -rs tests/test_experiment.py tests/test_job_scripts.py

# Measures how much faster we prepare audio and faces, search for ensembles and train, against the code that ours
# replaces and against PyTorch (in its own environment, .venv-bench). Also measures that audio and faces are of one
# instant. Takes hours, ends with a table of training's goals, and writes all figures to demo/benchmarks.json.
bench: $(STAMP)
	for name in alignment instants smile faces people afew2013 ravdess_fusion ravdess_audio grouped rnn search torch_venv; do \
	    $(BIN)/python -m tests.benchmarks.$$name || exit; \
	done
	$(BIN)/python -m tests.benchmarks

# Trains fresh networks and their twins in PyTorch on data/fer2013, three seeds each (docs/performance.md): a day on two
# cores. Finished runs are kept.
learning: $(STAMP)
	$(BIN)/python -m tests.benchmarks.torch_venv
	$(BIN)/python -m tests.benchmarks.learning

# The table of what each stage of training adds on the synthetic corpus, over five seeds (docs/training.md): an hour.
stages: $(STAMP)
	$(BIN)/python -m tests.benchmarks.stages

# The table of how far scores of searched ensembles lie from the truth (docs/late-fusion.md): ten minutes.
optimism: $(STAMP)
	$(BIN)/python -m tests.benchmarks.optimism

# Types are checked for the oldest Python of the stack, so that newer functions are not called.
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --python-version $$($(BIN)/python -c 'import sys; print("3.10" if sys.version_info < (3, 12) else "3.12")')

# The documentation as a site, build/docs/index.html. Warnings are errors.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet $(OFFLINE) --constraint requirements/$(shell $(BIN)/python -c \
	    'import sys; print("%d.%d" % sys.version_info[:2])').txt --editable '.[docs]'
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

# Writes the table of train.py's flags into docs/training.md again.
docs-flags: $(STAMP)
	$(BIN)/python -m tests.flag_table

# Resolves setup.py again for each interpreter, without needing those interpreters: requirements/<version>.txt.
lock: $(STAMP)
	$(BIN)/python -m pip install --quiet 'uv>=0.9'
	for minor in 3.10 3.11 3.12 3.13; do \
	    $(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --python-version $$minor \
	        --python-platform x86_64-manylinux_2_28 --extra dev --extra gpu --extra docs setup.py -o requirements/$$minor.txt || exit; \
	done

# dist/afew_fer-*.whl, which works without the checkout.
wheel: $(STAMP)
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# Every wheel that a machine without internet needs, for the interpreter of .venv. Copy wheelhouse/ and the checkout to
# it, and set FER_WHEELHOUSE in gpu_jobs/site.sh. With EXTRAS=dev,gpu, `make venv WHEELHOUSE=wheelhouse` works there.
wheelhouse: $(STAMP)
	$(BIN)/python -m pip wheel --quiet --constraint requirements/$(shell $(BIN)/python -c \
	    'import sys; print("%d.%d" % sys.version_info[:2])').txt --wheel-dir wheelhouse pip setuptools wheel '.[$(EXTRAS)]'

clean:
	rm -rf .venv .venv-bench .venv-peers .venv-other demo dist wheelhouse *.egg-info build .hypothesis .pytest_cache .ruff_cache \
	    .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
