"""How records are written, and whom they say they are about."""

from __future__ import annotations

import io
import json
import logging
import subprocess
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
from tests.lab.benchmarks.cold_start import OURS
from tests.support.clients import clean_environment

logger = logging.getLogger("nano_banana_mcp.test")


class Written:
    """What is logged once one of the formats is chosen."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def by(self, form: Literal["text", "json"], level: str = "INFO") -> None:
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
def written() -> Iterator[Written]:
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in (*logs._OURS, *logs._LEAST))]
    before = [(each, each.level, each.handlers[:]) for each in loggers]
    yield Written(io.StringIO())
    logging.captureWarnings(False)
    for each, level, handlers in before:
        each.setLevel(level)
        each.handlers[:] = handlers


def test_what_a_record_was_logged_with_comes_before_what_the_context_knows(written: Written) -> None:
    written.by("json")
    with logs.about(request_id="r1", principal="team-a", task_id="ta1"), logs.about(tool="get_task", principal=None):
        logger.info("seen", extra={"task_id": "ta2"})
    logger.info("later")
    seen, later = written.records
    assert {name: seen[name] for name in logs.FIELDS if name in seen} == {
        "request_id": "r1",
        "principal": "team-a",
        "task_id": "ta2",
        "tool": "get_task",
    }
    assert not set(logs.FIELDS) & set(later)


def test_text_has_the_fields_behind_the_message_and_no_value_can_forge_one(written: Written) -> None:
    written.by("text")
    with logs.about(request_id="r1", principal="a b\n2026-01-01 INFO forged"):
        logger.info("seen")
    [line] = written.text.splitlines()
    assert line.endswith(r'INFO nano_banana_mcp.test: seen [request_id=r1 principal="a b\n2026-01-01 INFO forged"]')


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_does_not_give_away_a_secret(written: Written, form: Any) -> None:
    written.by(form)
    try:
        raise ValueError("Bearer abc.def.ghi of dk-1234567890 for https://x/webhooks/in-1/0123abcd?x=1 failed")
    except ValueError:
        logger.exception("trouble with %s", "dk-0987654321")
    assert "ValueError" in written.text
    assert "failed" in written.text
    for secret in ("abc.def", "1234567890", "0987654321", "in-1", "0123abcd"):
        assert secret not in written.text
    if form == "json":
        assert len(written.records) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("can't handle event type Response when role=SERVER and state=MUST_CLOSE", False),
        ("Too much data for declared Content-Length", True),
    ],
)
def test_a_request_that_broke_the_protocol_is_no_news_and_an_answer_that_does_is(
    words: str, told: bool, written: Written
) -> None:
    written.by("text")
    try:
        raise LocalProtocolError(words)
    except LocalProtocolError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    assert (words in written.text) is told


def test_what_others_log_below_information_is_never_written(written: Written) -> None:
    written.by("text", "DEBUG")
    for name in ("sse_starlette.sse", "mcp.server.lowlevel", "asyncio", "anything"):
        logging.getLogger(name).debug("a whole message")
    logging.getLogger("httpx").info("GET https://x/?key=1")
    logger.debug("ours")
    assert "ours" in written.text
    assert len(written.text.splitlines()) == 1


def test_as_a_guest_it_leaves_a_logging_that_is_set_up_as_it_is_and_takes_secrets_out_of_the_hosts_log() -> None:
    root, host = logging.getLogger(), logging.getLogger("gunicorn.access")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    before = root.handlers[:]
    root.addHandler(handler)
    host.addHandler(handler)
    try:
        set_up = root.handlers[:]
        for _ in range(2):
            logs.set_up_as_guest("DEBUG", "json")
        assert root.handlers == set_up
        host.error("%(h)s %(U)s", {"h": "10.0.0.7", "U": "/webhooks/in-1/0123abcd?x=1"})
        host.error("%s took %d s", "/webhooks/in-2/0123abcd", 3)
        try:
            raise ValueError("Bearer abc.def.ghi")
        except ValueError:
            host.exception("trouble")
    finally:
        root.handlers[:] = before
        host.removeHandler(handler)
        for name in (*logs._HOSTS, *logs._LEAST):
            logging.getLogger(name).removeFilter(logs._conceal)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "10.0.0.7 /webhooks/***"
    assert "/webhooks/*** took 3 s" in lines
    assert "ValueError: Bearer ***" in lines
    assert not [line for line in lines if "0123abcd" in line or "abc.def" in line]


def test_a_level_is_a_level(written: Written) -> None:
    written.by("text", "ERROR")
    logger.warning("no")
    logging.getLogger("mcp").warning("no")
    logger.error("yes")
    assert written.text.count("\n") == 1


async def test_the_principal_is_named_where_there_is_one(written: Written) -> None:
    written.by("json")
    user = AuthenticatedUser(AccessToken(token="secret-token", client_id="team-a", scopes=[]))
    token = auth_context_var.set(user)
    try:
        async with Client(build_server(load_settings(sandbox=True))) as client:
            await client.call_tool("get_task", {"task_id": "ta-of-nobody"})
    finally:
        auth_context_var.reset(token)
    found = [record for record in written.records if record.get("tool") == "get_task"]
    assert len(found) == 1, found
    [record] = found
    assert record["principal"] == "team-a"
    assert record["request_id"]
    assert "secret-token" not in written.text


@pytest.mark.parametrize("value", ["xml", "1"])
def test_a_format_that_is_none_is_one_line(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANO_BANANA_LOG_FORMAT", value)
    with pytest.raises(SettingsError, match=r"^NANO_BANANA_LOG_FORMAT: "):
        load_settings()


def test_a_stdio_start_imports_nothing_that_only_http_needs() -> None:
    script = (
        "import sys; from nano_banana_mcp.app import build_server; from nano_banana_mcp.settings import load_settings;"
        "build_server(load_settings()); print([name for name in sys.modules if name.startswith('prometheus')])"
    )
    ended = subprocess.run([OURS[0], "-c", script], env=clean_environment(), capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
