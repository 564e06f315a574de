"""The `submit=` and `query=` faults, as a client meets them."""

import json

import httpx
import pytest

from nano_banana_sandbox.faults import REFUSALS
from tests.support.sandbox_driver import Driver, Serve

JSON_STATUSES = [400, 401, 402, 403, 404, 429, 500, 503]
BREAKS = {
    "short": httpx.RemoteProtocolError,
    "reset-before": httpx.ReadError,
    "reset-after": httpx.ReadError,
    "hang": httpx.ReadTimeout,
}
BODIES = ["html", "truncated", "empty", "garbage", "flat", "drip", "code"]


async def fault(api: Driver, kind: str, *, query: bool) -> httpx.Response:
    """The answer of a submit or a query with this fault."""
    task_id = await api.task_id(f"a hill sandbox:query={kind} sandbox:seconds=0") if query else ""
    if kind == "hang":
        api.client.timeout = httpx.Timeout(0.2)
    return await (api.query(task_id) if query else api.submit(f"a hill sandbox:submit={kind}"))


@pytest.mark.parametrize("query", [False, True], ids=["submit", "query"])
@pytest.mark.parametrize("status", JSON_STATUSES)
async def test_an_error_status_comes_in_the_shape_of_the_api(serve: Serve, status: int, query: bool) -> None:
    async with serve() as api:
        response = await fault(api, str(status), query=query)
        assert response.status_code == status
        assert response.json()["code"] == (401 if query and status == 401 else 1)
        assert api.sandbox.stats.charged == query


@pytest.mark.parametrize("query", [False, True], ids=["submit", "query"])
@pytest.mark.parametrize("status", [502, 504])
async def test_a_gateway_error_is_a_page_and_a_submit_behind_it_is_charged(
    serve: Serve, status: int, query: bool
) -> None:
    async with serve() as api:
        response = await fault(api, str(status), query=query)
        assert response.status_code == status
        assert response.headers["content-type"].startswith("text/html")
        assert api.sandbox.stats.charged == 1


@pytest.mark.parametrize("query", [False, True], ids=["submit", "query"])
@pytest.mark.parametrize("kind", BREAKS)
async def test_a_broken_connection_looks_like_one(serve: Serve, kind: str, query: bool) -> None:
    async with serve() as api:
        with pytest.raises(BREAKS[kind]):
            await fault(api, kind, query=query)
        charged = int(query or kind != "reset-before")
        await api.sandbox.until(lambda stats: stats.submits == 1 and stats.charged == charged)


async def test_a_reset_after_the_submit_has_charged_the_task(serve: Serve) -> None:
    async with serve() as api:
        with pytest.raises(httpx.ReadError):
            await api.submit("a hill sandbox:submit=reset-after sandbox:seconds=0")
        (task,) = api.sandbox.tasks
        assert (await api.query(task.id)).json()["data"]["status"] == "success"


@pytest.mark.parametrize("query", [False, True], ids=["submit", "query"])
@pytest.mark.parametrize("kind", BODIES)
async def test_a_fault_of_the_body_arrives_as_a_whole_answer(serve: Serve, kind: str, query: bool) -> None:
    async with serve(drip_interval=0) as api:
        response = await fault(api, kind, query=query)
        assert response.status_code == 200
        assert int(response.headers["content-length"]) == len(response.content)
        assert api.sandbox.stats.charged == (query or kind not in REFUSALS)
        task_id = api.sandbox.tasks[0].id if api.sandbox.tasks else None
        if kind == "html":
            assert response.text.startswith("<!DOCTYPE html>")
        elif kind == "truncated":
            assert response.text.startswith('{"code": 0')
            with pytest.raises(json.JSONDecodeError):
                response.json()
        elif kind == "empty":
            assert response.content == b""
        elif kind == "garbage":
            assert isinstance(response.json(), list)
        elif kind == "flat":
            assert response.json()["task_id"] == task_id
        elif kind == "drip":
            assert response.json()["data"]["task_id"] == task_id
        else:
            assert response.json()["code"] == 1


async def test_a_drip_is_slower_than_a_client_waits_and_its_task_is_charged(serve: Serve) -> None:
    async with serve() as api:
        api.client.timeout = httpx.Timeout(0.1)
        with pytest.raises(httpx.ReadTimeout):
            await api.submit("sandbox:submit=drip")
        await api.sandbox.until(lambda stats: stats.charged == 1)


async def test_a_counted_fault_hits_the_first_submits_of_the_same_prompt(serve: Serve) -> None:
    async with serve() as api:
        prompt = "a hill sandbox:submit=503*2"
        assert [(await api.submit(prompt)).status_code for _ in range(4)] == [503, 503, 200, 200]
        assert (await api.submit("another sandbox:submit=503*2")).status_code == 503
        assert api.sandbox.stats.charged == 2


async def test_a_counted_fault_hits_the_first_queries_of_each_task(serve: Serve) -> None:
    async with serve("query=500*1") as api:
        for task_id in (await api.task_id(), await api.task_id()):
            assert [(await api.query(task_id)).status_code for _ in range(2)] == [500, 200]


@pytest.mark.parametrize(("status", "header"), [(429, "7"), (503, "7"), (500, None)])
async def test_retry_after_is_sent_where_it_belongs(serve: Serve, status: int, header: str | None) -> None:
    async with serve("retry-after=7") as api:
        response = await api.submit(f"sandbox:submit={status}")
        assert response.headers.get("retry-after") == header


async def test_defaults_of_the_config_hold_unless_the_prompt_overrides_them(serve: Serve) -> None:
    async with serve("submit=500") as api:
        assert (await api.submit("a hill")).status_code == 500
        assert (await api.submit("a hill sandbox:submit=ok")).status_code == 200


async def test_a_connection_survives_a_fault_that_is_a_whole_answer(serve: Serve) -> None:
    async with serve() as api:
        await api.submit("sandbox:submit=truncated")
        assert (await api.submit("a hill")).status_code == 200
