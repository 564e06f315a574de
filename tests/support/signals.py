"""SIGTERM to a server over HTTP while submits and waits are under way."""

from __future__ import annotations

import signal
from typing import Any

import anyio
from anyio.to_thread import run_sync as in_thread
from mcp.client import Client

from tests.support.clients import facts
from tests.support.http_server import at, make, served_process
from tests.support.sandbox import plain_sandbox

MAX_SECONDS = 240.0


async def answers_at_a_signal(mode: Any, calls: int) -> list[dict[str, Any]]:
    """Return what the calls were answered; one without an answer raises.

    Args:
        mode: How the client settles the protocol.
        calls: Number of submits, and of waits for as many tasks, under way at the signal.
    """
    answers: list[dict[str, Any]] = []
    async with plain_sandbox(seconds=3600, drip_interval=0.03) as sandbox:
        with served_process(**at(sandbox.url)) as server:
            async with Client(server.url, mode=mode) as client:
                task_ids = [await make(client) for _ in range(calls)]

                async def submit() -> None:
                    arguments = {"prompt": "a cat sandbox:submit=drip"}
                    answers.append(facts(await client.call_tool("generate_image", arguments)))

                async def wait(task_id: str) -> None:
                    answers.append(facts(await client.call_tool("wait_for_image", {"task_id": task_id})))

                with anyio.fail_after(MAX_SECONDS):
                    async with anyio.create_task_group() as group:
                        for task_id in task_ids:
                            group.start_soon(submit)
                            group.start_soon(wait, task_id)
                        await sandbox.until(
                            lambda stats: stats.charged == 2 * calls and len(stats.queries_by_task) == calls
                        )
                        server.process.send_signal(signal.SIGTERM)
                    assert await in_thread(server.process.wait) is not None
    return answers
