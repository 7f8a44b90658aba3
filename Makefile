# Every target works in a fresh clone: .venv is created when it is missing and updated when
# pyproject.toml has changed. Options: make demo ARGS="--seeds 1", make test ARGS="-k rank".
.DEFAULT_GOAL := help
.PHONY: help demo bench test test-typed test-doctest test-compile lint format types docs clean

ARGS ?=
BIN := .venv/bin
# As many workers as cores, eight at most; JOBS=0 runs the tests in one process, for a debugger.
JOBS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --maxprocesses 8
DEV := .venv/.installed-dev
DOCS := .venv/.installed-docs

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

$(DEV): pyproject.toml scripts/bootstrap.sh
	@scripts/bootstrap.sh dev

$(DOCS): pyproject.toml scripts/bootstrap.sh
	@scripts/bootstrap.sh dev,docs

demo: $(DEV) ## train on real images with and without a ranking term; table and report in runs/
	$(BIN)/rankgrad demo $(ARGS)

bench: $(DEV) ## measure the speed tables; a page in runs/bench
	$(BIN)/rankgrad bench $(ARGS)

test: test-typed test-doctest test-compile ## all tests

test-typed: $(DEV) ## tests, with shapes and types checked at run time
	$(PYTEST) -m "not compile" $(ARGS)

test-doctest: $(DEV) ## the examples in the docstrings
	$(PYTEST) --doctest-modules src/rankgrad $(ARGS)

test-compile: $(DEV) ## tests of torch.compile, which the run-time checks would disturb
	RANKGRAD_TYPECHECK=0 $(PYTEST) -m compile $(ARGS)

lint: $(DEV) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV) ## let ruff mend and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(DEV) ## mypy --strict over src
	$(BIN)/mypy

docs: $(DOCS) ## the site, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

clean: ## remove what builds, tests and runs leave behind (not .venv, not runs/)
	rm -rf site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
