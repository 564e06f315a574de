"""The check of a callback: signature, body and answer."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
from pathlib import Path
from typing import cast

import anyio
import pytest
import trio
import trio.testing
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from nano_banana_mcp.generations.instrumentation import Instrumentation
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.http.signing import (
    KEY_FILE,
    PROBE_PREFIX,
    CallbackUrls,
    KeyRing,
    answer_to,
    known_key_ring,
    open_key_ring,
)
from nano_banana_mcp.http.webhook import MAX_BODY_BYTES, MAX_READ_SECONDS, Webhook
from nano_banana_mcp.ledger.base import LedgerBusy
from nano_banana_mcp.settings import Settings
from nano_banana_tools.server import ImageServer

KEYS = KeyRing([b"a key"])
GENERATION_ID = "in-1"
TASK = "ta12345678-0000"


class VerdictRecorder(Instrumentation):
    def __init__(self) -> None:
        self.verdicts: list[tuple[Generation | None, str]] = []

    def called_back(self, generation: Generation | None, verdict: str) -> None:
        self.verdicts.append((generation, verdict))


class Server:
    """Knows one generation, as the server's ledger would."""

    def __init__(self, *, busy: bool = False) -> None:
        self.busy = busy
        self.asked: list[tuple[str, str]] = []

    async def called_back(self, generation_id: str, task_id: str) -> bool:
        self.asked.append((generation_id, task_id))
        if self.busy:
            raise LedgerBusy("locked")
        return (generation_id, task_id) == (GENERATION_ID, TASK)


def body_of(*chunks: bytes) -> list[Message]:
    last = len(chunks) - 1
    return [{"type": "http.request", "body": chunk, "more_body": number < last} for number, chunk in enumerate(chunks)]


class Call:
    """One request to the receiver, by whatever comes over the wire, on a virtual clock."""

    def __init__(
        self,
        messages: list[Message],
        *,
        method: str = "POST",
        generation_id: str = GENERATION_ID,
        signature: str | None = None,
        busy: bool = False,
        every: float = 0.0,
    ) -> None:
        self.server, self.recorder = Server(busy=busy), VerdictRecorder()
        self.read = 0
        self.seconds = 0.0
        signed = KEYS.sign(generation_id) if signature is None else signature
        path_params = {"intent_id": generation_id, "signature": signed}
        scope = {"type": "http", "method": method, "path": "/", "headers": [], "path_params": path_params}
        coming = iter(messages)

        async def receive() -> Message:
            await anyio.sleep(every)
            message = next(coming, None)
            if message is None:
                await anyio.sleep_forever()
                raise AssertionError
            self.read += len(message.get("body", b""))
            return message

        async def run() -> Response:
            webhook = Webhook(cast(ImageServer, self.server), KEYS, self.recorder)
            answer = await webhook.receive(Request(scope, receive))
            self.seconds = anyio.current_time()
            return answer

        self.answer: Response = trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))

    @property
    def refused(self) -> bool:
        """Whether the answer is the one that everything wrong gets, and was counted."""
        is_not_found = (self.answer.status_code, bytes(self.answer.body)) == (404, b"Not Found")
        assert is_not_found == (self.recorder.verdicts == [(None, "refused")])
        return is_not_found


GOOD = json.dumps({"task_id": TASK, "status": "success"}).encode()


def test_a_valid_callback_is_passed_on_and_answered_with_an_empty_body() -> None:
    call = Call(body_of(GOOD[:10], GOOD[10:]))
    assert (call.answer.status_code, bytes(call.answer.body)) == (204, b"")
    assert call.server.asked == [(GENERATION_ID, TASK)]
    assert call.recorder.verdicts == []


def test_a_signature_is_the_hmac_of_the_generations_id_with_sha_256() -> None:
    assert KEYS.sign(GENERATION_ID) == hmac.new(b"a key", GENERATION_ID.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "0",
        KEYS.sign("in-2"),
        KEYS.sign(GENERATION_ID)[:-1],
        KEYS.sign(GENERATION_ID).upper(),
        KeyRing([b"x"]).sign(GENERATION_ID),
        "☃",
    ],
)
def test_another_signature_is_refused_and_nothing_is_read(signature: str) -> None:
    call = Call(body_of(GOOD), signature=signature)
    assert call.refused
    assert call.read == 0
    assert call.server.asked == []


def test_letters_that_no_encoding_has_are_refused_like_any_others() -> None:
    assert Call(body_of(GOOD), signature="\ud800").refused
    call = Call(body_of(GOOD), generation_id="in-\ud800")
    assert call.refused
    assert call.server.asked == [("in-\ud800", TASK)]


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE", "OPTIONS"])
def test_another_method_is_refused(method: str) -> None:
    call = Call(body_of(GOOD), method=method)
    assert call.refused
    assert call.server.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        pytest.param(b"\xff", id="no UTF-8"),  # an id with a backslash cannot be asked for twice in one process
        b"[1]",
        b'"task_id"',
        b"{}",
        b'{"task_id": 7}',
        b'{"task_id": null}',
        b'{"task_id": ["ta1"]}',
        b'{"task_id": "../x"}',
        b'{"TASK_ID": "ta1"}',
        b"[" * 60_000,
    ],
    ids=lambda body: repr(body[:20]).replace("\\", ""),
)
def test_a_body_that_names_no_task_is_refused_and_the_ledger_not_asked(body: bytes) -> None:
    call = Call(body_of(body))
    assert call.refused
    assert call.server.asked == []


