"""Confirmation over HTTP: per principal, by an answer that reaches another replica, and with invalid states."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

from nano_banana_mcp.defapi import retry
from nano_banana_mcp.http.auth.users_file import OwnLimits
from nano_banana_mcp.http.signing import SharedStateCodec
from nano_banana_sandbox.sandbox import Sandbox
from tests.support.clients import facts, text
from tests.support.http_server import at, served, settings_of
from tests.support.people import ACCEPT, CAT, DECLINE, Person, answered, asked, choose
from tests.support.sandbox import plain_sandbox
from tests.support.task_clients import TasksDeclared, ended
from tests.support.team import client_with, grant


@asynccontextmanager
async def replicas(*folders: Path, **settings: Any) -> AsyncIterator[tuple[Sandbox, list[Client]]]:
    """Servers that always ask, one with each of these state folders, and a client of each."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(plain_sandbox(seconds=0))
        values = at(sandbox.url, NANO_BANANA_CONFIRM="always", **settings)
        servers = [
            await stack.enter_async_context(served(**values, NANO_BANANA_STATE_DIR=folder)) for folder in folders
        ]
        yield (
            sandbox,
            [
                await stack.enter_async_context(Client(server.url, elicitation_callback=Person(DECLINE)))
                for server in servers
            ],
        )


async def refusal(client: Client, state: str, **arguments: Any) -> MCPError:
    """Repeat the call with a state that is not valid."""
    with pytest.raises(MCPError) as caught:
        await answered(client, state, **arguments)
    return caught.value


@pytest.mark.parametrize(
    ("era", "answer", "submits"),
    [("auto", ACCEPT, 4), ("legacy", choose(3), 3), ("auto", DECLINE, 0), ("legacy", DECLINE, 0)],
)
async def test_a_person_is_asked_over_http(era: Any, answer: Any, submits: int, tmp_path: Path) -> None:
    person = Person(answer)
    async with plain_sandbox(seconds=0) as sandbox:
        values = at(sandbox.url, NANO_BANANA_CONFIRM="always", NANO_BANANA_STATE_DIR=tmp_path)
        async with (
            served(**values) as server,
            Client(server.url, mode=era, elicitation_callback=person) as client,
        ):
            result = await client.call_tool("generate_image", {**CAT, "wait_seconds": 240})
            assert result.is_error is (submits == 0)
        assert sandbox.stats.submits == submits
    assert len(person.questions) == 1


