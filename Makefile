# Everything a newcomer or CI needs. `make demo` and `make test` set up .venv by themselves.
.PHONY: help demo test lint format types contract tests pythons bench crash metadata bundle dist pins clean
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null)
SOURCES = pyproject.toml constraints.txt

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

# One recipe for both kinds of install: $(1) is what to install.
ifdef UV
install = $(UV) venv -q --allow-existing --python $(PYTHON) .venv && $(UV) pip install -q --python $(BIN)/python -c constraints.txt -e '$(1)'
else
install = $(PYTHON) -m venv .venv && $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '$(1)'
endif

.venv/.runtime: $(SOURCES)
	$(call install,.)
	@touch $@

.venv/.dev: $(SOURCES)
	$(call install,.[dev])
	@touch $@ .venv/.runtime

# The prompt goes through the environment: it may hold quotes.
demo: export PROMPT := $(value PROMPT)
demo: .venv/.runtime ## make a picture: a real client, a real server process (sandbox without a key)
	@$(BIN)/nano-banana-mcp demo -- "$$PROMPT"

test: lint types contract tests ## every check and every test

lint: .venv/.dev ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.dev ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.dev ## mypy, strict; and the program as on Windows and macOS
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 server tools
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin server tools

contract: .venv/.dev ## which room may import which
	$(BIN)/lint-imports

tests: .venv/.dev ## pytest, several processes: most tests wait for clocks and sockets
	@tests/support/install_postgres.sh
	$(BIN)/pytest -n 4 --dist worksteal

pythons: ## the tests on each Python that is found from 3.11 on
	tests/support/each_python.sh -n 4 --dist worksteal

bench: .venv/.dev ## the figures, each against what it is compared to, from one run
	$(BIN)/python -m tests.benchmarks

crash: .venv/.dev ## kill -9 and disconnects at every point of a submit, 100 rounds each
	CRASH_ROUNDS=100 $(BIN)/pytest -s tests/crash

metadata: .venv/.dev ## renew server.json, the plugins' files and the README's links
	$(BIN)/python packaging/artefacts.py metadata

bundle: .venv/.dev ## dist/…mcpb, to be opened with Claude Desktop
	$(BIN)/python packaging/artefacts.py bundle

dist: .venv/.dev ## all that a release has, with checksums: the same bytes each time
	$(BIN)/python packaging/artefacts.py dist

pins: .venv/.dev ## renew constraints.txt from pyproject.toml
	$(if $(UV),$(UV),$(BIN)/uv) pip compile -q --universal --all-extras --upgrade --no-annotate --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o constraints.txt

clean: ## remove what was built
	rm -rf .venv .venvs dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .node build
