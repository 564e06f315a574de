"""Large numbers of waits on one stdio connection, processes on one ledger, kills and forgeries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync as in_thread
from mcp.client import Client

from nano_banana_mcp.tracking.callbacks import SPACING_SECONDS
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.server import serve_sandbox
from tests.lab.benchmarks.figures import Row
from tests.support.clients import child_at, clean_environment, facts
from tests.support.crowd import PROCESSES, TASKS, Shared, share_one_ledger
from tests.support.forgeries import attacked

WAITS = 100
WAITS_FOR_ONE = 20
TARGET_GROWTH_MEGABYTES = 6.0
"""'Flat', for 10,000 forgeries: what Python's allocator may take meanwhile."""


async def stdio_waits() -> tuple[int, int, int]:
    """How many concurrent waits on one connection got their image; queries for one task by one wait, and by many."""
    with tempfile.TemporaryDirectory() as state:
        async with (
            serve_sandbox(SandboxConfig(seconds=3.0)) as sandbox,
            Client(child_at(sandbox.url, NANO_BANANA_STATE_DIR=state)) as client,
        ):
            ended: list[str] = []

            async def make() -> str:
                task_id: str = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
                return task_id

            async def wait(task_id: str) -> None:
                arguments = {"task_id": task_id, "timeout_seconds": 60}
                ended.append(facts(await client.call_tool("wait_for_image", arguments))["status"])

            async def make_and_wait() -> None:
                await wait(await make())

            async def queries(waits: int) -> int:
                task_id = await make()
                async with anyio.create_task_group() as group:
                    for _ in range(waits):
                        group.start_soon(wait, task_id)
                return sandbox.stats.queries_by_task[task_id]

            async with anyio.create_task_group() as group:
                for _ in range(WAITS):
                    group.start_soon(make_and_wait)
            returned = ended.count("success")
            return returned, await queries(1), await queries(WAITS_FOR_ONE)


async def crashes(module: str, config: SandboxConfig, rounds: int) -> list[dict[str, Any]]:
    """One line for each point of a submit, or way of leaving."""
    with tempfile.TemporaryDirectory() as state:
        async with serve_sandbox(config) as sandbox:
            command = [sys.executable, "-m", f"tests.lab.crash.{module}", sandbox.url, f"{state}/state", str(rounds)]

            def run() -> subprocess.CompletedProcess[str]:
                return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=True)

            ended = await in_thread(run)
    return [json.loads(line) for line in ended.stdout.splitlines()]


def rows(quick: bool) -> Iterator[Row]:
    """Counts, nearly all of which are to be nought."""
    returned, of_one, of_many = anyio.run(stdio_waits)
    yield Row(
        f"{WAITS} waits for {WAITS} tasks on one stdio connection: ended with their picture",
        returned,
        "",
        "",
        "=",
        WAITS,
    )
    yield Row(f"{WAITS_FOR_ONE} waits for one task: queries", of_many, "", f"of one wait: {of_one}")
    if hasattr(os, "fork"):
        yield from _forked(2 if quick else 10)
    if sys.platform == "linux":
        yield from _forged(1_000 if quick else 10_000)


def _forked(rounds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        shared: Shared = share_one_ledger(Path(folder) / "state")
    what = f"{PROCESSES} processes with {TASKS} tasks each on one ledger"
    yield Row(f"{what}: errors", shared.errors, "", "", "=", 0)
    yield Row(f"{what}: rows", shared.finished, "", "", "=", PROCESSES * TASKS)
    ways = (
        ("rounds", "kill -9", SandboxConfig(credit=1e6)),
        ("disconnects", "a client that leaves", SandboxConfig(drip_interval=0.0005, credit=1e6)),
    )
    for module, name, config in ways:
        lines = anyio.run(crashes, module, config, rounds)
        charged = sum(line["charged"] for line in lines)
        of = f"{len(lines)} points x {rounds} rounds, {charged} charged"
        yield Row(f"{name} in the middle of a submit: lost", sum(line["lost"] for line in lines), "", of, "=", 0)
        twice = sum(line["posted twice"] for line in lines)
        yield Row(f"{name} in the middle of a submit: posted twice", twice, "", of, "=", 0)


def _forged(count: int) -> Iterator[Row]:
    result = anyio.run(attacked, count)
    what = f"{count:,} forged, malformed and replayed callbacks"
    yield Row(f"{what}: what changed", result.changes, "", "", "=", 0)
    yield Row(f"{what}: answers that were not the usual 404 or 204", len(result.unexpected), "", "", "=", 0)
    yield Row(
        f"{what}: queries for the task whose address was used",
        result.queries[result.left_open],
        "",
        f"one each {SPACING_SECONDS:g} s in {result.seconds:.1f} s",
        target=round(result.max_queries, 1),
    )
    yield Row(f"{what}: memory", result.growth / 1e6, "MB", "after the first quarter", target=TARGET_GROWTH_MEGABYTES)
