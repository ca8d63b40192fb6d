# Every command of the project. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS ?= standin
# Tests in files of their own run side by side: most of them wait for servers, not for the processor.
PYTEST := $(BIN)/python -m pytest -q --durations 15
SIDE_BY_SIDE := --dist loadfile --numprocesses
# The full counts of what `make test` does a seeded part of.
LONG := GX_POSTGRES_KILLS=20 GX_POSTGRES_FAULTS=20 GX_REDIS_FAULTS=20 GX_REDIS_TIMINGS=production \
        GX_BACKUP_KILLS=20 GX_GENERATED_STACKS=300 GX_POLICY_MUTANTS=1000 \
        GX_EDGE_ISSUANCES=50 GX_EDGE_RENEWALS=50 GX_EDGE_REQUESTS=100000 GX_EDGE_PODS_LOST=20 GX_EDGE_CUTS=10
COUNTED_TESTS := $(addprefix tests/services/test_,postgres_failover.py redis_faults.py postgres_backup.py \
                 redis_backup.py reachability.py edge_issuances.py edge_load.py edge_cuts.py)

.PHONY: help install sandbox sandbox-status sandbox-down test test-long test-fast test-services test-sandbox test-engine check \
        check-workflows format policy conformance bench configure adopt edge-drift settings-check preflight prove verify report \
        pr-check schema lock

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

# --- the environment of the tests and the sandbox --------------------------------------------------------------------

$(VENV)/.installed: requirements.txt requirements-dev.txt
	@echo "Installing Python packages into $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed; found " + sys.version.split()[0] + ". Fix: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt -r requirements-dev.txt
	@touch $@

install: $(VENV)/.installed ## Install the Python packages that the program, the checks and the tests need

lock: ## Pin requirements*.in with hashes
	@$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.txt requirements.in
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements-dev.txt requirements-dev.in

# --- the embedded platform --------------------------------------------------------------------------------------------

sandbox: $(VENV)/.installed ## Start the embedded platform and deploy testnet and mainnet on it
	@$(BIN)/python -m sandbox up --deploy testnet mainnet

sandbox-status: $(VENV)/.installed ## Show what runs in the sandbox and how to look at it
	@$(BIN)/python -m sandbox status

sandbox-down: $(VENV)/.installed ## Stop the sandbox and remove all it made
	@$(BIN)/python -m sandbox down

# --- checks and tests ---------------------------------------------------------------------------------------------------

check: $(VENV)/.installed ## Format, lint and types, with no finding
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy .
	@$(BIN)/python -m settings.schema --check

check-workflows: $(VENV)/.installed ## Lint the GitHub workflows (Go)
	@$(BIN)/zizmor --offline --no-progress --persona=auditor .github
	@go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.7

format: $(VENV)/.installed ## Format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

test-fast: $(VENV)/.installed ## Unit and program tests: pip packages alone
	@$(PYTEST) --numprocesses auto --dist worksteal tests/unit tests/program

test-services: $(VENV)/.installed ## Scripts against real Postgres, Redis, Nginx and certbot (root)
	@$(BIN)/python -m sandbox.toolchain packages
	@$(PYTEST) $(SIDE_BY_SIDE) 3 tests/services

test-sandbox: $(VENV)/.installed ## The embedded platform itself, without the stacks (root)
	@$(BIN)/python -m sandbox run -- $(PYTEST) tests/sandbox

conformance: $(VENV)/.installed ## The plugins' behaviour that the program relies on; PLUGINS=standin|real|kubernetes,… (root)
	@GX_PLUGINS=$(PLUGINS) $(BIN)/python -m sandbox run -- $(PYTEST) $(SIDE_BY_SIDE) 2 tests/conformance

test-engine: $(VENV)/.installed ## Whole stacks with the real engine on the sandbox (root)
	@$(BIN)/python -m sandbox run -- $(PYTEST) tests/engine

policy: $(VENV)/.installed ## The policy pack on every stack, by the real engine on the sandbox (root)
	@$(BIN)/python -m sandbox run -- $(PYTEST) tests/engine/test_policy.py

# The platform stays up from one to the next. The stacks come last: their pods are never quite idle, and their firewall
# closes the node ports that the platform's own tests knock at.
test: check test-fast ## Everything (root)
	@$(BIN)/python -m sandbox.toolchain --with kwok --with gofakes3 --with cyclonus
	@$(MAKE) --no-print-directory test-services
	@$(BIN)/python -m sandbox run -- $(MAKE) --no-print-directory test-sandbox conformance test-engine

# One after the other, so that the seconds it prints are those of the fault and not of a neighbour.
test-long: $(VENV)/.installed ## Faults, kills and generated stacks in full counts, with their figures (root)
	@$(BIN)/python -m sandbox.toolchain --with kwok --with cyclonus
	@$(PYTEST) --hypothesis-profile long tests/unit/test_settings_properties.py
	@$(LONG) $(PYTEST) -rP $(COUNTED_TESTS)
	@$(LONG) $(BIN)/python -m sandbox run -- $(PYTEST) -rP tests/sandbox/test_fit.py tests/long

bench: $(VENV)/.installed ## Measure against a bare program and kubectl; writes docs/performance.md
	@$(BIN)/python -m tests.bench

# --- operating a stack ---------------------------------------------------------------------------------------------------

STACK_REQUIRED = $(if $(STACK),,$(error STACK is missing. Fix: make $@ STACK=testnet))

configure: $(VENV)/.installed ## Fill in what a stack file still misses: STACK=…
	$(STACK_REQUIRED)@$(BIN)/python -m settings.configure $(STACK)

settings-check: $(VENV)/.installed ## Check a stack file without Pulumi: STACK=…
	$(STACK_REQUIRED)@$(BIN)/python -m settings.check $(STACK)

prove: $(VENV)/.installed ## Prove a stack file without Pulumi and without access: STACK=…
	$(STACK_REQUIRED)@$(BIN)/python -m checks $(STACK)

preflight: $(VENV)/.installed ## Look at the live cluster and hosts before a deployment, read-only: STACK=…
	$(STACK_REQUIRED)@$(BIN)/python -m operations.preflight $(STACK) $(if $(CONFIG_FILE),--config-file $(CONFIG_FILE))

verify: $(VENV)/.installed ## The deployment checklist on the live stack after an `up`, read-only: STACK=…
	$(STACK_REQUIRED)@$(BIN)/python -m operations.verify $(STACK) $(if $(CONFIG_FILE),--config-file $(CONFIG_FILE))

BASE ?= origin/main
report: $(VENV)/.installed ## What a change does to a stack, as a reviewer reads it: STACK=…, BASE=a revision, PREVIEW=…
	$(STACK_REQUIRED)@$(BIN)/python -m operations.report $(STACK) --base $(BASE) $(if $(PREVIEW),--preview $(PREVIEW)) \
	  $(if $(CLIENT_SIDE),--client-side) $(if $(SANDBOX),--sandbox)

pr-check: check check-workflows test-fast report ## What a pull request is checked with: STACK=…, BASE=a revision

schema: $(VENV)/.installed ## Regenerate settings/schema.json
	@$(BIN)/python -m settings.schema

edge-drift: $(VENV)/.installed ## List what differs on the nodes from what the program writes there: STACK=…
	$(STACK_REQUIRED)@$(BIN)/python -m operations.edge_drift $(STACK)

adopt: $(VENV)/.installed ## List what exists of a stack and write an import file: STACK=…
	$(STACK_REQUIRED)@$(BIN)/python -m operations.adopt $(STACK)