def test_a_task_of_another_generation_is_refused() -> None:
    call = Call(body_of(b'{"task_id": "ta-of-another"}'))
    assert call.refused
    assert call.server.asked == [(GENERATION_ID, "ta-of-another")]


def test_a_ledger_that_is_busy_asks_for_the_callback_to_come_again() -> None:
    call = Call(body_of(GOOD), busy=True)
    assert call.answer.status_code == 503
    assert call.recorder.verdicts == []


def padded(size: int) -> bytes:
    body = GOOD[:-1] + b', "x": "'
    return body + b"a" * (size - len(body) - 2) + b'"}'


def test_a_callback_with_an_image_inside_is_accepted() -> None:
    assert Call(body_of(padded(1024 * 1024))).answer.status_code == 204


def test_a_callback_that_is_too_large_is_counted_apart_and_not_read_to_its_end() -> None:
    chunks = [b"a" * 1024 * 1024] * (MAX_BODY_BYTES // 1024 // 1024 + 9)
    call = Call(body_of(*chunks))
    assert call.answer.status_code == 413
    assert call.recorder.verdicts == [(None, "too_large")]
    assert MAX_BODY_BYTES < call.read <= MAX_BODY_BYTES + 1024 * 1024
    assert call.server.asked == []


@pytest.mark.parametrize(
    "callback",
    [
        {"code": 0, "data": {"task_id": TASK, "status": "success"}},
        {"task_id": None, "data": {"task_id": TASK}},
        {"task_id": TASK, "data": {"status": "success"}},
    ],
)
def test_a_callback_is_read_plain_or_like_the_answer_of_a_query(callback: dict[str, object]) -> None:
    call = Call(body_of(json.dumps(callback).encode()))
    assert call.answer.status_code == 204
    assert call.server.asked == [(GENERATION_ID, TASK)]


def test_a_callback_url_has_the_generation_and_its_signature() -> None:
    url = CallbackUrls("https://images.example.org", KEYS).url_for(GENERATION_ID)
    assert url == f"https://images.example.org/webhooks/{GENERATION_ID}/{KEYS.sign(GENERATION_ID)}"


def test_a_caller_that_stops_sending_is_refused_after_the_time_to_read() -> None:
    call = Call(body_of(GOOD, b"")[:1])
    assert call.refused
    assert call.seconds == pytest.approx(MAX_READ_SECONDS)


def test_a_slow_body_may_take_all_of_the_time_to_read() -> None:
    call = Call(body_of(GOOD[:10], GOOD[10:]), every=MAX_READ_SECONDS / 2 - 0.1)
    assert call.answer.status_code == 204
    assert Call(body_of(GOOD[:10], GOOD[10:]), every=MAX_READ_SECONDS / 2 + 0.1).refused


def test_a_caller_that_goes_away_is_no_error() -> None:
    call = Call([*body_of(GOOD, b"")[:1], {"type": "http.disconnect"}])
    assert call.refused
    assert call.server.asked == []


def test_a_probe_is_answered_by_its_own_signature_and_reads_nothing() -> None:
    probe = f"{PROBE_PREFIX}1"
    call = Call(body_of(GOOD), generation_id=probe)
    assert call.answer.status_code == 200
    assert bytes(call.answer.body).decode() == answer_to(probe, KEYS) == KEYS.sign(f"answer to {probe}")
    assert call.read == 0
    assert call.server.asked == []
    assert call.recorder.verdicts == []


def settings(folder: Path, keys: str | None = None) -> Settings:
    return Settings(state_dir=folder, webhook_keys=None if keys is None else SecretStr(keys))


def test_the_first_of_the_given_keys_signs_and_all_of_them_count(tmp_path: Path) -> None:
    for made in (open_key_ring(settings(tmp_path, " new , ,old,")), known_key_ring(settings(tmp_path, "new,old"))):
        assert made is not None
        assert made.sign(GENERATION_ID) == KeyRing([b"new"]).sign(GENERATION_ID)
        for key in (b"new", b"old"):
            assert made.accepts(GENERATION_ID, KeyRing([key]).sign(GENERATION_ID))
        for key in (b"", b" new ", b"new,old", b"other"):
            assert not made.accepts(GENERATION_ID, KeyRing([key]).sign(GENERATION_ID))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [None, "", " , "])
def test_without_keys_one_of_our_own_is_made_once_and_kept_private(given: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "above" / "state"
    assert known_key_ring(settings(folder, given)) is None
    first = open_key_ring(settings(folder, given))
    key = (folder / KEY_FILE).read_bytes()
    assert len(bytes.fromhex(key.decode())) == 32
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [file.name for file in folder.iterdir()] == [KEY_FILE]
    for again in (open_key_ring(settings(folder, given)), known_key_ring(settings(folder, given))):
        assert again is not None
        assert again.sign(GENERATION_ID) == first.sign(GENERATION_ID) == KeyRing([key]).sign(GENERATION_ID)


def test_a_key_that_a_killed_process_left_half_written_is_written_anew(tmp_path: Path) -> None:
    half = tmp_path / f".{KEY_FILE}.{os.getpid()}"
    half.write_bytes(b"x" * 1_000)
    open_key_ring(settings(tmp_path))
    assert len((tmp_path / KEY_FILE).read_bytes()) == 64
    assert not half.exists()


def test_servers_that_make_their_own_keys_make_different_ones(tmp_path: Path) -> None:
    first, second = (open_key_ring(settings(tmp_path / name)).sign(GENERATION_ID) for name in "ab")
    assert first != second
