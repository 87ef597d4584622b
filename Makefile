# Each target does its own set-up: a virtual environment with the locked versions and this package.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-faults browser check docs dist format lock clean

help: ## say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(READY) ## move the zoo model to OpenMoji twice and compare (ARGS=--quick for three minutes)
	$(BIN)/difftuning demo $(ARGS)

test: check ## all checks and the fast tests
	$(BIN)/pytest -m "not slow and not gpu and not network"

test-slow: $(READY) ## the tests that take long
	$(BIN)/pytest -m "slow and not gpu and not network"

test-faults: $(READY) ## kill, fill, damage and fuzz at full length; writes benchmarks/results/faults.json
	$(BIN)/python tests/faults/run.py --out benchmarks/results/faults.json $(ARGS)

browser: $(READY) ## the report in a real browser, which is downloaded where none is installed
	$(BIN)/playwright install --with-deps chromium
	$(BIN)/pytest tests/reporting/test_browser.py

check: $(READY) docs ## format, lint, types, arrows, spelling, documentation, known weaknesses of what is locked
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src tests docs recipes benchmarks examples *.md
	$(BIN)/python .ci/audit

docs: $(READY) ## build the documentation into site/, every warning an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: $(READY) ## wheel and sdist in dist/, and the demo from the wheel in an empty environment
	rm -rf dist
	$(BIN)/python -m build
	$(PYTHON) -m venv dist/try
	dist/try/bin/python -m pip install --quiet --disable-pip-version-check dist/difftuning-*.whl
	cd dist && try/bin/difftuning doctor && try/bin/difftuning demo --quick --out try/demo

format: $(READY) ## bring the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY) ## write the versions installed now to requirements.lock
	$(BIN)/pip freeze --exclude-editable | grep -v ' @ ' | sed -E 's/\+cpu$$//' | LC_ALL=C sort -f > requirements.lock

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The stamp is written last, so an interrupted installation is done again; so is one whose lock has changed.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)
