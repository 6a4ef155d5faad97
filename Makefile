# make demo, make test: nothing but Python 3.11 or newer and make. The first run fills .venv, the next ones are quick.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo test repeats lint types chaos fuzz bench bench-mixture bench-stream quality clean
.DELETE_ON_ERROR:

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile

venv: $(VENV)/.test ## .venv with everything that the tests need

demo: $(VENV)/.run ## watch the daemon find real faults in a real stream (ARGS="--bootstrap-servers ..." for your own Kafka)
	@$(BIN)/streamgmm demo $(ARGS)

test: $(VENV)/.test ## all tests; those on real Kafka where java and mvn are there
	$(BIN)/python -m pytest $(ARGS)

repeats: $(VENV)/.test ## every test that waits for something, twenty times on a busy processor (hours; ARGS="-k name" for some)
	STREAMGMM_REPEATS=20 $(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

chaos: $(VENV)/.test ## the long run: a daemon that is killed again and again
	STREAMGMM_CHAOS=full $(BIN)/python -m pytest -m chaos tests/chaos $(ARGS)

fuzz: $(VENV)/.test ## ten million hostile payloads and record batches, each before an unreadable page
	STREAMGMM_FUZZ=10000000 $(BIN)/python -m pytest tests/property -k fuzz --timeout=0 $(ARGS)

bench: $(VENV)/.test ## measurements, one after the other
	@set -e; for file in $(filter-out tests/bench/bench_stream.py,$(wildcard tests/bench/*.py)); do echo "== $$file"; PYTHONPATH=. $(BIN)/python "$$file" $(ARGS); done

bench-stream: $(VENV)/bench/.bench ## the daemon against what users would write, on real Kafka (ARGS="--quick" for two minutes, "--write" for the docs)
	$(VENV)/bench/bin/python tests/bench/bench_stream.py $(ARGS)

bench-mixture: $(VENV)/.test ## the mixture against scikit-learn (ARGS="--write" for docs/benchmarks.md, "--quick" for a few points)
	PYTHONPATH=. $(BIN)/python tests/bench/bench_mixture.py $(ARGS)

quality: $(VENV)/.test ## rank the detector among its peers on labelled streams (QUALITY=harness.py, ARGS="--sets a,b" for some)
	$(BIN)/python tests/bench/quality/board.py $(ARGS)

clean: ## remove everything that was made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp stands for what is installed; pyproject.toml decides when that is out of date.
$(VENV)/.run: pyproject.toml $(VENV)/pyvenv.cfg
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/pyvenv.cfg
	$(PIP) --editable ".[test]"
	@touch $@ $(VENV)/.run

$(VENV)/.dev: pyproject.toml $(VENV)/pyvenv.cfg
	$(PIP) --editable ".[dev]"
	@touch $@ $(VENV)/.test $(VENV)/.run

# A venv of its own: quixstreams pins older versions of what the tests use.
$(VENV)/bench/.bench: pyproject.toml $(VENV)/pyvenv.cfg
	test -e $(VENV)/bench/bin/python || $(BIN)/python -m venv $(VENV)/bench
	$(VENV)/bench/bin/python -m pip --disable-pip-version-check --quiet install --editable ".[test,bench]"
	@touch $@

$(VENV)/pyvenv.cfg:
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is not there: install Python 3.11 or newer, or say make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed (make PYTHON=python3.12 ...)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { echo "$(PYTHON) cannot make virtual environments: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
