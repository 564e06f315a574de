"""A submit without a whole answer: repeated only if it was never sent."""

import gzip
import json

import pytest

from nano_banana_mcp.defapi import transport as connection_module
from nano_banana_mcp.defapi.errors import OutcomeUnknown, Unreachable
from tests.support.defapi_calls import (
    KEY,
    MAX_TEST_SECONDS,
    REQUEST,
    TAKEN,
    TASK,
    client_of,
    shown,
    submit_to,
    virtually,
)
from tests.support.fault_server import Step, fault_server, unused_port
from tests.support.faults import (
    answer_bytes,
    close_after_headers,
    close_after_reading,
    close_before_reading,
    drip,
    endless_body,
    never_answer,
    raw,
    raw_at_once,
    reply,
    reset_after_reading,
    reset_mid_body,
    reset_on_accept,
    slow_headers,
    truncated,
    wrong_length,
)

TAKEN_BYTES = json.dumps(TAKEN).encode()
ID_ENDS = TAKEN_BYTES.index(TASK.encode()) + len(TASK)
"""Where the id's closing quote is."""

GZIPPED = {"Content-Encoding": "gzip"}


async def assert_unknown(step: Step, *, timeout: float = MAX_TEST_SECONDS) -> OutcomeUnknown:
    outcome = await submit_to(step, timeout=timeout)
    assert isinstance(outcome.error, OutcomeUnknown)
    assert "may have been charged" in outcome.error.message
    assert "Do not repeat the call" in outcome.error.hint
    assert outcome.server.connections == 1
    assert outcome.server.posts <= 1
    return outcome.error


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(close_before_reading(), id="closed before it was read"),
        pytest.param(close_after_reading(), id="closed after it was read"),
        pytest.param(reset_after_reading(), id="reset after it was read"),
        pytest.param(close_after_headers(), id="closed after the headers"),
        pytest.param(close_after_headers(500), id="closed after the headers of a 500"),
        pytest.param(reset_mid_body(TAKEN, 10), id="reset within the body"),
        pytest.param(truncated(TAKEN, 0), id="no byte of the body"),
        pytest.param(truncated(TAKEN, ID_ENDS - 1), id="broken off within the id"),
        pytest.param(truncated(TAKEN, ID_ENDS), id="broken off before the id's closing quote"),
        pytest.param(raw(b""), id="closed without a word"),
        pytest.param(raw(b"HTTP/1.1 2"), id="broken off within the status"),
        pytest.param(raw(b"SSH-2.0-OpenSSH_9.6\r\n"), id="another protocol"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"), id="an impossible length"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000), id="headers too long"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), id="an impossible chunk"),
        pytest.param(raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 3), id="only interim answers"),
        pytest.param(reply(200, b"no gzip", GZIPPED), id="gzip garbage"),
        pytest.param(reply(200, gzip.compress(b"{}")[:-4], GZIPPED), id="gzip broken off"),
        pytest.param(reply(200, b"\x1f\x8b\x08\x00" + b"\xff" * 64, GZIPPED), id="gzip with a garbage inside"),
    ],
)
async def test_a_submit_that_may_have_arrived_is_never_repeated(step: Step) -> None:
    await assert_unknown(step)


async def test_a_connection_that_is_reset_at_once_is_never_a_second_request() -> None:
    outcome = await submit_to(reset_on_accept())
    # Whether the reset is seen while connecting (nothing was sent) or while reading is up to the kernel.
    assert isinstance(outcome.error, OutcomeUnknown | Unreachable)
    assert outcome.server.connections == (1 if isinstance(outcome.error, OutcomeUnknown) else 3)
    assert outcome.server.requests == []


@pytest.mark.parametrize("keep", [ID_ENDS + 1, ID_ENDS + 2, len(TAKEN_BYTES) - 1])
async def test_an_answer_that_breaks_off_after_the_id_still_gives_the_id(keep: int) -> None:
    outcome = await submit_to(truncated(TAKEN, keep))
    assert outcome.task_id == TASK
    assert outcome.server.posts == outcome.server.connections == 1


