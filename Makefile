# Everything a newcomer or CI needs. `make demo` and `make test` set up .venv by themselves.
.PHONY: help demo test lint format types contract tests pythons snapshots mutants sbom audit bench bench-docs crash torture interop metadata bundle dist pins clean
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null)
SOURCES = pyproject.toml constraints.txt

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

comma := ,

# One recipe for both kinds of install: $(1) is what to install.
ifdef UV
install = $(UV) venv -q --allow-existing --python $(PYTHON) .venv && $(UV) pip install -q --python $(BIN)/python -c constraints.txt -e '$(1)'
else
install = $(PYTHON) -m venv .venv && $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '$(1)'
endif

# Where Python is told to write no bytecode, our code, which is not copied into .venv, would be compiled at every start.
compile = $(BIN)/python -m compileall -q server tools

.venv/.runtime: $(SOURCES)
	$(call install,.)
	$(compile)
	@touch $@

.venv/.dev: $(SOURCES)
	$(call install,.[dev])
	$(compile)
	@touch $@ .venv/.runtime

.venv/.mutation: $(SOURCES)
	$(call install,.[dev$(comma)mutation])
	@touch $@ .venv/.dev .venv/.runtime

.venv/.supply: $(SOURCES)
	$(call install,.[dev$(comma)supply])
	@touch $@ .venv/.dev .venv/.runtime

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

snapshots: .venv/.dev ## renew what is kept of tools, resources and prompts, and the documents' tables: then read the diff
	$(BIN)/python -m tests.support.manifest
	RENEW_SNAPSHOTS=1 $(BIN)/pytest -n 0 tests/unit/tools/test_contract.py tests/unit/tools/test_prompts.py
	$(BIN)/python -m tests.support.documents
	git --no-pager diff --stat -- server/nano_banana_mcp/stdio tests/snapshots README.md CONTRIBUTING.md docs

mutants: .venv/.mutation ## change what must not be wrong, bit by bit, and see whether a test notices
	nice -n 10 $(BIN)/python -m tests.lab.mutation

sbom: .venv/.supply ## the bill of materials of a plain install, as CycloneDX, into dist/
	$(BIN)/python -m tests.support.supply sbom

audit: .venv/.supply ## ask the public advisories about every pin, where they can be reached
	$(BIN)/python -m tests.support.supply audit

# BENCH: options, such as --quick or --only cold-start,load
bench: .venv/.dev ## every figure that is promised, beside its target, from one run (BENCH="--quick" for few rounds)
	$(compile)
	@tests/support/install_postgres.sh
	$(BIN)/python -m tests.lab.benchmarks $(BENCH)

bench-docs: BENCH = --docs
bench-docs: bench ## the same, and docs/performance.md with its plot made of it

crash: .venv/.dev ## kill -9 and disconnects at every point of a submit, 100 rounds each
	CRASH_ROUNDS=100 $(BIN)/pytest -s tests/lab/crash

interop: .venv/.dev ## other people's clients against this server; writes docs/interop.md
	$(BIN)/python -m tests.lab.interop

metadata: .venv/.dev ## renew server.json, the plugins' files and the README's links
	$(BIN)/python packaging/artefacts.py metadata

bundle: .venv/.dev ## dist/…mcpb, to be opened with Claude Desktop
	$(BIN)/python packaging/artefacts.py bundle

dist: .venv/.dev ## all that a release has, with checksums: the same bytes each time
	$(BIN)/python packaging/artefacts.py dist

TORTURE ?= --long
torture: .venv/.dev ## break it: faults, kill -9, 100,000 odd requests, ten minutes of load (TORTURE=--quick: minutes)
	$(BIN)/python -m tests.lab.torture $(TORTURE)

pins: .venv/.dev ## renew constraints.txt from pyproject.toml
	$(if $(UV),$(UV),$(BIN)/uv) pip compile -q --universal --all-extras --upgrade --no-annotate --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o constraints.txt
	echo fastmcp | $(if $(UV),$(UV),$(BIN)/uv) pip compile -q --universal --upgrade --no-annotate --no-header --no-emit-index-url --no-emit-find-links - -o tests/lab/benchmarks/fastmcp_pins.txt

clean: ## remove what was built
	rm -rf .venv .venvs dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .node .interop .bench build
