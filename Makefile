# Every command for users, developers and CI. `make demo`, `make check` and `make test` set up .venv themselves.
.PHONY: help demo check test lint format types platforms contract unit tests pythons snapshots mutants sbom audit bench bench-docs crash torture interop metadata bundle dist pins clean
.DEFAULT_GOAL := help
# Where it is set, each process compiles all modules again, and each worker of pytest rewrites them.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null)
SOURCES = pyproject.toml constraints.txt

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

comma := ,

# Install $(1), editable, into .venv. The installer shows its progress: the first time takes minutes.
ifdef UV
install = $(UV) venv -q --allow-existing --python $(PYTHON) .venv && $(UV) pip install --python $(BIN)/python -c constraints.txt -e '$(1)'
else
install = $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '$(1)'
endif

# An editable install has no bytecode where PYTHONDONTWRITEBYTECODE is set: each start would compile all modules again.
compile = echo "Compiling the modules" && $(BIN)/python -m compileall -q server tools

.venv/.runtime: $(SOURCES)
	@echo "Setting up .venv: the server (about a minute the first time)"
	@$(call install,.)
	@$(compile)
	@touch $@

.venv/.dev: $(SOURCES)
	@echo "Setting up .venv: the server and everything for its tests (1 to 3 minutes the first time)"
	@$(call install,.[dev])
	@$(compile)
	@touch $@ .venv/.runtime

.venv/.mutation: $(SOURCES)
	@echo "Setting up .venv: mutmut"
	@$(call install,.[dev$(comma)mutation])
	@touch $@ .venv/.dev .venv/.runtime

.venv/.supply: $(SOURCES)
	@echo "Setting up .venv: the tools for the bill of materials and the audit"
	@$(call install,.[dev$(comma)supply])
	@touch $@ .venv/.dev .venv/.runtime

# The prompt is passed in the environment since it may contain quotes.
demo: export PROMPT := $(value PROMPT)
demo: .venv/.runtime ## make an image with a real client and server process (in the sandbox if no key is set)
	@$(BIN)/nano-banana-mcp demo -- "$$PROMPT"

# Worker processes of pytest for all tests: most of those that are not unit tests wait for sockets and processes.
WORKERS ?= 4
PYTEST = $(BIN)/pytest -n $(WORKERS) --dist worksteal

check: lint types contract unit ## the fast gates: lint, types, import contracts and the quick unit tests

test: lint types platforms contract tests ## every gate and every test

lint: .venv/.dev ## ruff: lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.dev ## apply the fixes and the format of ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.dev ## mypy, strict
	$(BIN)/mypy

platforms: .venv/.dev ## mypy over the server as on Windows and macOS
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 server tools
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin server tools

contract: .venv/.dev ## import contracts: which package may import which
	$(BIN)/lint-imports

unit: .venv/.dev ## the unit tests that need no database, no process and no large image
	$(BIN)/pytest -n auto --dist worksteal -m "not slow" tests/unit

# A busy machine may fail a test that waits for processes: what failed runs once more, alone, and says so.
tests: .venv/.dev ## all tests
	@tests/support/install_postgres.sh
	$(PYTEST) || { echo "SOME TESTS FAILED: they run once more, one by one"; \
		$(BIN)/pytest -n 0 --last-failed --last-failed-no-failures none; }

pythons: ## the tests on every installed Python from 3.11
	tests/support/each_python.sh -n $(WORKERS) --dist worksteal

snapshots: .venv/.dev ## renew the snapshots of tools, resources and prompts, and the tables of the documents; then read the diff
	$(BIN)/python -m tests.support.manifest
	RENEW_SNAPSHOTS=1 $(BIN)/pytest -n 0 tests/unit/tools/test_contract.py tests/unit/tools/prompts/test_prompts.py
	$(BIN)/python -m tests.support.documents
	git --no-pager diff --stat -- server/nano_banana_mcp/stdio tests/snapshots README.md CONTRIBUTING.md docs

mutants: .venv/.mutation ## mutation tests of the code that must not be wrong (retry, submits, waits, callbacks, paths, addresses, grants, quotas)
	nice -n 10 $(BIN)/python -m tests.lab.mutation

sbom: .venv/.supply ## write the bill of materials of a plain install (CycloneDX) to dist/
	$(BIN)/python -m tests.support.supply sbom

audit: .venv/.supply ## check every pinned package against the public advisories
	$(BIN)/python -m tests.support.supply audit

# BENCH: options, for example --quick or --only cold-start,load
bench: .venv/.dev ## measure every promised figure beside its target (BENCH="--quick" for few rounds)
	@$(compile)
	@tests/support/install_postgres.sh
	$(BIN)/python -m tests.lab.benchmarks $(BENCH)

bench-docs: BENCH = --docs
bench-docs: bench ## the same, and write docs/performance.md and its plot

crash: .venv/.dev ## kill -9 and disconnects at every point of a submit, 100 rounds each
	CRASH_ROUNDS=100 $(BIN)/pytest -s tests/lab/crash

interop: .venv/.dev ## run third-party clients against this server and write docs/interop.md
	$(BIN)/python -m tests.lab.interop

metadata: .venv/.dev ## renew server.json, the plugin files and the install links of the README
	$(BIN)/python packaging/artefacts.py metadata

bundle: .venv/.dev ## build the .mcpb bundle for Claude Desktop in dist/
	$(BIN)/python packaging/artefacts.py bundle

dist: .venv/.dev ## build all files of a release with checksums (reproducible)
	$(BIN)/python packaging/artefacts.py dist

TORTURE ?= --long
torture: .venv/.dev ## faults, kill -9, 110,000 odd requests, 30 minutes of load: an hour (TORTURE=--quick takes minutes)
	$(BIN)/python -m tests.lab.torture $(TORTURE)

pins: .venv/.dev ## renew constraints.txt from pyproject.toml
	$(if $(UV),$(UV),$(BIN)/uv) pip compile -q --universal --all-extras --upgrade --no-annotate --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o constraints.txt
	echo fastmcp | $(if $(UV),$(UV),$(BIN)/uv) pip compile -q --universal --upgrade --no-annotate --no-header --no-emit-index-url --no-emit-find-links - -o tests/lab/benchmarks/fastmcp_pins.txt

clean: ## remove everything that was built
	rm -rf .venv .venvs dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .node .interop .bench build
