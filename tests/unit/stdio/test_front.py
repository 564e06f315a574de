"""The front alone, line by line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nano_banana_mcp.stdio.front import MAX_LISTENS, REPLAY_ID, Front
from nano_banana_mcp.stdio.messages import MAX_BRACKETS
from tests.support.discovery import INITIALIZED, MODERN, envelope, initialize, line, notification, request

TASKS = {"uri": "nanobanana://tasks", "name": "tasks"}
ANSWERS: dict[str, dict[str, dict[str, Any]]] = {
    "2025-11-25": {
        "initialize": {"protocolVersion": "2025-11-25"},
        "ping": {},
        "tools/list": {"tools": []},
        "resources/list": {"resources": [TASKS]},
    },
    MODERN: {"server/discover": {"resultType": "complete"}, "tools/list": {"tools": [], "ttlMs": 1}},
}


def opened(images: list[dict[str, Any]] | None = None) -> Front:
    """After the handshake."""
    front = Front(ANSWERS, lambda: images)
    assert front.answer(initialize()) is not None
    assert front.answer(INITIALIZED) == b""
    return front


def listen(request_id: Any) -> bytes:
    return request(request_id, "subscriptions/listen", {**envelope(), "notifications": {"toolsListChanged": True}})


def test_an_answer_is_one_line_with_the_id_of_its_request() -> None:
    line_of_a_name = '{"jsonrpc":"2.0","id":"é","method":"tools/list"}\n'.encode()
    assert opened().answer(line_of_a_name) == '{"jsonrpc":"2.0","id":"é","result":{"tools":[]}}\n'.encode()
    assert opened().answer(request(7, "ping")) == b'{"jsonrpc":"2.0","id":7,"result":{}}\n'


def test_the_images_of_the_ledger_follow_the_fixed_resources() -> None:
    image = {"uri": "https://example.com/a.png", "name": "ta-1-0"}
    answer = opened([image]).answer(request(1, "resources/list"))
    assert answer is not None
    assert json.loads(answer)["result"]["resources"] == [TASKS, image]


def test_resources_are_left_to_the_real_server_where_the_ledger_cannot_be_read() -> None:
    assert opened(None).answer(request(1, "resources/list")) is None


@pytest.mark.parametrize(
    "unknown",
    [
        pytest.param(request(REPLAY_ID, "ping"), id="the private id"),
        pytest.param(request("x" * 201, "ping"), id="a long id"),
        pytest.param(request(1, "tools/call", {"name": "get_task"}), id="a call"),
        pytest.param(request(1, "tools/list", {"cursor": "x"}), id="a cursor"),
        pytest.param(
            b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"a":' + b"[" * 200 + b"]" * 200 + b"}}}\n",
            id="deep",
        ),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"a":NaN}}}\n', id="no number"),
        pytest.param(b"[]\n", id="a batch"),
        pytest.param(b"\xff\n", id="no UTF-8"),
        pytest.param(notification("notifications/progress", {"progressToken": 1, "progress": 1}), id="a notification"),
    ],
)
def test_a_message_that_the_front_does_not_recognise_is_left_to_the_real_server(unknown: bytes) -> None:
    front = opened()
    before = list(front.handshake)
    assert front.answer(unknown) is None
    assert front.handshake == before


def test_a_message_with_many_brackets_is_left_to_the_real_server() -> None:
    meta: dict[str, Any] = {"a": [[]] * MAX_BRACKETS}
    assert opened().answer(line({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": meta}})) is None


def test_the_handshake_is_replayed_under_a_private_id() -> None:
    replayed, initialized = opened().handshake
    assert json.loads(replayed) == {**json.loads(initialize()), "id": REPLAY_ID}
    assert initialized == INITIALIZED


def test_a_modern_session_is_replayed_as_a_ping_with_its_envelope() -> None:
    front = Front(ANSWERS, list)
    assert front.answer(request(1, "server/discover", envelope())) is not None
    assert front.answer(request(2, "tools/list", envelope())) is not None
    [replayed] = map(json.loads, front.handshake)
    assert replayed == {"jsonrpc": "2.0", "id": REPLAY_ID, "method": "ping", "params": envelope()}


def test_a_first_message_that_is_not_answered_leaves_nothing_to_replay() -> None:
    front = Front(ANSWERS, list)
    assert front.answer(request(1, "tools/call", {**envelope(), "name": "get_task"})) is None
    assert front.handshake == []


def test_open_subscriptions_are_kept_for_the_real_server_until_they_are_cancelled() -> None:
    front = Front(ANSWERS, list)
    assert front.answer(listen("a")) is not None
    assert front.answer(listen("b")) is not None
    assert front.answer(listen("a")) is None
    assert front.answer(notification("notifications/cancelled", {"requestId": "a"})) == b""
    assert front.listens == {"b": listen("b")}


def test_more_subscriptions_than_any_client_opens_are_left_to_the_real_server() -> None:
    front = Front(ANSWERS, list)
    assert all(front.answer(listen(number)) for number in range(MAX_LISTENS))
    assert front.answer(listen(MAX_LISTENS)) is None