@pytest.mark.parametrize("ledger", ["sqlite", "postgresql"])
async def test_an_answer_that_arrives_at_another_replica_is_taken_once(
    ledger: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folders, place = [tmp_path, tmp_path], {}
    if ledger == "postgresql":
        folders, place = (
            [tmp_path / "one", tmp_path / "two"],
            {"NANO_BANANA_LEDGER_URL": request.getfixturevalue("database")},
        )
    async with replicas(*folders, **place) as (sandbox, [first, second]):
        state = await asked(first)
        batch = facts(await answered(second, state, choose(3)))
        assert sandbox.stats.submits == 3
        for client, answer in ((first, choose(3)), (second, ACCEPT), (first, DECLINE)):
            repeated = facts(await answered(client, state, answer))
            assert repeated["task_id"] == batch["task_id"]
        assert sandbox.stats.submits == 3


@pytest.mark.parametrize(
    ("ledger", "arguments"),
    [
        ("sqlite", {"count": 1}),
        ("sqlite", {"count": 1, "request_id": "one"}),
        ("sqlite", {"count": 4}),
        ("postgresql", {"count": 4}),
    ],
)
async def test_an_approval_is_used_up_by_a_submit_that_ends_in_server_errors(
    ledger: str,
    arguments: dict[str, Any],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "MIN_CEILING_SECONDS", 0.0)
    call: dict[str, Any] = {"prompt": "a cat sandbox:submit=500*3", **arguments}
    place: dict[str, Any] = {"NANO_BANANA_STATE_DIR": tmp_path}
    if ledger == "postgresql":
        place = {"NANO_BANANA_LEDGER_URL": request.getfixturevalue("database")}
    async with (
        plain_sandbox(seconds=0) as sandbox,
        served(**at(sandbox.url, NANO_BANANA_CONFIRM="always", **place)) as server,
        Client(server.url, elicitation_callback=Person(DECLINE)) as client,
    ):
        state = await asked(client, **call)
        answer = choose(1)
        failed = await answered(client, state, answer, **call)
        assert failed.is_error
        for _ in range(2):
            repeated = await answered(client, state, answer, **call)
            assert repeated.is_error
            assert "The request was sent 3 times and the API did not accept it." in text(repeated)
        assert sandbox.stats.submits == 3
        assert not (await answered(client, await asked(client, **call), answer, **call)).is_error
        assert sandbox.stats.submits == 4


async def test_a_state_is_valid_for_its_own_arguments_only(tmp_path: Path) -> None:
    async with replicas(tmp_path) as (sandbox, [client]):
        state = await asked(client)
        for arguments in ({"prompt": "a dog"}, {"count": 3}, {"model": "other"}, {"request_id": "one"}):
            error = await refusal(client, state, **arguments)
            assert error.code == INVALID_PARAMS
            assert "This call sent nothing." in error.message
        assert sandbox.stats.submits == 0
        assert not (await answered(client, state)).is_error


async def test_tampered_foreign_and_expired_states_are_refused(tmp_path: Path) -> None:
    folders = [tmp_path / "ours", tmp_path / "theirs"]
    async with (
        replicas(folders[0]) as (sandbox, [client]),
        replicas(folders[1]) as (_, [stranger]),
    ):
        state = await asked(client)
        codec = SharedStateCodec(settings_of(NANO_BANANA_STATE_DIR=folders[0]))
        claims = json.loads(codec.unseal(state))
        assert 0 < claims["exp"] - time.time() <= 3_600
        expired = codec.seal(json.dumps({**claims, "exp": time.time() - 1}).encode())
        changed = state[:-1] + ("A" if state[-1] != "A" else "B")
        for invalid in (expired, changed, state[:40], "", "v1.", "{}", await asked(stranger)):
            error = await refusal(client, invalid)
            assert error.code == INVALID_PARAMS
            assert "This call sent nothing." in error.message
        assert sandbox.stats.submits == 0


async def test_each_principal_is_asked_by_their_own_threshold(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    limits = {"alice": OwnLimits(confirm="always"), "bob": OwnLimits(confirm="never"), "carol": OwnLimits()}
    tokens = {name: grant(file, name, limits=own) for name, own in limits.items()}
    async with plain_sandbox(seconds=0) as sandbox:
        values = at(sandbox.url, NANO_BANANA_TOKENS_FILE=file, NANO_BANANA_STATE_DIR=tmp_path, NANO_BANANA_CONFIRM="1")
        questions, marks = {}, {}
        async with served(**values) as server:
            for name, token in tokens.items():
                person = Person()
                async with client_with(server.url, token=token, elicitation_callback=person) as client:
                    for count in (1, 2, 3):
                        result = await client.call_tool("generate_image", {**CAT, "count": count, "wait_seconds": 240})
                        assert not result.is_error, text(result)
                questions[name] = [question.message.splitlines()[0] for question in person.questions]
                async with client_with(server.url, token=token) as client:
                    listed = await client.list_tools()
                assert listed.cache_scope == "private"
                marks[name] = "requiresUserInteraction" in listed.model_dump_json(by_alias=True)
    assert [len(questions[name]) for name in tokens] == [3, 0, 1]
    assert questions["carol"] == ["Make 3 images for about 1.5 credits?"]
    assert marks == {"alice": True, "bob": False, "carol": True}


async def test_one_principals_state_and_spend_are_not_anothers(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    tokens = {name: grant(file, name, limits=OwnLimits(confirm="always")) for name in ("alice", "bob")}
    person = Person()
    async with plain_sandbox(seconds=0) as sandbox:
        values = at(sandbox.url, NANO_BANANA_TOKENS_FILE=file, NANO_BANANA_STATE_DIR=tmp_path)
        async with (
            served(**values) as server,
            client_with(server.url, token=tokens["alice"], elicitation_callback=person) as alice,
            client_with(server.url, token=tokens["bob"], elicitation_callback=person) as bob,
        ):
            await alice.call_tool("generate_image", {**CAT, "wait_seconds": 240})
            await bob.call_tool("generate_image", CAT)
            assert person.questions[-1].message.endswith("0 credits")
            await alice.call_tool("generate_image", CAT)
            assert person.questions[-1].message.endswith("2 credits")
            submits = sandbox.stats.submits
            await refusal(bob, await asked(alice))
            assert sandbox.stats.submits == submits


async def test_a_batch_that_becomes_a_background_task_is_asked_about_once(tmp_path: Path) -> None:
    person = Person(choose(2))
    async with plain_sandbox(seconds=1) as sandbox:
        values = at(sandbox.url, NANO_BANANA_CONFIRM="always", NANO_BANANA_STATE_DIR=tmp_path)
        async with (
            served(**values) as server,
            Client(server.url, elicitation_callback=person, extensions=[TasksDeclared()]) as client,
        ):
            state = await asked(client)
            result: Any = await client.session.call_tool(
                "generate_image",
                CAT,
                request_state=state,
                input_responses={"confirmation": choose(2)},
                allow_claimed=True,
            )
            assert result.result_type == "task"
            task = await ended(client, result.model_extra["taskId"])
            assert len(task["result"]["structuredContent"]["images"]) == 2
        assert sandbox.stats.submits == 2
    assert person.questions == []
