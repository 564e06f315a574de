"""The API's callbacks, over real sockets: they wake, they settle, and they change nothing by themselves."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from nano_banana_mcp.http.signing import KEY_FILE, KeyRing
from nano_banana_mcp.settings import SettingsError, load_settings
from nano_banana_mcp.tracking.schedule import Schedule
from tests.support.clients import NEVER_SECONDS, WITHOUT_QUERIES, facts
from tests.support.http_server import make, reachable
from tests.support.sandbox import plain_config

ONLY_POLLS = Schedule(first=0.1, min_interval=0.1, safety_interval=NEVER_SECONDS)


async def test_a_callback_ends_a_wait_and_leads_to_the_only_query() -> None:
    async with reachable(plain_config(seconds=0.5), WITHOUT_QUERIES) as (sandbox, _, client):
        for _ in range(2):
            task_id = await make(client)
            done = await client.call_tool("wait_for_image", {"task_id": task_id, "timeout_seconds": 240})
            assert facts(done)["status"] == "success"
            assert sandbox.stats.queries_by_task[task_id] == 1


async def test_every_submit_names_a_signed_address_unless_the_caller_names_one() -> None:
    async with reachable(plain_config(seconds=3600)) as (sandbox, server, client):
        await make(client)
        await client.call_tool("generate_image", {"prompt": "x", "callback_url": "https://hooks.example.com/own"})
        ours, own = (task.order.callback_url for task in sandbox.tasks)
        assert ours is not None
        assert ours.startswith(f"{server.root}/webhooks/in-")
        assert own == "https://hooks.example.com/own"


async def test_forged_and_malformed_callbacks_get_the_same_404_and_lead_to_no_query() -> None:
    async with reachable(plain_config(seconds=3600)) as (sandbox, server, client):
        task_id = await make(client)
        address = sandbox.tasks[0].order.callback_url
        assert address is not None
        generation_id, signature = address.rsplit("/", 2)[1:]
        good = {"task_id": task_id, "status": "success", "result": [{"image": "https://evil.example/x.png"}]}
        root = f"{server.root}/webhooks"
        other = KeyRing([b"another key"]).sign(generation_id)
        wrong = signature[:-1] + ("1" if signature.endswith("0") else "0")
        tries: list[tuple[str, bytes]] = [
            (f"{root}/{generation_id}/{wrong}", json.dumps(good).encode()),
            (f"{root}/{generation_id}/{other}", b"{}"),
            (f"{root}/{generation_id}/", b"{}"),
            (f"{root}/{generation_id}/%E2%98%83", b"{}"),
            (f"{root}/in-0/{signature}", b"{}"),
            (f"{root}/..%2f{generation_id}/{signature}", b"{}"),
            (address, b""),
            (address, b"no json"),
            (address, b"[1]"),
            (address, b'{"task_id": 7}'),
            (address, b'{"task_id": "../x"}'),
            (address, b'{"task_id": "ta-of-someone-else"}'),
            (address, b"[" * 50_000),
        ]
        async with httpx.AsyncClient() as http:
            for url, body in tries:
                answer = await http.post(url, content=body)
                assert (answer.status_code, answer.text) == (404, "Not Found"), (url, body[:50])
            for method in ("GET", "PUT", "OPTIONS", "TRACE", "PROPFIND", "ANY"):
                answer = await http.request(method, address)
                assert (answer.status_code, answer.text) == (404, "Not Found"), method
        assert sandbox.stats.queries == 0
        assert facts(await client.call_tool("get_task", {"task_id": task_id}))["finished"] is False


async def test_a_hundred_replays_lead_to_one_query_and_change_nothing() -> None:
    async with reachable(plain_config(seconds=3600)) as (sandbox, _, client):
        task_id = await make(client)
        address = sandbox.tasks[0].order.callback_url
        assert address is not None
        lie = {"task_id": task_id, "status": "success", "result": [{"image": "https://evil.example/x.png"}]}
        began = anyio.current_time()
        async with httpx.AsyncClient() as http:
            answers = [(await http.post(address, json=lie)).status_code for _ in range(100)]
        assert answers == [204] * 100
        assert sandbox.stats.queries <= 1 + (anyio.current_time() - began) // 2
        answer = facts(await client.call_tool("get_task", {"task_id": task_id}))
        assert answer["finished"] is False
        assert answer["images"] == []


async def test_a_callback_settles_an_unknown_outcome() -> None:
    async with reachable(plain_config(seconds=1.0)) as (sandbox, _, client):
        result = await client.call_tool("generate_image", {"prompt": "a cat sandbox:submit=reset-after"})
        assert result.is_error
        public_id = facts(result)["task_id"]
        assert facts(result)["status"] == "unknown"
        done = facts(await client.call_tool("wait_for_image", {"task_id": public_id, "timeout_seconds": 240}))
        assert done["status"] == "success"
        assert done["task_id"] == sandbox.tasks[0].id
        assert done["images"]
        assert sandbox.stats.submits == 1


async def test_lost_callbacks_only_cost_time_and_polling_takes_over() -> None:
    async with reachable(plain_config(seconds=0.3), ONLY_POLLS) as (_, _, client):
        for _ in range(2):
            task_id = await make(client, "a cat sandbox:callback=lost")
            done = facts(await client.call_tool("wait_for_image", {"task_id": task_id, "timeout_seconds": 240}))
            assert done["status"] == "success"


async def test_a_callback_that_comes_too_early_does_not_end_the_image() -> None:
    async with reachable(plain_config(seconds=4.0)) as (sandbox, _, client):
        task_id = await make(client, "a cat sandbox:callback=early")
        with anyio.fail_after(60):
            await sandbox.until(lambda stats: stats.callbacks_sent >= 1)
        done = facts(await client.call_tool("wait_for_image", {"task_id": task_id}))
        assert done["status"] == "success"
        assert done["elapsed_seconds"] >= 4.0


async def test_a_true_callback_right_after_a_false_one_is_not_lost() -> None:
    """It comes while no query may go yet, and leads to one as soon as one may."""
    async with reachable(plain_config(seconds=NEVER_SECONDS), WITHOUT_QUERIES) as (sandbox, _, client):
        task_id = await make(client)
        address = sandbox.tasks[-1].order.callback_url
        assert address is not None
        body = {"task_id": task_id, "status": "success"}
        async with httpx.AsyncClient() as http:
            for _ in range(3):
                assert (await http.post(address, json=body)).status_code == 204
            with anyio.fail_after(60):
                await sandbox.until(lambda stats: stats.queries_by_task[task_id] == 2)


async def test_a_callback_for_a_finished_task_costs_no_query() -> None:
    async with reachable(plain_config(seconds=0.5), WITHOUT_QUERIES) as (sandbox, _, client):
        task_id = await make(client, "a cat sandbox:callback=double")
        await client.call_tool("wait_for_image", {"task_id": task_id})
        with anyio.fail_after(60):
            await sandbox.until(lambda stats: stats.callbacks_sent >= 2)
        address = sandbox.tasks[0].order.callback_url
        assert address is not None
        async with httpx.AsyncClient() as http:
            for _ in range(10):
                assert (await http.post(address, json={"task_id": task_id})).status_code == 204
        assert sandbox.stats.queries_by_task[task_id] == 1


async def test_the_key_is_kept_private_and_outlives_the_server(tmp_path: Path) -> None:
    state: dict[str, Any] = {"NANO_BANANA_STATE_DIR": str(tmp_path)}
    async with reachable(plain_config(seconds=3600), **state) as (sandbox, _, client):
        await make(client)
        first = sandbox.tasks[0].order.callback_url
    key = (tmp_path / KEY_FILE).read_bytes()
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    async with reachable(plain_config(seconds=3600), **state):
        assert (tmp_path / KEY_FILE).read_bytes() == key
    assert first is not None
    generation_id, signature = first.rsplit("/", 2)[1:]
    assert KeyRing([key]).accepts(generation_id, signature)


@pytest.mark.parametrize("value", ["pictures.example.org", "ftp://x", "https://u:p@x", "https://x/?a=1"])
def test_an_unusable_public_url_is_refused_in_one_line(value: str) -> None:
    with pytest.raises(SettingsError, match=r"\ANANO_BANANA_PUBLIC_URL: [^\n]+\Z"):
        load_settings(public_url=value)
