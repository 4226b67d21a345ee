# make env | demo | test | check | docs | commands | format | bench | gpu | nightly | audit | sbom | clean
# PYTHON chooses the interpreter for a new environment, DATA a data set for the demo,
# WORKERS how many processes run the tests (auto: one for each core), NOTEBOOKS how the
# site's notebooks are run (force: all; cache: those whose code changed; off).

PYTHON ?= python3
WORKERS ?= auto
NOTEBOOKS ?= force
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SITE := docs/_build/html
# dicom_references, training, time_to_dice and fine_tuning want a data set, and hours:
# they are started by hand (docs/dicom.md, docs/training.md); the rest below are parts
BENCHMARKS := $(filter-out %/machine.py %/peer_monai.py %/peer_nnunet.py \
  %/dicom_references.py %/time_to_dice.py %/fine_tuning.py %/training.py %/faults.py \
  %/fault_inputs.py %/kills.py %/mutants.py %/watched.py,$(wildcard benchmarks/*.py))

.DEFAULT_GOAL := help
.PHONY: help env demo test check docs commands format bench gpu nightly audit sbom clean

help:
	@echo "make env      the environment in $(VENV), with the tested versions"
	@echo "make demo     the whole journey on a simulated study, or DATA=<data set>"
	@echo "make test     the quick tests"
	@echo "make check    style and types"
	@echo "make docs     the documentation site, in $(SITE)/index.html"
	@echo "make commands what README and the site tell a newcomer to type, from a fresh wheel"
	@echo "make format   settles the style where that can be done by itself"
	@echo "make bench    every benchmark that needs no data set, as JSON in benchmarks/results/"
	@echo "make gpu      all that only a GPU can show, with PYTHON's PyTorch"
	@echo "make nightly  all tests, the slow ones too, types on other systems, audit, sbom"
	@echo "make audit    known vulnerabilities of the installed packages (asks PyPI)"
	@echo "make sbom     what is installed, as CycloneDX, in dist/"
	@echo "make clean    removes what these targets made"

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 14) else "medseg needs Python 3.11 to 3.14, $(PYTHON) is %d.%d: make $(MAKECMDGOALS) PYTHON=python3.12" % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || $(PYTHON) -m virtualenv -q $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) can make no environment; install its venv module (on Debian: apt install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev,demo,docs]"
	@touch $@

demo: env
	$(BIN)/medseg demo $(if $(DATA),--data "$(DATA)") -o demo

# A file's tests stay in one process, which makes what they share once.
test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: env
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html \
	  -D nb_execution_mode=$(NOTEBOOKS) docs $(SITE)
	$(BIN)/python docs/check_site.py $(SITE)
	$(BIN)/python docs/check_search.py $(SITE) "receptive field" concepts/

# PAGES names those whose commands are run anew; by default all are.
commands: env
	$(BIN)/python docs/run_page_commands.py $(PAGES)

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: env
	@mkdir -p benchmarks/results
	@for file in $(BENCHMARKS); do \
	  name=$$(basename $$file .py); echo "$$name"; \
	  $(BIN)/python $$file --json > benchmarks/results/$$name.jsonl.part && \
	  mv benchmarks/results/$$name.jsonl.part benchmarks/results/$$name.jsonl || exit 1; \
	done

# PYTHON may be an interpreter that has PyTorch for the GPU and medseg's other packages.
gpu:
	PYTHON=$(PYTHON) bash benchmarks/on_gpu.sh $(OUT)

nightly: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not gpu" --timeout 1800 -n $(WORKERS) --dist loadfile
	$(MAKE) docs
	$(BIN)/mypy --platform win32
	$(BIN)/mypy --platform darwin
	$(BIN)/mypy --config-file benchmarks/mypy.ini benchmarks pipelines
	$(MAKE) audit sbom
	$(BIN)/python benchmarks/faults.py

# Fails, too, where a package could not be looked up: without the network nothing is known.
audit: env
	$(BIN)/pip-audit --local --skip-editable --strict --progress-spinner off

sbom: env
	@mkdir -p dist
	$(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
	  -o dist/medseg.cdx.json $(BIN)/python

clean:
	rm -rf $(VENV) demo dist build docs/_build docs/reference/generated *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
