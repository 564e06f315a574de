"""The account of a caller: balance, spending, limits and models, as a tool and as a resource."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.types import TextResourceContents

from tests.support.clients import client_at, facts, text
from tests.support.sandbox import plain_sandbox
from tests.support.team import watched_sandbox

NOWHERE = "http://127.0.0.1:9"
OPEN = "a cat sandbox:seconds=3600"


async def make(client: Client, prompt: str = "a cat", **more: Any) -> None:
    answer = await client.call_tool("generate_image", {"prompt": prompt, "wait_seconds": 60, **more})
    assert facts(answer)["finished"], text(answer)


async def test_the_account_has_the_balance_the_spending_and_a_table_of_models() -> None:
    async with plain_sandbox(seconds=0, credit="10.000000") as sandbox, client_at(sandbox.url) as client:
        for _ in range(3):
            await make(client, model="m-1")
        await make(client, "a cat sandbox:result=text", model="m-1")
        await make(client, model="m-2")
        await client.call_tool("generate_image", {"prompt": OPEN})
        result = await client.call_tool("get_account")
        account = facts(result)
        assert not result.is_error
        assert (account["unit"], account["balance"]) == ("credits", "7")
        assert (account["spent_today"], account["spent_this_month"]) == ("2.5", "2.5")
        assert (account["reserved"], account["open_tasks"]) == ("0.5", 1)
        assert set(account["limits"].values()) == {None}
        first, second, third = account["models"]
        assert (first["model"], first["images"], first["success_rate"]) == ("m-1", 3, 0.75)
        assert first["usual_credits"] == "0.5"
        assert 0.0 <= first["usual_seconds"] < 600.0
        assert (second["model"], second["images"], second["success_rate"]) == ("m-2", 1, 1.0)
        assert (third["images"], third["success_rate"], third["usual_credits"]) == (0, None, None)
        lines = text(result).splitlines()
        assert lines[:3] == [
            "Balance: 7 credits",
            "Spent: 2.5 credits today (UTC), 2.5 credits this month; 0.5 credits reserved for 1 unfinished picture",
            "Limits: none",
        ]
        assert lines[3].startswith("m-1: 3 pictures, 75% succeeded, usually 0.5 credits, about ")
        assert sandbox.stats.submits == 6


async def test_the_resource_of_the_account_is_listed_and_has_the_same_facts() -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        await make(client)
        assert "nanobanana://account" in {resource.uri for resource in (await client.list_resources()).resources}
        [content] = (await client.read_resource("nanobanana://account")).contents
        assert isinstance(content, TextResourceContents)
        assert json.loads(content.text) == facts(await client.call_tool("get_account"))


async def test_the_balance_is_queried_once_a_minute() -> None:
    async with watched_sandbox() as (sandbox, egress), client_at(sandbox.url) as client:
        async with anyio.create_task_group() as calls:
            for _ in range(5):
                calls.start_soon(client.call_tool, "get_account")
        await client.read_resource("nanobanana://account")
        assert sum(request.startswith(b"/api/user") for request in egress.requests) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"base_url": NOWHERE}, "could not be reached"), ({"api_key": "dk-invalid"}, "401")],
    ids=["no network", "refused key"],
)
async def test_a_balance_that_cannot_be_read_is_reported_beside_the_other_facts(
    settings: dict[str, Any], words: str
) -> None:
    async with plain_sandbox() as sandbox, client_at(**{"url": sandbox.url, **settings}) as client:
        result = await client.call_tool("get_account")
        assert not result.is_error
        balance = facts(result)["balance"]
        assert balance.startswith("unknown: ")
        assert words in balance
        assert f"Balance: {balance}" in text(result)
        assert facts(result)["spent_today"] == "0"


async def test_the_limits_show_what_is_left_and_the_lower_one_counts() -> None:
    limits: dict[str, Any] = {
        "credits_per_day": Decimal(2),
        "total_credits_per_day": Decimal("1.25"),
        "open_tasks": 3,
        "calls_per_minute": 100,
    }
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url, **limits) as client:
        await make(client)
        await client.call_tool("generate_image", {"prompt": OPEN})
        result = await client.call_tool("get_account")
        assert facts(result)["limits"] == {
            "credits_per_day": "1.25",
            "credits_left_today": "0.25",
            "open_tasks": 3,
            "open_tasks_left": 2,
            "calls_per_minute": 100,
        }
        assert (
            "Limits: 1.25 credits per day, 0.25 credits left today; 3 unfinished pictures, 2 left; 100 calls per minute"
        ) in text(result)


async def test_a_pending_answer_says_what_the_model_usually_costs_and_takes() -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        first = facts(await client.call_tool("generate_image", {"prompt": OPEN}))
        assert first["message"] is None
        await make(client)
        one = await client.call_tool("generate_image", {"prompt": OPEN})
        assert re.fullmatch(r"This model: usually 0\.5 credits, about [1-9]\d* s\.", facts(one)["message"])
        assert facts(one)["message"] in text(one)
        several = facts(await client.call_tool("generate_image", {"prompt": OPEN, "count": 4}))
        assert re.search(r"4 pictures of this model: usually 2 credits, about [1-9]\d* s\.", several["message"])
        other = facts(await client.call_tool("generate_image", {"prompt": OPEN, "model": "other"}))
        assert other["message"] is None


async def test_a_picture_that_is_paid_for_is_answered_although_the_ledger_fails_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from nano_banana_mcp.ledger.async_ledger import DurableLedger
    from nano_banana_mcp.ledger.errors import LedgerError

    async def medians(*_: object) -> None:
        raise LedgerError("The disk is full.")

    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        monkeypatch.setattr(DurableLedger, "medians", medians)
        result = await client.call_tool("generate_image", {"prompt": "a cat"})
        assert not result.is_error
        assert facts(result)["task_id"] == sandbox.tasks[0].id