@pytest.mark.parametrize("by", [-1, 1, 1000])
async def test_a_wrong_content_length_does_not_lose_the_id(by: int) -> None:
    outcome = await submit_to(wrong_length(TAKEN, by))
    assert outcome.task_id == TASK
    assert outcome.server.posts == outcome.server.connections == 1


async def test_a_content_length_that_cuts_the_id_may_have_been_charged() -> None:
    await assert_unknown(wrong_length(TAKEN, ID_ENDS - len(TAKEN_BYTES)))


async def test_a_gzipped_answer_is_read() -> None:
    outcome = await submit_to(reply(200, gzip.compress(TAKEN_BYTES), GZIPPED))
    assert outcome.task_id == TASK


async def test_a_gzipped_answer_without_its_end_still_gives_the_id() -> None:
    outcome = await submit_to(reply(200, gzip.compress(TAKEN_BYTES)[:-8], GZIPPED))
    assert outcome.task_id == TASK
    assert outcome.server.posts == 1


async def test_an_endless_answer_is_cut_at_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_ANSWER_BYTES", 20_000)
    error = await assert_unknown(endless_body())
    assert "its answer is too large" in error.message


async def test_an_endless_answer_that_began_with_the_id_gives_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_ANSWER_BYTES", 20_000)
    outcome = await submit_to(endless_body(TAKEN_BYTES))
    assert outcome.task_id == TASK
    assert outcome.server.posts == 1


async def test_a_gzip_bomb_is_cut_at_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_ANSWER_BYTES", 20_000)
    error = await assert_unknown(reply(200, gzip.compress(b" " * 1_000_000), GZIPPED))
    assert "its answer is too large" in error.message


def test_a_server_that_never_answers_may_have_charged() -> None:
    async def run() -> None:
        error = await assert_unknown(never_answer(), timeout=5.0)
        assert "within 5 s" in error.message or "too long" in error.message

    virtually(run)


@pytest.mark.parametrize(
    "step", [pytest.param(drip(b"x", 20.0), id="a body"), pytest.param(slow_headers(20.0), id="headers")]
)
def test_a_dripping_answer_ends_at_the_deadline_of_the_whole_call(step: Step) -> None:
    import trio

    async def run() -> None:
        started = trio.current_time()
        error = await assert_unknown(step, timeout=60.0)
        assert "no answer within 60 s" in error.message
        assert trio.current_time() - started == pytest.approx(60.0, abs=0.5)

    virtually(run)


@pytest.mark.slow
def test_an_id_that_dripped_in_whole_before_the_deadline_is_kept() -> None:
    async def run() -> None:
        outcome = await submit_to(drip(b'{"task_id": "ta1"}', 2.5), timeout=50.0)
        assert outcome.task_id == "ta1"
        assert outcome.server.posts == 1

    virtually(run)


async def test_a_refused_connection_charges_nothing() -> None:
    url = f"http://127.0.0.1:{unused_port()}"
    async with client_of(url) as client:
        with pytest.raises(Unreachable) as caught:
            await client.submit(REQUEST)
    assert "could not be reached" in caught.value.message
    assert url.removeprefix("http://") in caught.value.message
    assert "Check the network" in caught.value.hint
    assert KEY not in shown(caught.value)


@pytest.mark.parametrize("base_url", ["http://nowhere.invalid", "ftp://127.0.0.1", "http://127.0.0.1:0"])
async def test_an_address_that_cannot_be_reached_is_never_a_charge(base_url: str) -> None:
    async with client_of(base_url) as client:
        with pytest.raises(Unreachable):
            await client.submit(REQUEST)


async def test_a_server_without_tls_behind_https_receives_no_request() -> None:
    async with (
        fault_server(raw_at_once(answer_bytes(400))) as server,
        client_of(server.url.replace("http:", "https:")) as client,
    ):
        with pytest.raises(Unreachable):
            await client.submit(REQUEST)
    assert server.connections == 1


async def test_a_proxy_that_refuses_the_tunnel_means_that_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fault_server(reply(403)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        async with client_of("https://api.example.invalid") as client:
            with pytest.raises(Unreachable) as caught:
                await client.submit(REQUEST)
    assert {request.method for request in proxy.requests} == {"CONNECT"}
    assert not any(KEY.encode() in request.raw for request in proxy.requests)
    assert KEY not in shown(caught.value)
