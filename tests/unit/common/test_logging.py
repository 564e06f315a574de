"""The format of log records, their context fields, and the removal of secrets."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from h11 import LocalProtocolError
from mcp.client import Client
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken

from nano_banana_mcp.app import build_server
from nano_banana_mcp.common import logging as logs
from nano_banana_mcp.settings import SettingsError, load_settings
from tests.support.clients import clean_environment
from tests.support.logs import restored_logging

logger = logging.getLogger("nano_banana_mcp.test")


class Log:
    """The log, once a format is configured."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def configure(self, form: Literal["text", "json"], level: str = "INFO") -> None:
        logs.configure_logging(level, form)
        handler = logging.getLogger().handlers[0]
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(self._stream)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def log() -> Iterator[Log]:
    with restored_logging():
        yield Log(io.StringIO())


def test_fields_of_a_record_take_precedence_over_the_context(log: Log) -> None:
    log.configure("json")
    with (
        logs.log_context(request_id="r1", principal="team-a", task_id="ta1"),
        logs.log_context(tool="get_task", principal=None),
    ):
        logger.info("seen", extra={"task_id": "ta2"})
    logger.info("later")
    seen, later = log.records
    assert {name: seen[name] for name in logs.FIELDS if name in seen} == {
        "request_id": "r1",
        "principal": "team-a",
        "task_id": "ta2",
        "tool": "get_task",
    }
    assert not set(logs.FIELDS) & set(later)


def test_text_records_end_with_their_fields_and_no_value_can_forge_a_field(log: Log) -> None:
    log.configure("text")
    with logs.log_context(request_id="r1", principal="a b\n2026-01-01 INFO forged"):
        logger.info("seen")
    [line] = log.text.splitlines()
    assert line.endswith(r'INFO nano_banana_mcp.test: seen [request_id=r1 principal="a b\n2026-01-01 INFO forged"]')


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_reveals_no_secret(log: Log, form: Any) -> None:
    log.configure(form)
    try:
        raise ValueError("Bearer abc.def.ghi of dk-1234567890 for https://x/webhooks/in-1/0123abcd?x=1 failed")
    except ValueError:
        logger.exception("trouble with %s", "dk-0987654321")
    assert "ValueError" in log.text
    assert "failed" in log.text
    for secret in ("abc.def", "1234567890", "0987654321", "in-1", "0123abcd"):
        assert secret not in log.text
    if form == "json":
        assert len(log.records) == 1


@pytest.mark.parametrize(
    ("message", "is_logged"),
    [
        ("can't handle event type Response when role=SERVER and state=MUST_CLOSE", False),
        ("Too much data for declared Content-Length", True),
    ],
)
def test_an_invalid_request_is_not_logged_as_an_error_and_an_invalid_response_is(
    message: str, is_logged: bool, log: Log
) -> None:
    log.configure("text")
    try:
        raise LocalProtocolError(message)
    except LocalProtocolError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    assert (message in log.text) is is_logged


def test_records_of_libraries_below_info_are_never_written(log: Log) -> None:
    log.configure("text", "DEBUG")
    for name in ("sse_starlette.sse", "mcp.server.lowlevel", "asyncio", "anything"):
        logging.getLogger(name).debug("a whole message")
    logging.getLogger("httpx").info("GET https://x/?key=1")
    logger.debug("ours")
    assert "ours" in log.text
    assert len(log.text.splitlines()) == 1


def test_under_an_external_server_configured_logging_stays_and_secrets_are_removed_from_its_log() -> None:
    root, server = logging.getLogger(), logging.getLogger("gunicorn.access")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    before = root.handlers[:]
    root.addHandler(handler)
    server.addHandler(handler)
    try:
        set_up = root.handlers[:]
        for _ in range(2):
            logs.configure_host_logging("DEBUG", "json")
        assert root.handlers == set_up
        server.error("%(h)s %(U)s", {"h": "10.0.0.7", "U": "/webhooks/in-1/0123abcd?x=1"})
        server.error("%s took %d s", "/webhooks/in-2/0123abcd", 3)
        server.error("GET %s", "/references/0123abcd")
        try:
            raise ValueError("Bearer abc.def.ghi")
        except ValueError:
            server.exception("trouble")
    finally:
        root.handlers[:] = before
        server.removeHandler(handler)
        for name in (*logs._SERVER_LOGGERS, *logs._MIN_LEVELS):
            logging.getLogger(name).removeFilter(logs._conceal)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "10.0.0.7 /webhooks/***"
    assert "/webhooks/*** took 3 s" in lines
    assert "GET /references/***" in lines
    assert "ValueError: Bearer ***" in lines
    assert not [line for line in lines if "0123abcd" in line or "abc.def" in line]


def test_records_below_the_configured_level_are_not_written(log: Log) -> None:
    log.configure("text", "ERROR")
    logger.warning("no")
    logging.getLogger("mcp").warning("no")
    logger.error("yes")
    assert log.text.count("\n") == 1


async def test_the_records_of_an_authenticated_call_name_the_principal(log: Log) -> None:
    log.configure("json")
    user = AuthenticatedUser(AccessToken(token="secret-token", client_id="team-a", scopes=[]))
    token = auth_context_var.set(user)
    try:
        async with Client(build_server(load_settings(sandbox=True))) as client:
            await client.call_tool("get_task", {"task_id": "ta-unknown"})
    finally:
        auth_context_var.reset(token)
    [record] = [record for record in log.records if record.get("tool") == "get_task"]
    assert record["principal"] == "team-a"
    assert record["request_id"]
    assert "secret-token" not in log.text


@pytest.mark.parametrize("value", ["xml", "1"])
def test_an_unknown_format_is_refused_in_one_line(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANO_BANANA_LOG_FORMAT", value)
    with pytest.raises(SettingsError, match=r"^NANO_BANANA_LOG_FORMAT: "):
        load_settings()


@pytest.mark.slow
def test_a_stdio_start_does_not_import_the_metrics() -> None:
    script = (
        "import sys; from nano_banana_mcp.app import build_server; from nano_banana_mcp.settings import load_settings;"
        "build_server(load_settings()); print([name for name in sys.modules if name.startswith('prometheus')])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"
