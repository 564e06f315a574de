from __future__ import annotations

import gc
import json
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import certifi
import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import settings
from jsonschema.protocols import Validator
from mcp.client.session import ClientSession

from tests.support import postgres as own_postgres
from tests.support.postgres import database, frail_postgres, postgres

__all__ = ["database", "frail_postgres", "postgres"]

settings.register_profile("any machine", deadline=None)  # how long an example takes is the machine's
settings.load_profile("any machine")

for limit in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, limit, 60.0)  # 5 s, the default, is less than a busy machine may take


_validator = ClientSession._output_schema_validator
_validators: dict[str, Validator] = {}


def _shared_validator(session: ClientSession, name: str, output_schema: dict[str, Any]) -> Validator:
    """The SDK's client checks the schemas of tools anew in each session, which takes longer than most tests."""
    key = json.dumps(output_schema)
    if key not in _validators:
        _validators[key] = _validator(session, name, output_schema)
    return _validators[key]


ClientSession._output_schema_validator = _shared_validator  # type: ignore[assignment, method-assign]  # see above


def pytest_configure(config: pytest.Config) -> None:
    """The first process of a run ends what all of its processes share."""
    if not hasattr(config, "workerinput"):
        config.add_cleanup(own_postgres.share())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """No garbage collection walks through the modules and tests, of which nothing is garbage before the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One certificate of certifi's bundle."""
    end = "-----END CERTIFICATE-----\n"
    path = tmp_path_factory.mktemp("certificates") / "one.pem"
    path.write_text(Path(certifi.where()).read_text("utf-8").partition(end)[0] + end)
    return path


@pytest.fixture(autouse=True)
def no_settings_from_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, one_certificate: Path
) -> None:
    """No test depends on, or touches, what the person who runs it has set up."""
    for name in list(os.environ):
        if name.startswith(("DEFAPI_", "NANO_BANANA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", tempfile.mkdtemp("", "state-", tmp_path_factory.getbasetemp()))
    # To load a whole bundle, for each HTTP client anew, takes longer than most tests.
    monkeypatch.setenv("SSL_CERT_FILE", str(one_certificate))
    monkeypatch.setattr(certifi, "where", lambda: str(one_certificate))  # for httpx without trust_env


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A promise that was not tested must not look like one that was."""
    for why in own_postgres.missing:
        terminalreporter.write_line(f"NOT TESTED: the ledger on PostgreSQL: {why}", yellow=True, bold=True)
