# Needs git, make and Python 3.11 or newer; everything else is installed into .venv, pinned with hashes.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
# -qq: an unreachable mirror named in a user's pip configuration is not this project's warning; errors still show.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes
LINTED := src tests $(wildcard bench)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test check fmt bench npm paypal nightly audit lock clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Two stamps: `demo` needs what the product runs with, everything else needs the development tools too.
$(VENV)/run.stamp: requirements/run.txt requirements/build.txt
	@echo "venv: installing what tokentill runs with"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tokentill needs Python 3.11 or newer")'
	@$(PIP) -r requirements/run.txt -r requirements/build.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	@echo "venv: installing the development tools"
	@$(PIP) -r requirements/dev.txt
	@touch $@

venv: $(VENV)/dev.stamp ## Build .venv from the pinned requirements, if they changed

demo: $(VENV)/run.stamp ## Show the product; ONCE=1 one pass, WHOLE=1 everything, SPEED=n faster
	@$(BIN)/tokentill demo $(if $(ONCE),--once) $(if $(WHOLE),--whole) $(if $(SPEED),--speed $(SPEED))

test: venv ## Run the tests, on SQLite and on a PostgreSQL of their own
	@$(BIN)/python -m pytest -n $(JOBS) tests

check: venv ## Format, lint, types, import law, tidiness and docs in step, without changing a file
	@$(BIN)/ruff format --check $(LINTED)
	@$(BIN)/ruff check $(LINTED)
	@$(BIN)/mypy $(LINTED)
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q tests/tidy tests/cli/test_reference.py tests/client/test_reference.py tests/web/test_docs.py

fmt: venv ## Format and repair what can be repaired
	@$(BIN)/ruff format $(LINTED)
	@$(BIN)/ruff check --fix $(LINTED)

bench: venv ## Run the benchmarks; they print ratios
	@$(BIN)/python -m bench

npm: venv ## Run npm's openai client against the endpoint; needs node and a network
	@npm install --silent --no-audit --no-fund --prefix .npm openai@$(NPM_OPENAI)
	@NPM_CLIENT=.npm $(BIN)/python -m pytest -q -rs tests/gateway/test_npm.py
NPM_OPENAI := 7.57.0

paypal: venv ## Hold what passes to and from PayPal against its own documents; OPENAPI=folder of them
	$(if $(OPENAPI),,$(error Name the folder of PayPal's documents: make paypal OPENAPI=folder, see tests/data/paypal))
	@TOKENTILL_PAYPAL_OPENAPI=$(abspath $(OPENAPI)) $(BIN)/python -m pytest -n $(JOBS) -k paypal tests

nightly: venv ## Run the long versions of the random tests too
	@$(BIN)/python -m pytest -n $(JOBS) --nightly tests

audit: venv ## Look all pins up among the known vulnerabilities, at pypi.org (SERVICE=osv: osv.dev)
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip --vulnerability-service $(or $(SERVICE),pypi) \
		$(addprefix -r ,$(wildcard requirements/*.txt))

lock: ## Renew the pinned requirements; needs uv
	uv pip compile $(LOCK) pyproject.toml -o requirements/run.txt
	uv pip compile $(LOCK) -c requirements/run.txt --group build -o requirements/build.txt
	uv pip compile $(LOCK) -c requirements/run.txt pyproject.toml --group dev -o requirements/dev.txt
LOCK := -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

clean: ## Remove what was built, the virtual environment included
	@rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis
	@rm -rf .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
