"""Forks processes that submit one picture and die at a named point. Run as a program: everything is imported once.

Usage: python -m tests.lab.crash.rounds URL STATE_DIR ROUNDS [POINT ...]. Prints a JSON line a point.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
from pydantic import SecretStr

from nano_banana_mcp.app import compose_service
from nano_banana_mcp.defapi import client
from nano_banana_mcp.defapi import responses as answers
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.defapi.transport import Connection, _Sent
from nano_banana_mcp.ledger.async_ledger import DurableLedger
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from nano_banana_mcp.settings import load_settings


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
    """Die when ``owner.name`` is called, before it does anything."""
    original = getattr(owner, name)

    def killed(*arguments: Any, **named: Any) -> Any:
        if when(*arguments):
            die()
        return original(*arguments, **named)

    setattr(owner, name, killed)


def after(owner: Any, name: str) -> None:
    """Die when ``owner.name`` (a plain function) has done its work."""
    original = getattr(owner, name)

    def killed(*arguments: Any, **named: Any) -> Any:
        original(*arguments, **named)
        die()

    setattr(owner, name, killed)


def after_headers_sent() -> None:
    original = _Sent.trace

    async def trace(self: _Sent, event: str, info: dict[str, Any]) -> None:
        await original(self, event, info)
        if event.endswith("send_request_headers.complete"):
            die()

    setattr(_Sent, "trace", trace)  # noqa: B010 - as for the others: a type checker forbids the assignment


def after_body_sent() -> None:
    original = _Sent.trace

    async def trace(self: _Sent, event: str, info: dict[str, Any]) -> None:
        await original(self, event, info)
        if event.endswith("send_request_body.complete"):
            die()

    setattr(_Sent, "trace", trace)  # noqa: B010 - as for the others: a type checker forbids the assignment


POINTS: dict[str, Callable[[], None]] = {
    "before the record": lambda: before(SqliteLedger, "begin"),
    "after the record": lambda: after(SqliteLedger, "begin"),
    "before the request": lambda: before(Connection, "send"),
    "after the head of the request": after_headers_sent,
    "after the whole request": after_body_sent,
    "after the answer": lambda: before(answers, "read_submit"),
    "after the id was read": lambda: after(answers, "read_submit"),
    "before the id is stored": lambda: before(SqliteLedger, "save"),
    "after the id is stored": lambda: after(SqliteLedger, "save"),
    "at the end": lambda: None,
}


async def submit(url: str, state: Path, prompt: str) -> None:
    """One picture, as the server makes it."""
    api = client.DefapiClient(url, SecretStr("dk-crash"), timeout_seconds=10)
    settings = load_settings(state_dir=state)
    async with compose_service(settings, api, DurableLedger(state), api=url) as service:
        await service.generate(SubmitRequest(model="m", prompt=prompt))


def one_round(url: str, state: Path, point: str, prompt: str) -> None:
    pid = os.fork()
    if pid == 0:
        POINTS[point]()
        anyio.run(submit, url, state, prompt)
        os._exit(0)
    os.waitpid(pid, 0)


def check(url: str, state: Path, point: str, rounds: int) -> dict[str, Any]:
    """Compare what the API charged with what the ledger knows, for one point."""
    charged = {
        task["id"]: task["prompt"]
        for task in httpx.get(f"{url}/_sandbox/tasks", timeout=30).json()
        if task["prompt"].startswith(f"{point} ")
    }
    posts = httpx.get(f"{url}/_sandbox/stats", timeout=30).json()["submits_by_prompt"]
    ledger = SqliteLedger(state)
    generations = [
        generation for generation in ledger.recent(1_000_000) if (generation.prompt or "").startswith(f"{point} ")
    ]
    ledger.close()
    ids = {generation.task_id for generation in generations if generation.task_id}
    unknown = {generation.prompt for generation in generations if generation.task_id is None}
    return {
        "point": point,
        "rounds": rounds,
        "charged": len(charged),
        "known": len(ids & charged.keys()),
        "unknown": sum(1 for task_id, prompt in charged.items() if task_id not in ids and prompt in unknown),
        "lost": sum(1 for task_id, prompt in charged.items() if task_id not in ids and prompt not in unknown),
        "posted twice": sum(1 for prompt, count in posts.items() if prompt.startswith(f"{point} ") and count > 1),
    }


def main(url: str, state: Path, rounds: int, points: list[str]) -> None:
    """Run all rounds, point by point."""
    for point in points or POINTS:
        for number in range(rounds):
            one_round(url, state, point, f"{point} {number}")
        sys.stdout.write(json.dumps(check(url, state, point, rounds)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
