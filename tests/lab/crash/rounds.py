"""Forks processes that submit pictures and die at a named point. Run as a program: everything is imported once.

Usage: python -m tests.lab.crash.rounds URL STATE_DIR ROUNDS [--count N] [--at-once N] [POINT ...]. Prints a JSON line a
point. With ``--at-once``, so many processes on the one state folder run the rounds of a point. With a count, each
process submits a batch under a request_id, and dies when its point is reached for the second time, so that one of the
batch has passed it; then another process repeats the call.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpcore  # noqa: F401 - httpx imports it late: here once for all forked processes
import httpx
from pydantic import SecretStr

from nano_banana_mcp.app import compose_service
from nano_banana_mcp.defapi import client
from nano_banana_mcp.defapi import responses as answers
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.defapi.transport import Connection, _Sent
from nano_banana_mcp.generations.models import Status
from nano_banana_mcp.ledger.async_ledger import DurableLedger
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from nano_banana_mcp.service import submission
from nano_banana_mcp.settings import load_settings


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Fuse:
    """Dies when it is lit for the n-th time."""

    times = 1

    def __init__(self) -> None:
        self._left = self.times

    def light(self) -> None:
        self._left -= 1
        if not self._left:
            die()


def before(owner: Any, name: str) -> None:
    """Die when ``owner.name`` is called, before it does anything."""
    original, fuse = getattr(owner, name), Fuse()

    def killed(*arguments: Any, **named: Any) -> Any:
        fuse.light()
        return original(*arguments, **named)

    setattr(owner, name, killed)


def after(owner: Any, name: str) -> None:
    """Die when ``owner.name`` (a plain function) has done its work."""
    original, fuse = getattr(owner, name), Fuse()

    def killed(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        fuse.light()
        return result

    setattr(owner, name, killed)


def after_headers_sent() -> None:
    original, fuse = _Sent.trace, Fuse()

    async def trace(self: _Sent, event: str, info: dict[str, Any]) -> None:
        await original(self, event, info)
        if event.endswith("send_request_headers.complete"):
            fuse.light()

    setattr(_Sent, "trace", trace)  # noqa: B010 - as for the others: a type checker forbids the assignment


def after_body_sent() -> None:
    original, fuse = _Sent.trace, Fuse()

    async def trace(self: _Sent, event: str, info: dict[str, Any]) -> None:
        await original(self, event, info)
        if event.endswith("send_request_body.complete"):
            fuse.light()

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


BATCH_POINTS: dict[str, Callable[[], None]] = {
    "before the batch is recorded": lambda: before(SqliteLedger, "begin_batch"),
    "after the batch is recorded": lambda: after(SqliteLedger, "begin_batch"),
    "before a claim": lambda: before(SqliteLedger, "claim"),
    "after a claim": lambda: after(SqliteLedger, "claim"),
    **{point: kill for point, kill in POINTS.items() if "record" not in point},
}
"""Points in a batch. Those with its record are reached once in each process."""


async def submit(url: str, state: Path, prompt: str, count: int) -> None:
    """One picture or one batch, as the server makes it."""
    api = client.DefapiClient(url, SecretStr("dk-crash"), timeout_seconds=60)
    settings = load_settings(state_dir=state)
    async with compose_service(settings, api, DurableLedger(state), api=url) as service:
        request = SubmitRequest(model="m", prompt=prompt)
        await service.generate(request, count=count, request_id=None if count == 1 else prompt.replace(" ", "-"))


def in_processes(number: int, rounds: int, run: Callable[[int], None]) -> None:
    """Run the rounds in a number of forked processes, each of which runs its share one after another."""
    pids = []
    for first in range(number):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for item in range(first, rounds, number):
                    run(item)
                code = 0
            except Exception:  # noqa: BLE001 - the edge of a process
                traceback.print_exc()
            finally:
                os._exit(code)
        pids.append(pid)
    codes = [os.waitpid(pid, 0)[1] for pid in pids]
    assert not any(codes), codes


def one_round(url: str, state: Path, point: str, prompt: str, count: int = 1) -> None:
    pid = os.fork()
    if pid == 0:
        if count > 1:
            Fuse.times = 1 if "recorded" in point else 2
        (POINTS if count == 1 else BATCH_POINTS)[point]()
        anyio.run(submit, url, state, prompt, count)
        os._exit(0)
    os.waitpid(pid, 0)


def repeat(url: str, state: Path, prompt: str, count: int) -> None:
    """The same call again, in another process, which takes none of what it finds to be still under way."""
    pid = os.fork()
    if pid == 0:
        submission.FOREIGN_SUBMIT_SECONDS = 0.0
        anyio.run(submit, url, state, prompt, count)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def check_batches(url: str, state: Path, point: str, rounds: int, count: int) -> dict[str, Any]:
    """Compare what the API charged with what the ledger knows of each batch, for one point."""
    tasks = httpx.get(f"{url}/_sandbox/tasks", timeout=30).json()
    charged = {task["id"]: task["prompt"] for task in tasks if task["prompt"].startswith(f"{point} ")}
    posts = httpx.get(f"{url}/_sandbox/stats", timeout=30).json()["submits_by_prompt"]
    ledger = SqliteLedger(state)
    generations = [item for item in ledger.recent(1_000_000) if (item.prompt or "").startswith(f"{point} ")]
    ledger.close()
    ids = {item.task_id for item in generations}
    lost = 0
    for prompt in {item.prompt for item in generations} | set(charged.values()):
        unknown = sum(item.prompt == prompt and item.status is Status.UNKNOWN for item in generations)
        lost += max(0, sum(name == prompt and task_id not in ids for task_id, name in charged.items()) - unknown)
    return {
        "point": point,
        "rounds": rounds,
        "charged": len(charged),
        "recorded": len(generations),
        "known": len(ids & charged.keys()),
        "unknown": sum(item.status is Status.UNKNOWN for item in generations),
        "unsent": sum(item.is_unsent for item in generations),
        "lost": lost,
        "posted too often": sum(max(0, posts.get(item.prompt, 0) - count) for item in generations),
    }


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


def run_batches(url: str, state: Path, rounds: int, count: int, points: list[str], processes: int) -> None:
    """Run all rounds with batches: what is known after the kill, and after the call was repeated."""
    for point in points or BATCH_POINTS:

        def kill(number: int, point: str = point) -> None:
            one_round(url, state, point, f"{point} {number}", count)

        def call_again(number: int, point: str = point) -> None:
            repeat(url, state, f"{point} {number}", count)

        for step, run in ((one_round, kill), (repeat, call_again)):
            in_processes(processes, rounds, run)
            report = {"step": step.__name__, **check_batches(url, state, point, rounds, count)}
            sys.stdout.write(json.dumps(report) + "\n")
            sys.stdout.flush()


def main(url: str, state: Path, rounds: int, points: list[str], processes: int) -> None:
    """Run all rounds, point by point."""
    for point in points or POINTS:

        def kill(number: int, point: str = point) -> None:
            one_round(url, state, point, f"{point} {number}")

        in_processes(processes, rounds, kill)
        sys.stdout.write(json.dumps(check(url, state, point, rounds)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("state", type=Path)
    parser.add_argument("rounds", type=int)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("points", nargs="*")
    given = parser.parse_args()
    if given.count == 1:
        main(given.url, given.state, given.rounds, given.points, given.at_once)
    else:
        run_batches(given.url, given.state, given.rounds, given.count, given.points, given.at_once)
