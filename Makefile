# `make help` lists the targets. Each makes .venv first if it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Python compiles what is imported; compiling all that is installed takes half of the time.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt
TEST_JOBS ?= 2
# With no bytecode kept, every program would compile all it imports again: ten seconds each.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test integration nightly lint format parity docs clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("prism_jax needs Python 3.11 or newer, got " + sys.version.split()[0] + "; run: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) -e '.[data,report,dev]'
	@touch $@

demo: $(INSTALLED) ## fine-tune, invert, edit, measure and audit on the phantom -> runs/demo/report.html
	rm -rf runs/demo
	$(BIN)/prism data build phantom --out runs/demo/data --preset strong --train 2000 --val 64 --test 256
	$(BIN)/prism train encode_latents --config demo/finetune
	$(BIN)/prism train finetune --config demo/finetune
	$(BIN)/prism export --run runs/demo/finetune --out runs/demo/model
	$(BIN)/prism eval counterfactuals --config demo/counterfactuals
	$(BIN)/prism train finetune --config demo/finetune_omit_pacemaker
	$(BIN)/prism export --run runs/demo/silent --out runs/demo/silent_model
	$(BIN)/prism data report runs/demo/data --out runs/demo/survey
	$(BIN)/prism eval audit --config demo/audit
	@echo "open runs/demo/report.html and runs/demo/audit/audit.html"

PYTEST := $(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder --durations 10

test: $(INSTALLED) ## run the fast tests: tests/unit and tests/jit, one CPU device, no data from outside
	$(PYTEST) tests/unit tests/jit

integration: $(INSTALLED) ## run tests/sharded (eight CPU devices), tests/reference and tests/programs
	$(PYTEST) tests/sharded
	$(PYTEST) tests/reference tests/programs

nightly: $(INSTALLED) docs ## run the tests of a minute and more, and build the documentation with its notebook
	$(PYTEST) -m nightly tests/unit tests/jit tests/reference tests/programs

lint: $(INSTALLED) ## check style, formatting and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

format: $(INSTALLED) ## fix what the linter can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

parity: $(INSTALLED) ## install PyTorch diffusers and run the tests that compare with it
	$(PIP_INSTALL) -e '.[parity]'
	$(BIN)/python -m pytest -m parity

docs: $(INSTALLED) ## build the documentation -> docs/_build/html/index.html
	$(PIP_INSTALL) -e '.[data,report,docs]'
	$(BIN)/python -m sphinx -E -W --keep-going -b html docs docs/_build/html

clean: ## remove the environment and the caches; runs/ stays
	rm -rf .venv .cache .pytest_cache .ruff_cache build dist docs/_build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
