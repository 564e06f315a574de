"""A successful submit: its request, and reading the task id."""

import json

import pytest

from nano_banana_mcp import __version__
from nano_banana_mcp.defapi.errors import OutcomeUnknown
from nano_banana_mcp.defapi.schemas import SubmitRequest
from tests.support.defapi_calls import KEY, REQUEST, TAKEN, TASK, client_of, submit_to
from tests.support.fault_server import Body, fault_server
from tests.support.faults import reply, reply_then_close

MAX_ID = "a" * 128


async def test_a_submit_sends_exactly_the_fields_that_are_set() -> None:
    outcome = await submit_to(reply(200, TAKEN))
    assert outcome.server.requests[0].body == b'{"model":"google/gempix2","prompt":"a hill"}'


async def test_a_submit_sends_every_field_that_is_set() -> None:
    request = SubmitRequest(
        model="google/nano-banana-2",
        prompt='ein Hügel 🌄 \u202e\n"quoted"',
        images=["https://example.com/a.png", "data:image/png;base64,AAAA"],
        callback_url="https://example.com/hook",
        aspect_ratio="16:9",
        image_size="2k",
    )
    outcome = await submit_to(reply(200, TAKEN), request=request)
    assert outcome.server.requests[0].json == request.model_dump()


async def test_a_submit_is_one_post_to_the_image_endpoint() -> None:
    outcome = await submit_to(reply(200, TAKEN))
    [request] = outcome.server.requests
    assert (request.method, request.target, request.whole) == ("POST", "/api/image/gen", True)


async def test_a_submit_carries_the_key_and_says_who_is_asking() -> None:
    headers = (await submit_to(reply(200, TAKEN))).server.requests[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["user-agent"] == f"Mozilla/5.0 (compatible; nano-banana-mcp/{__version__})"
    assert headers["content-type"] == "application/json"
    assert headers["accept"] == "application/json"


async def test_the_key_travels_in_no_other_place_than_its_header() -> None:
    [request] = (await submit_to(reply(200, TAKEN))).server.requests
    assert request.raw.count(KEY.encode()) == 1


@pytest.mark.parametrize(
    ("body", "task_id"),
    [
        pytest.param(TAKEN, TASK, id="a UUID that starts with ta"),
        pytest.param({"code": 0, "data": {"task_id": f"ta{TASK}"}}, f"ta{TASK}", id="ta and a UUID"),
        pytest.param({"code": 0, "data": {"task_id": MAX_ID}}, MAX_ID, id="as long as ids get"),
        pytest.param({"code": 0, "data": {"task_id": "A_b-9"}}, "A_b-9", id="the whole alphabet"),
        pytest.param({"task_id": TASK}, TASK, id="a flat body"),
        pytest.param({"code": "0", "data": {"task_id": TASK}}, TASK, id="code as a string"),
        pytest.param({"code": 200, "data": {"task_id": TASK}}, TASK, id="code 200"),
        pytest.param({"code": None, "data": {"task_id": TASK}}, TASK, id="code null"),
        pytest.param({"data": {"task_id": TASK}}, TASK, id="no code"),
        pytest.param({"code": 0, "data": [{"task_id": TASK}]}, TASK, id="wrapped in an unexpected list"),
        pytest.param([TAKEN], TASK, id="not an object at all"),
        pytest.param(json.dumps(TAKEN, indent=4), TASK, id="pretty printed"),
        pytest.param(b"\xef\xbb\xbf" + json.dumps(TAKEN).encode(), TASK, id="with a byte order mark"),
        pytest.param(json.dumps(TAKEN)[:-2], TASK, id="without its last brackets"),
    ],
)
async def test_the_task_id_is_read_out_of_every_shape_of_success(body: Body, task_id: str) -> None:
    outcome = await submit_to(reply(200, body))
    assert outcome.task_id == task_id
    assert outcome.server.posts == 1


@pytest.mark.parametrize("status", [201, 202])
async def test_the_task_id_in_any_answer_of_success_is_kept(status: int) -> None:
    outcome = await submit_to(reply(status, TAKEN))
    assert outcome.task_id == TASK
    assert outcome.server.posts == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"code": 0, "message": "ok"}, id="no data"),
        pytest.param({"code": 0, "data": None}, id="data null"),
        pytest.param({"code": 0, "data": {}}, id="data empty"),
        pytest.param({"code": 0, "data": {"task_id": None}}, id="id null"),
        pytest.param({"code": 0, "data": {"task_id": 7}}, id="id a number"),
        pytest.param({"code": 0, "data": {"task_id": ""}}, id="id empty"),
        pytest.param({"code": 0, "data": {"task_id": f"{MAX_ID}a"}}, id="id too long"),
        pytest.param({"code": 0, "data": {"task_id": "ta/../user"}}, id="id a path"),
        pytest.param({"code": 0, "data": {"task_id": "ta 1"}}, id="id with a space"),
        pytest.param({"code": 0, "data": {"task_id": "ta1\n"}}, id="id with a line break"),
        pytest.param({"code": 0, "data": {"task_id": "tä1"}}, id="id with another letter"),
        pytest.param({"code": 0, "data": {"task_id": {"id": TASK}}}, id="id an object"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[" * 100_000, id="nested too deep"),
        pytest.param(b'{"code": ' + b"9" * 5_000 + b"}", id="a number without end"),
        pytest.param(b"\xff\xfe\x00garbage", id="no text"),
    ],
)
async def test_a_success_without_a_usable_task_id_may_have_been_charged(body: Body) -> None:
    outcome = await submit_to(reply(200, body))
    assert type(outcome.error) is OutcomeUnknown
    assert "no task id" in outcome.error.message
    assert "may have been charged" in outcome.error.message
    assert outcome.error.status == 200
    assert outcome.server.posts == 1


async def test_two_submits_arrive_on_two_connections() -> None:
    async with fault_server(reply(200, TAKEN)) as server, client_of(server.url) as client:
        await client.submit(REQUEST)
        await client.submit(REQUEST)
    assert [request.connection for request in server.requests] == [0, 1]


async def test_a_keep_alive_connection_that_the_server_closed_never_makes_a_submit_ambiguous() -> None:
    script = [reply_then_close(200, TAKEN), reply_then_close(200, TAKEN), reply_then_close(200, TAKEN)]
    async with fault_server(script) as server, client_of(server.url) as client:
        assert [await client.submit(REQUEST) for _ in script] == [TASK] * 3
    assert server.posts == server.connections == 3


async def test_a_submit_never_shares_a_connection_with_a_query() -> None:
    script = [reply(200, {"data": {"status": "pending"}}), reply(200, TAKEN)]
    async with fault_server(script) as server, client_of(server.url) as client:
        await client.query(TASK)
        await client.submit(REQUEST)
    assert [(request.method, request.connection) for request in server.requests] == [("GET", 0), ("POST", 1)]
