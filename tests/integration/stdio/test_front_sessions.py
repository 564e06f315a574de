"""Whole sessions with the front and its handover: the same messages as from the real server alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nano_banana_mcp.stdio import manifest
from tests.support.discovery import (
    ENVELOPE,
    INITIALIZED,
    LISTS,
    REVISIONS,
    envelope,
    initialize,
    line,
    notification,
    play,
    request,
)

LIST = "tools/list"
OPENED = initialize() + INITIALIZED
CALL = {"name": "no_such_tool", "arguments": {}}
CAPABILITIES = {
    "roots": {"listChanged": True},
    "sampling": {},
    "elicitation": {"form": {}, "url": {}},
    "experimental": {"a": {"b": 1}},
    "extensions": {"x/y": {"m": ["a"]}},
}


def cancel(request_id: Any) -> bytes:
    return notification("notifications/cancelled", {"requestId": request_id, "reason": "no longer needed"})


def listen(request_id: Any, **kinds: Any) -> bytes:
    return request(request_id, "subscriptions/listen", {**envelope(), "notifications": kinds})


def modern(request_id: Any, method: str = LIST, **more: Any) -> bytes:
    return request(request_id, method, envelope() | more)


# By name: what the client sends, the number of messages that it waits for, and whether the real server is needed.
SESSIONS: dict[str, tuple[bytes, int, bool]] = {
    "pipelined discovery": (OPENED + request(1, LIST) + request(2, "prompts/list") + request(3, "ping"), 4, False),
    "pipelined with a call": (OPENED + request(1, LIST) + request(2, "tools/call", CALL) + request(3, "ping"), 4, True),
    "CR LF": ((OPENED + request(1, LIST)).replace(b"\n", b"\r\n"), 2, False),
    "a lone CR": (OPENED + request(1, LIST)[:-1] + b"\r" + request(2, LIST), 3, True),
    "cancellation of an answered request": (OPENED + request(1, LIST) + cancel(1) + request(2, LIST), 3, False),
    "a batch": (OPENED + b"[" + request(1, LIST)[:-1] + b"]\n" + request(2, LIST), 3, True),
    "no JSON": (OPENED + b"{nope}\n" + request(2, LIST), 3, True),
    "no JSON first": (b"{nope}\n" + OPENED + request(2, LIST), 3, True),
    "a byte order mark": (
        b"\xef\xbb\xbf" + initialize() + initialize(request_id=5) + INITIALIZED + request(2, LIST),
        3,
        True,
    ),
    "a byte order mark and discovery": (b"\xef\xbb\xbf" + OPENED + request(1, LIST), 2, False),
    "blank lines": (b"\n" + initialize() + b"\n" + INITIALIZED + b" \n" + request(2, LIST), 2, True),
    "no UTF-8": (OPENED + b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}\n' + request(2, LIST), 3, True),
    "half an emoji": (OPENED + b'{"jsonrpc":"2.0","id":"\\ud83c","method":"ping"}\n' + request(2, LIST), 3, True),
    "half an emoji in the name": (
        initialize(clientInfo={"name": "\ud83c", "version": "1"})
        + initialize(request_id=1)
        + INITIALIZED
        + request(2, LIST),
        3,
        True,
    ),
    "a key twice": (OPENED + b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}\n' + request(3, LIST), 3, True),
    "no handshake": (request(1, LIST) + request(2, "ping"), 2, True),
    "ping first": (request(1, "ping") + initialize(request_id=2) + INITIALIZED + request(3, LIST), 3, True),
    "a list before initialized": (
        initialize() + request(1, LIST) + INITIALIZED + request(2, "tools/call", CALL),
        3,
        True,
    ),
    "initialize twice": (OPENED + initialize("2024-11-05", 7) + request(2, LIST), 3, True),
    "an unknown revision": (initialize("2030-01-01") + INITIALIZED + request(1, LIST), 2, True),
    "a revision before the first": (initialize("2024-10-07") + INITIALIZED + request(1, LIST), 2, True),
    "a handshake of the modern revision": (initialize("2026-07-28") + INITIALIZED + request(1, LIST), 2, True),
    "capabilities of a wrong type": (initialize(capabilities={"roots": 5}) + request(1, LIST), 2, True),
    "a wrong type within capabilities": (
        initialize(capabilities={"roots": {"listChanged": "x"}}) + request(1, LIST),
        2,
        True,
    ),
    "all capabilities": (initialize(capabilities=CAPABILITIES) + INITIALIZED + request(1, LIST), 2, False),
    "unknown capabilities": (
        initialize(capabilities={"tasks": {"list": {}}}) + INITIALIZED + request(1, LIST),
        2,
        True,
    ),
    "a client with icons": (
        initialize(clientInfo={"name": "a", "version": "1", "icons": [{"src": "http://x/y"}]})
        + INITIALIZED
        + request(1, LIST),
        2,
        True,
    ),
    "a client's version as a number": (initialize(clientInfo={"name": "a", "version": 1}) + request(1, LIST), 2, True),
    "progress tokens": (
        initialize(_meta={"progressToken": "p"})
        + INITIALIZED
        + request(1, LIST, {"_meta": {"progressToken": 3}})
        + request(2, LIST, {"_meta": {"progressToken": True}})
        + request(3, LIST, {"_meta": 5}),
        4,
        True,
    ),
    "a cursor of null": (OPENED + request(1, LIST, {"cursor": None}) + request(2, LIST), 3, True),
    "a cursor": (OPENED + request(1, LIST, {"cursor": "abc"}) + request(2, LIST), 3, True),
    "params of null, and a list": (
        OPENED
        + line({"jsonrpc": "2.0", "id": 1, "method": LIST, "params": None})
        + line({"jsonrpc": "2.0", "id": 2, "method": LIST, "params": []}),
        3,
        True,
    ),
    "odd ids": (OPENED + request(None, LIST) + request(1.5, LIST) + request(True, LIST) + request(2, LIST), 2, True),
    "text as an id": (initialize(request_id="a") + INITIALIZED + request("b", LIST), 2, False),
    "a request with another key": (
        OPENED + line({"jsonrpc": "2.0", "id": 1, "method": LIST, "extra": 1}) + request(2, LIST),
        3,
        True,
    ),
    "no version of JSON-RPC": (OPENED + line({"id": 1, "method": LIST}) + request(2, LIST), 3, True),
    "an unknown method": (OPENED + request(1, "nope/nope") + request(2, LIST), 3, True),
    "the level of logs": (OPENED + request(1, "logging/setLevel", {"level": "info"}) + request(2, LIST), 3, True),
    "an answer of the client": (OPENED + line({"jsonrpc": "2.0", "id": 3, "result": {}}) + request(2, LIST), 2, True),
    "a subscription of a handshake client": (
        OPENED + request(1, "resources/subscribe", {"uri": "nanobanana://tasks"}) + request(2, LIST),
        3,
        True,
    ),
    "discover after a handshake": (OPENED + request(1, "server/discover") + request(2, LIST), 3, True),
    "an envelope after a handshake": (OPENED + modern(1) + request(2, LIST), 3, True),
    "a prompt": (OPENED + request(1, "prompts/get", {"name": "no_such_prompt"}) + request(2, LIST), 3, True),
    "changed roots": (OPENED + notification("notifications/roots/list_changed") + request(2, LIST), 2, True),
    "modern, a call at once": (modern(1, "tools/call", **CALL) + modern(2), 2, True),
    "modern, with capabilities": (
        request(
            1,
            "server/discover",
            envelope(progressToken=4, traceparent="00-ab", **{f"{ENVELOPE}clientCapabilities": CAPABILITIES}),
        )
        + request(3, LIST, envelope(**{f"{ENVELOPE}logLevel": "info"})),
        2,
        False,
    ),
    "modern, an unknown revision": (request(1, "server/discover", envelope("2027-01-01")) + modern(2), 2, True),
    "modern, no capabilities": (
        request(1, LIST, {"_meta": {f"{ENVELOPE}protocolVersion": "2026-07-28"}}) + modern(2),
        2,
        True,
    ),
    "modern, no client": (
        request(1, LIST, {"_meta": {f"{ENVELOPE}protocolVersion": "2026-07-28", f"{ENVELOPE}clientCapabilities": {}}}),
        1,
        False,
    ),
    "modern, then a handshake": (modern(1, "server/discover") + initialize(request_id=2) + modern(3), 3, True),
    "modern, then without an envelope": (modern(1, "server/discover") + request(2, LIST) + modern(3), 3, True),
    "modern, initialized": (modern(1, "server/discover") + INITIALIZED + modern(2), 2, False),
    "modern, a subscription that stays open": (listen("s", toolsListChanged=True) + modern(3), 2, False),
    "modern, a subscription and a call": (
        modern(1, "server/discover")
        + listen("s", toolsListChanged=True, promptsListChanged=True, resourcesListChanged=True)
        + modern(3, "tools/call", **CALL),
        3,
        True,
    ),
    "modern, a cancelled subscription and a call": (
        listen("s", toolsListChanged=True) + cancel("s") + modern(3, "tools/call", **CALL),
        2,
        True,
    ),
    "modern, a subscription to nothing": (listen("s") + modern(3), 2, False),
    "modern, a subscription to what is not wanted": (listen("s", toolsListChanged=False) + modern(3), 2, False),
    "modern, a subscription to a resource": (
        listen("s", resourceSubscriptions=["nanobanana://tasks"]) + modern(3),
        2,
        True,
    ),
    "modern, a subscription to an unknown kind": (listen("s", taskChanged=True) + modern(3), 2, True),
    **{
        f"everything of {revision}": (
            initialize(revision) + INITIALIZED + b"".join(request(name, name) for name in ("ping", *LISTS)),
            6,
            False,
        )
        for revision in REVISIONS[:-1]
    },
    "everything modern": (b"".join(modern(name, name) for name in ("server/discover", *LISTS)), 5, False),
    "modern, a ping, which that revision lacks": (modern(1, "ping"), 1, True),
}


def as_a_set(messages: list[Any]) -> list[str]:
    """Independent requests may be answered in any order."""
    return sorted(json.dumps(message, sort_keys=True) for message in messages)


@pytest.fixture(scope="module")
def answers() -> manifest.Answers:
    answers = manifest.load(os.environ)
    assert answers is not None
    return answers


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_is_answered_as_by_the_real_server(name: str, answers: manifest.Answers, tmp_path: Path) -> None:
    lines, expected, needs_server = SESSIONS[name]
    messages, was_handed_over = play(lines, expected, tmp_path, answers)
    assert as_a_set(messages) == as_a_set(play(lines, expected, tmp_path, {})[0])
    assert was_handed_over is needs_server


@pytest.mark.parametrize("is_instant", [True, False], ids=["the front", "the real server"])
def test_a_byte_order_mark_before_the_first_message_is_skipped(
    is_instant: bool, answers: manifest.Answers, tmp_path: Path
) -> None:
    messages, _ = play(b"\xef\xbb\xbf" + initialize(), 1, tmp_path, answers if is_instant else {})
    assert messages[0]["result"]["serverInfo"]["name"] == "nano-banana-mcp"
