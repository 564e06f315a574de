"""A query: its request, and every way to get no state."""

import gzip

import anyio
import pytest

from nano_banana_mcp.defapi import transport as connection_module
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import (
    Blocked,
    Busy,
    DefapiError,
    KeyMissing,
    KeyRefused,
    NoAnswer,
    OutOfCredits,
    RequestRefused,
    TaskNotFound,
    Unreachable,
)
from tests.support.defapi_calls import KEY, TASK, client_of, query_to, virtually
from tests.support.fault_server import Step, fault_server, unused_port
from tests.support.faults import (
    close_after_headers,
    close_after_reading,
    close_before_reading,
    drip,
    endless_body,
    html,
    never_answer,
    raw,
    redirect,
    reply,
    reply_then_close,
    reset_after_reading,
    reset_mid_body,
    truncated,
)

PENDING = {"code": 0, "message": "ok", "data": {"task_id": TASK, "status": "pending"}}
UNKNOWN = {"code": 1, "message": "task not found"}


async def test_a_query_is_one_get_with_the_key_and_no_body() -> None:
    outcome = await query_to(reply(200, PENDING))
    [request] = outcome.server.requests
    assert (request.method, request.target) == ("GET", f"/api/task/query?task_id={TASK}")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["user-agent"].startswith("Mozilla/5.0 (compatible; nano-banana-mcp/")
    assert request.body == b""


@pytest.mark.parametrize(
    "task_id",
    [
        TASK,
        f"ta{TASK}",
        "a/b",
        "../user",
        "a b",
        "a+b",
        "a&b=c",
        "a#b",
        "a%2Fb",
        "a?b",
        "tä",
        "日本",
        "\r\nX: y",
    ],
)
async def test_a_task_id_reaches_the_api_unchanged_and_changes_nothing_else(task_id: str) -> None:
    outcome = await query_to(reply(200, PENDING), task_id=task_id)
    [request] = outcome.server.requests
    assert request.path == "/api/task/query"
    assert request.params == {"task_id": [task_id]}
    assert request.target.isascii()
    assert "x" not in request.headers


@pytest.mark.parametrize(
    ("step", "kind", "words"),
    [
        pytest.param(reply(401, {"code": 401, "message": "bad key"}), KeyRefused, "bad key", id="401, code 401"),
        pytest.param(reply(401, {"code": 1, "message": "bad key"}), KeyRefused, "bad key", id="401, code 1"),
        pytest.param(reply(402), OutOfCredits, "credits (402)", id="402"),
        pytest.param(reply(403, "error code: 1010"), Blocked, "Bot protection", id="403"),
        pytest.param(reply(404, UNKNOWN), TaskNotFound, "task not found", id="404"),
        pytest.param(html(404), TaskNotFound, "(404)", id="404 as HTML"),
        pytest.param(reply(400, {"detail": "task_id is required"}), RequestRefused, "is required", id="400"),
        pytest.param(redirect("/elsewhere"), RequestRefused, "redirect (307)", id="307"),
        pytest.param(reply(200, {**UNKNOWN, "data": None}), TaskNotFound, "task not found", id="200, task not found"),
        pytest.param(reply(200, {"code": 404}), TaskNotFound, "(code 404)", id="200, code 404"),
        pytest.param(reply(200, {"code": "401"}), KeyRefused, "(code 401)", id="200, code '401'"),
        pytest.param(reply(200, {"code": 1, "detail": "odd"}), NoAnswer, "odd", id="200, code 1"),
        pytest.param(reply(200, {"code": "1", "message": "odd"}), NoAnswer, "odd", id="200, code '1'"),
        pytest.param(reply(200, {"code": 429, "message": "slow"}), NoAnswer, "slow", id="200, code 429"),
        pytest.param(reply(429), Busy, "limiting requests (429)", id="429"),
        pytest.param(reply(500, {"message": "oops"}), Busy, "oops", id="500"),
        pytest.param(html(503), Busy, "(503)", id="503"),
        pytest.param(html(502), NoAnswer, "502 Bad Gateway", id="502"),
        pytest.param(html(504), NoAnswer, "504 Gateway Timeout", id="504"),
        pytest.param(html(520), NoAnswer, "520", id="520"),
        pytest.param(html(408), NoAnswer, "408", id="408"),
        pytest.param(html(200), NoAnswer, "other than a JSON object", id="200 as HTML"),
        pytest.param(reply(200), NoAnswer, "other than a JSON object", id="200, empty"),
        pytest.param(reply(200, [PENDING]), NoAnswer, "other than a JSON object", id="200, a list"),
        pytest.param(reply(200, b"[" * 100_000), NoAnswer, "other than a JSON object", id="200, nested too deep"),
        pytest.param(reply(200, {"code": 0, "data": {}}), NoAnswer, "no status", id="200, no status"),
        pytest.param(reply(200, {"data": {"status": 3}}), NoAnswer, "no status", id="200, status a number"),
        pytest.param(reply(200, {"data": {"status": " "}}), NoAnswer, "no status", id="200, status blank"),
        pytest.param(close_before_reading(), NoAnswer, "no complete answer", id="closed before reading"),
        pytest.param(close_after_reading(), NoAnswer, "closed early", id="closed after reading"),
        pytest.param(reset_after_reading(), NoAnswer, "no complete answer", id="reset after reading"),
        pytest.param(close_after_headers(), NoAnswer, "closed early", id="closed after the headers"),
        pytest.param(truncated(PENDING, 40), NoAnswer, "closed early", id="broken off"),
        pytest.param(reset_mid_body(PENDING, 10), NoAnswer, "no complete answer", id="reset within the body"),
        pytest.param(raw(b"hello\r\n\r\n"), NoAnswer, "no complete answer", id="another protocol"),
        pytest.param(
            reply(200, b"no gzip", {"Content-Encoding": "gzip"}), NoAnswer, "no complete answer", id="gzip garbage"
        ),
    ],
)
async def test_a_query_without_a_state_says_why_and_is_asked_once(
    step: Step, kind: type[DefapiError], words: str
) -> None:
    outcome = await query_to(step)
    assert type(outcome.error) is kind
    assert words in outcome.error.message
    assert "charged" not in outcome.error.message
    assert outcome.error.hint
    assert outcome.server.connections == 1
    assert len(outcome.server.requests) <= 1


