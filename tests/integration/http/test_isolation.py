"""Two callers on one server, in both eras: a task of the other gets the same answer as a missing one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR, ResourceLink, TextResourceContents

from tests.support.clients import facts, text
from tests.support.handshake import INITIALIZE
from tests.support.sandbox import plain_config
from tests.support.subscribers import NotificationRecorder, subscribe
from tests.support.team import ACCEPT, bearer
from tests.support.two_callers import ERAS, everything_said_of, read, shared


@pytest.mark.parametrize(("era", "result"), [("auto", "url"), ("legacy", "data-uri")])
async def test_a_task_of_another_caller_is_answered_as_a_missing_one(
    era: Any, result: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with (
        shared(tmp_path, plain_config(seconds=0.2)) as server,
        server.caller("alice", era) as alice,
        server.caller("bob", era) as bob,
    ):
        prompt = f"a cat sandbox:result={result}"
        made = facts(await alice.call_tool("generate_image", {"prompt": prompt, "wait_seconds": 240}))
        task_id = made["task_id"]
        url = made["images"][0]["url"] or made["images"][0]["resource_uri"]
        queries = server.sandbox.stats.queries
        missing = f"ta{uuid.uuid4()}"
        theirs = await everything_said_of(bob, task_id, url)
        other = url.replace(task_id, missing) if task_id in url else f"{url}0"
        nobodys = await everything_said_of(bob, missing, other)
        record_property("cases", len(theirs))
        assert theirs == nobodys
        assert all("no such task" in item or "Resource not found" in item for item in theirs)
        assert server.sandbox.stats.queries == queries
        assert (await bob.list_resources()).resources[2:] == []
        assert task_id not in await read(bob, "nanobanana://tasks")
        own = await everything_said_of(alice, task_id, url)
        assert "success" in own[0]
        assert task_id in await read(alice, "nanobanana://tasks")
        assert len((await alice.list_resources()).resources) == 3


@pytest.mark.parametrize("era", ERAS)
async def test_an_unknown_outcome_is_visible_to_its_caller_only(era: Any, tmp_path: Path) -> None:
    async with (
        shared(tmp_path, plain_config(seconds=0.2)) as server,
        server.caller("alice", era) as alice,
        server.caller("bob", era) as bob,
    ):
        lost = facts(await alice.call_tool("generate_image", {"prompt": "a cat sandbox:submit=reset-after"}))
        public_id = lost["task_id"]
        assert public_id.startswith("in-")
        missing = f"in-{uuid.uuid4()}"
        uri = "nanobanana://tasks/x"
        assert await everything_said_of(bob, public_id, uri) == await everything_said_of(bob, missing, uri)
        assert facts(await alice.call_tool("get_task", {"task_id": public_id}))["status"] == "unknown"


@pytest.mark.parametrize("era", ERAS)
async def test_a_request_id_of_another_is_free(era: Any, tmp_path: Path) -> None:
    async with (
        shared(tmp_path, plain_config(seconds=3600)) as server,
        server.caller("alice", era) as alice,
        server.caller("bob", era) as bob,
    ):
        request = {"prompt": "a cat", "request_id": "r-1"}
        hers = facts(await alice.call_tool("generate_image", request))["task_id"]
        his = facts(await bob.call_tool("generate_image", {**request, "prompt": "a dog"}))["task_id"]
        assert hers != his
        assert facts(await alice.call_tool("generate_image", request))["task_id"] == hers
        assert server.sandbox.stats.submits == 2


async def test_no_caller_is_notified_of_another_callers_task(tmp_path: Path) -> None:
    notifications = NotificationRecorder()
    async with (
        shared(tmp_path, plain_config(seconds=1.0)) as server,
        server.caller("alice") as alice,
        server.caller("bob", "legacy", notifications) as bob,
        server.caller("bob") as listening,
    ):
        hers = facts(await alice.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        his = facts(await bob.call_tool("generate_image", {"prompt": "a dog"}))["task_id"]
        uris = [f"nanobanana://tasks/{hers}", f"nanobanana://tasks/{his}"]
        for uri in uris:
            await subscribe(bob, uri)
        heard: list[str] = []
        with anyio.fail_after(60):
            async with listening.listen(resource_subscriptions=uris) as events:
                await alice.call_tool("wait_for_image", {"task_id": hers})
                await bob.call_tool("wait_for_image", {"task_id": his})
                async for event in events:
                    heard.append(getattr(event, "uri", ""))
                    if uris[1] in heard:
                        break
            await notifications.until(uris[1])
        assert uris[0] not in heard
        assert uris[0] not in notifications.uris


async def test_a_session_of_another_is_not_found(tmp_path: Path) -> None:
    async with shared(tmp_path, plain_config(seconds=3600)) as server:
        async with httpx.AsyncClient(headers=ACCEPT, trust_env=False) as http:
            opened = await http.post(server.url, json=INITIALIZE, headers=bearer(server.tokens["alice"]))
            session = opened.headers["mcp-session-id"]
            answers = [
                await http.post(
                    server.url,
                    json={"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
                    headers={**bearer(server.tokens["bob"]), "Mcp-Session-Id": item},
                )
                for item in (session, "0" * 32)
            ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].text == answers[1].text


async def test_a_budget_holds_across_calls_and_its_refusal_is_explained(tmp_path: Path) -> None:
    limits = {"NANO_BANANA_CREDITS_PER_DAY": "1", "NANO_BANANA_OPEN_TASKS": "0"}
    async with shared(tmp_path, plain_config(seconds=0.2), **limits) as server:
        async with server.caller("alice") as alice, server.caller("bob") as bob:
            for _ in range(2):
                made = await alice.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
                assert not made.is_error
            refused = await alice.call_tool("generate_image", {"prompt": "a cat"})
            assert refused.is_error
            assert "budget of 1 credit per day" in text(refused)
            assert "nothing was charged" in text(refused).lower()
            assert not (await bob.call_tool("generate_image", {"prompt": "a cat"})).is_error
        assert server.sandbox.stats.submits == 3


async def test_fifty_calls_at_once_cannot_overdraw_a_budget(tmp_path: Path) -> None:
    limits = {"NANO_BANANA_CREDITS_PER_DAY": "2.5", "NANO_BANANA_OPEN_TASKS": "0"}
    async with shared(tmp_path, plain_config(seconds=3600), **limits) as server:
        async with server.caller("alice") as alice, anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(alice.call_tool, "generate_image", {"prompt": f"cat {number}"})
        assert server.sandbox.stats.submits == 5


async def test_too_many_calls_per_minute_are_refused_with_the_time_to_retry(tmp_path: Path) -> None:
    async with (
        shared(tmp_path, plain_config(seconds=3600), NANO_BANANA_CALLS_PER_MINUTE="5") as server,
        server.caller("alice") as alice,
    ):
        made = facts(await alice.call_tool("generate_image", {"prompt": "a cat"}))
        answers = [await alice.call_tool("get_task", {"task_id": made["task_id"]}) for _ in range(6)]
        refused = [answer for answer in answers if answer.is_error]
        assert 1 <= len(refused) <= 2
        assert "5 calls per minute" in text(refused[0])
        assert "Try again in" in text(refused[0])


@pytest.mark.parametrize("era", ERAS)
async def test_every_lookup_request_counts_as_a_call(era: Any, tmp_path: Path) -> None:
    async with (
        shared(tmp_path, plain_config(seconds=3600), NANO_BANANA_CALLS_PER_MINUTE="4") as server,
        server.caller("alice", era) as alice,
        server.caller("bob", era) as bob,
    ):
        for _ in range(3):  # what clients ask when they connect costs nothing
            await alice.list_tools()
            await alice.list_resource_templates()
            await alice.list_prompts()
        for _ in range(2):
            await alice.list_resources()
        await alice.read_resource("nanobanana://tasks")
        assert "no such task" in text(await alice.call_tool("get_task", {"task_id": "x"}))
        requests: list[Callable[[], Awaitable[Any]]] = [
            alice.list_resources,
            lambda: alice.read_resource("nanobanana://tasks"),
            lambda: alice.get_prompt("poster", {"subject": "a cat"}),
        ]
        for request in requests:
            with pytest.raises(MCPError, match=r"4 calls per minute.*Try again in") as refused:
                await request()
            assert refused.value.code == INTERNAL_ERROR
        misspelt = await alice.call_tool("get_task", {"tusk_id": "x"})
        assert misspelt.is_error
        assert "4 calls per minute" in text(misspelt)
        await alice.list_tools()
        assert len((await bob.list_resources()).resources) == 2


async def test_a_resource_link_is_readable_by_its_caller_only(tmp_path: Path) -> None:
    async with (
        shared(tmp_path, plain_config(seconds=0.2)) as server,
        server.caller("alice") as alice,
        server.caller("bob") as bob,
    ):
        made = await alice.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
        [link] = [item for item in made.content if isinstance(item, ResourceLink)]
        assert "blob" in await read(alice, str(link.uri))
        assert "blob" not in await read(bob, str(link.uri))
        listing = (await bob.read_resource("nanobanana://tasks")).contents[0]
        assert isinstance(listing, TextResourceContents)
        assert json.loads(listing.text) == {"tasks": []}


@pytest.mark.parametrize("era", ERAS)
async def test_each_browses_their_own(era: Any, tmp_path: Path) -> None:
    async with (
        shared(tmp_path, plain_config(seconds=0.2)) as server,
        server.caller("alice", era) as alice,
        server.caller("bob", era) as bob,
    ):
        made = facts(await alice.call_tool("generate_image", {"prompt": "a secret cat", "wait_seconds": 240}))
        for arguments in ({}, {"limit": 20}, {"search": "cat"}, {"search": made["task_id"]}):
            theirs = await bob.call_tool("browse_images", arguments)
            assert facts(theirs) == {"generations": []}
            assert made["task_id"] not in theirs.model_dump_json()
        own = await alice.call_tool("browse_images", {"search": "SECRET"})
        assert [item["task_id"] for item in facts(own)["generations"]] == [made["task_id"]]
