"""The account on a team server: a caller sees their own spending and limits, and the balance of their own key only."""

from __future__ import annotations

import json
from pathlib import Path

from mcp.client import Client

from nano_banana_mcp.http.auth.users_file import OwnLimits
from nano_banana_sandbox.app import BROKE_KEY
from tests.support.clients import facts, text
from tests.support.http_server import at, served
from tests.support.sandbox import plain_sandbox
from tests.support.team import client_with, grant


async def everything_in(client: Client) -> str:
    """All that the tool and the resource say."""
    result = await client.call_tool("get_account")
    contents = (await client.read_resource("nanobanana://account")).contents
    return "\n".join([text(result), json.dumps(facts(result)), *(item.model_dump_json() for item in contents)])


async def test_callers_see_only_their_own_generations(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    limits = OwnLimits.model_validate({"credits_per_day": "3", "open_tasks": 7})
    alice_token = grant(file, "alice", limits=limits)
    bob_token, carol_token = grant(file, "bob"), grant(file, "carol", api_key=BROKE_KEY)
    settings = {"NANO_BANANA_TOKENS_FILE": str(file), "NANO_BANANA_TOTAL_CREDITS_PER_DAY": "7777"}
    async with (
        plain_sandbox(seconds=0, credit="4321.000000") as sandbox,
        served(**at(sandbox.url, **settings)) as server,
        client_with(server.url, token=alice_token) as alice,
        client_with(server.url, token=bob_token) as bob,
        client_with(server.url, token=carol_token) as carol,
    ):
        made = await alice.call_tool("generate_image", {"prompt": "a cat", "model": "alices", "wait_seconds": 60})
        assert facts(made)["finished"]
        hers, his = facts(await alice.call_tool("get_account")), facts(await bob.call_tool("get_account"))
        assert (hers["spent_today"], hers["spent_this_month"]) == ("0.5", "0.5")
        assert hers["limits"]["credits_per_day"] == "3"
        assert hers["limits"]["credits_left_today"] == "2.5"
        assert hers["limits"]["open_tasks_left"] == 7
        assert [model["model"] for model in hers["models"]] == ["alices"]
        assert (his["spent_today"], his["spent_this_month"], his["models"]) == ("0", "0", [])
        assert his["limits"]["credits_left_today"] == "50"
        for client in (alice, bob):
            said = await everything_in(client)
            assert "not shown: the operator of this server pays" in said
            assert "4320" not in said
            assert "7777" not in said
        assert facts(await carol.call_tool("get_account"))["balance"] == "0"
