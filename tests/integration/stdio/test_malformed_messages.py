"""Unreadable messages over stdio are answered where the protocol has an answer, so that no client waits for ever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.handshake import INITIALIZED
from tests.support.raw_stdio import Raw, raw

CALL: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 7,
    "method": "tools/call",
    "params": {"name": "generate_image", "arguments": {"prompt": "half an emoji: \ud83c"}},
}


@pytest.fixture(scope="module")
def server() -> Iterator[Raw]:
    with raw("--sandbox") as server:
        yield server


def next_line(server: Raw) -> dict[str, Any]:
    """The very next message."""
    assert server.process.stdout is not None
    message: dict[str, Any] = json.loads(server.process.stdout.readline())
    return message


def test_half_an_emoji_is_refused_with_a_message_that_nothing_was_charged(server: Raw) -> None:
    server.send(CALL)
    answer = next_line(server)
    assert answer["id"] == 7
    assert answer["error"]["code"] == -32700
    assert "nothing was charged" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("message", "code", "number"),
    [
        pytest.param({**CALL, "params": ["x"]}, -32600, 7, id="params that are a list"),
        pytest.param({**CALL, "jsonrpc": "1.0", "params": {}}, -32600, 7, id="another protocol"),
        pytest.param({**CALL, "id": "\ud83c"}, -32700, None, id="an id that cannot be sent back"),
        pytest.param({**CALL, "id": [1], "params": []}, -32600, None, id="an id that is none"),
        pytest.param([], -32600, None, id="an empty batch"),
        pytest.param([{"jsonrpc": "2.0", "id": 1, "method": "ping"}], -32600, None, id="a batch"),
        pytest.param(b"no JSON", -32700, None, id="no JSON"),
        pytest.param(b"\xff\xfe", -32700, None, id="no text"),
        pytest.param(b"[" * 10_000, -32700, None, id="deep beyond reading"),
        pytest.param(
            b'{"jsonrpc":"2.0","id":8,"method":"ping","params":' + b'{"a":' * 300 + b"1" + b"}" * 301,
            -32700,
            8,
            id="deep beyond pydantic",
        ),
    ],
)
def test_a_malformed_message_is_an_error_with_its_id_if_it_has_one(
    server: Raw, message: Any, code: int, number: int | None
) -> None:
    server.send(message if isinstance(message, bytes) else json.dumps(message).encode())
    answer = next_line(server)
    assert (answer["error"]["code"], answer["id"]) == (code, number)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"", id="a blank line"),
        pytest.param(b" \r", id="a blank line of another system"),
        pytest.param(json.dumps({"jsonrpc": "2.0", "method": "x", "params": []}).encode(), id="a notification"),
        pytest.param(json.dumps({"jsonrpc": "2.0", "id": 5, "result": 7, "x": "\ud83c"}).encode(), id="an answer"),
        pytest.param(json.dumps({**INITIALIZED, "params": "\ud83c"}).encode(), id="a notification with half an emoji"),
    ],
)
def test_no_answer_is_given_where_none_is_due(server: Raw, message: bytes) -> None:
    server.send(message)
    server.send({"jsonrpc": "2.0", "id": 99, "method": "ping"})
    assert next_line(server)["id"] == 99
