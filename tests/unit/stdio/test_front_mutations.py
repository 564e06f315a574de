"""Whatever the front answers, the real server answers in the same way: tried with thousands of mutated messages."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.server.runner import serve_dual_era_loop
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

from nano_banana_mcp.app import build_server
from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.stdio import manifest
from nano_banana_mcp.stdio.front import Front
from tests.support.discovery import ENVELOPE, INITIALIZED, LISTS, MODERN, envelope, initialize, request

MESSAGES = int(os.environ.get("MUTATED_MESSAGES", "2000"))
SEED = int(os.environ.get("MUTATION_SEED", "1"))

HANDSHAKE = [initialize(), INITIALIZED]
CLIENT = {"name": "a", "version": "1", "title": "t", "websiteUrl": "https://x.y"}
CAPABILITIES = {
    "roots": {"listChanged": True},
    "elicitation": {"form": {}, "url": {}},
    "sampling": {"tools": {}},
    "experimental": {"a": {}},
    "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["x"]}},
}
META = envelope(
    progressToken=4,
    traceparent="00-a",
    **{
        f"{ENVELOPE}clientInfo": CLIENT,
        f"{ENVELOPE}clientCapabilities": CAPABILITIES,
        f"{ENVELOPE}logLevel": "debug",
    },
)
LISTEN = {**META, "notifications": {"toolsListChanged": True, "promptsListChanged": False}}

# Each with the lines before it.
SEEDS: list[tuple[list[bytes], dict[str, Any]]] = [
    *(
        ([], json.loads(initialize(revision, capabilities=CAPABILITIES, clientInfo=CLIENT, _meta={"progressToken": 1})))
        for revision in ("2024-11-05", "2025-11-25")
    ),
    *((HANDSHAKE, json.loads(request("x", name, {"_meta": {"progressToken": "p"}}))) for name in ("ping", *LISTS)),
    *(([], json.loads(request(2, name, META))) for name in ("server/discover", *LISTS)),
    ([], json.loads(request(2, "subscriptions/listen", LISTEN))),
]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 10**30, "", "x", "\ud800", "é"),
    *([], [1], {}, {"a": 1}, {"a": {}}, MODERN, "2025-06-18", "loud"),
]
NAMES = [
    *("_meta", "cursor", "progressToken", "id", "extra", "roots", "listChanged", "sampling", "tasks", "icons", "name"),
    *("version", "notifications", "resourceSubscriptions", "title", "websiteUrl", "description", "form", "elicitation"),
    *("toolsListChanged", f"{ENVELOPE}logLevel", f"{ENVELOPE}other", f"{ENVELOPE}protocolVersion"),
]
CHANGES = (0, 1, 1, 1, 2, 3)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each part of a message."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from paths(part, (*path, key))


def mutate(message: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """A copy with a few parts replaced, removed or added."""
    message = copy.deepcopy(message)
    for _ in range(dice.choice(CHANGES)):
        *way, last = dice.choice(list(paths(message))[1:] or [("id",)])
        parent: Any = message
        for key in way:
            parent = parent[key]
        kind = dice.random()
        if kind < 0.4:
            parent[last] = copy.deepcopy(dice.choice(VALUES))
        elif kind < 0.6 and isinstance(parent, dict):
            del parent[last]
        elif isinstance(parent[last], dict):
            parent[last][dice.choice(NAMES)] = copy.deepcopy(dice.choice(VALUES))
    return message


async def ask(lowlevel: Any, lifespan_state: Any, lines: list[bytes], answers_before: int) -> Any:
    """What the SDK sends first after the answers to the lines before the last."""
    to_server, server_reads = anyio.create_memory_object_stream[SessionMessage | Exception](len(lines))
    server_writes, from_server = anyio.create_memory_object_stream[SessionMessage](8)
    async with to_server, server_reads, server_writes, from_server, anyio.create_task_group() as tasks:
        tasks.start_soon(
            lambda: serve_dual_era_loop(
                lowlevel,
                server_reads,
                server_writes,
                lifespan_state=lifespan_state,
                init_options=lowlevel.create_initialization_options(),
            )
        )
        for line in lines:
            await to_server.send(SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False)))
        for _ in range(answers_before):
            await from_server.receive()
        with anyio.fail_after(30):
            answer = (await from_server.receive()).message
        tasks.cancel_scope.cancel()
    return json.loads(answer.model_dump_json(by_alias=True, exclude_unset=True))


@pytest.mark.slow
async def test_mutated_messages_are_answered_as_by_the_real_server_or_not_at_all(tmp_path: Path) -> None:
    answers = manifest.load(os.environ)
    assert answers is not None
    dice = random.Random(SEED)
    server = build_server(load_settings(base_url="http://127.0.0.1:9", state_dir=tmp_path), local=True)
    lowlevel = server._lowlevel_server
    answered, differences = 0, []
    seen: set[tuple[int, bytes]] = set()  # unchanged messages come again and again
    async with lowlevel.lifespan(lowlevel) as lifespan_state:
        for _ in range(MESSAGES):
            before, seed = dice.choice(SEEDS)
            text = json.dumps(mutate(seed, dice), ensure_ascii=dice.random() < 0.5)
            line = text.encode("utf-8", "surrogatepass") + b"\n"
            front = Front(answers, list)
            for earlier in before:
                assert front.answer(earlier) is not None
            if not (answer := front.answer(line)):
                continue
            answered += 1
            if (len(before), line) in seen:
                continue
            seen.add((len(before), line))
            try:
                expected = await ask(lowlevel, lifespan_state, [*before, line], len(before) // 2)
            except (ValueError, ExceptionGroup) as error:
                expected = repr(error)
            if json.loads(answer) != expected:
                differences.append((line, json.loads(answer), expected))
    assert differences[:5] == []
    assert answered > MESSAGES / 10