async def test_a_failure_without_a_message_is_reported_without_one() -> None:
    outcome = await query_to(reply(200, {"code": 1}))
    assert "None" not in outcome.error.message


async def test_a_rate_limited_query_reports_the_time_to_retry() -> None:
    outcome = await query_to(reply(429, headers={"Retry-After": "7"}))
    assert isinstance(outcome.error, Busy)
    assert outcome.error.retry_after == 7.0


async def test_a_query_is_not_redirected_with_its_key() -> None:
    async with fault_server(reply(200, PENDING)) as target:
        outcome = await query_to(redirect(f"{target.url}/api/task/query"))
    assert type(outcome.error) is RequestRefused
    assert target.connections == 0


async def test_a_key_that_the_api_repeats_in_its_words_is_not_shown() -> None:
    outcome = await query_to(reply(401, {"code": 401, "message": f"Incorrect API key provided: {KEY}"}))
    assert KEY not in outcome.error.message


async def test_a_refused_connection_is_unreachable_and_says_where() -> None:
    port = unused_port()
    async with client_of(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port} could not be reached"):
            await client.query(TASK)


async def test_without_a_key_nothing_is_asked() -> None:
    async with fault_server(reply(200, PENDING)) as server:
        client = DefapiClient(server.url, None)
        with pytest.raises(KeyMissing):
            await client.query(TASK)
    assert server.connections == 0


@pytest.mark.parametrize(
    ("step", "seconds"),
    [pytest.param(never_answer(), 6.0, id="silence"), pytest.param(drip(b"x", 5.0), 30.0, id="drip")],
)
def test_a_query_that_hangs_is_given_up_sooner_than_a_submit(step: Step, seconds: float) -> None:
    async def run() -> None:
        started = anyio.current_time()
        outcome = await query_to(step, timeout=60.0)
        assert type(outcome.error) is NoAnswer
        assert anyio.current_time() - started == pytest.approx(seconds, abs=0.5)

    virtually(run)


async def test_an_endless_answer_is_cut_at_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_ANSWER_BYTES", 20_000)
    outcome = await query_to(endless_body())
    assert type(outcome.error) is NoAnswer
    assert "its answer is too large" in outcome.error.message


async def test_a_gzipped_answer_is_read() -> None:
    body = gzip.compress(b'{"data": {"status": "pending"}}')
    assert (await query_to(reply(200, body, {"Content-Encoding": "gzip"}))).snapshot.status == "pending"


async def test_queries_share_a_connection() -> None:
    async with fault_server(reply(200, PENDING)) as server, client_of(server.url) as client:
        for _ in range(3):
            await client.query(TASK)
    assert len(server.requests) == 3
    assert server.connections == 1


async def test_a_connection_that_the_server_closed_in_between_costs_a_query_nothing() -> None:
    async with fault_server(reply_then_close(200, PENDING)) as server, client_of(server.url) as client:
        for _ in range(3):
            assert (await client.query(TASK)).status == "pending"
    assert len(server.requests) == server.connections == 3


async def test_a_client_can_be_closed_twice_and_used_again() -> None:
    async with fault_server(reply(200, PENDING)) as server, client_of(server.url) as client:
        await client.query(TASK)
        await client.aclose()
        await client.aclose()
        assert (await client.query(TASK)).status == "pending"


async def test_a_cancelled_query_stops_at_once() -> None:
    async with (
        fault_server(never_answer()) as server,
        client_of(server.url) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(client.query, TASK)
        await server.arrived()
        group.cancel_scope.cancel()
    assert len(server.requests) == 1
