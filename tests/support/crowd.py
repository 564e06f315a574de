"""Many processes with one ledger, as many windows of an editor have. It needs fork."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from nano_banana_mcp.generations.models import Generation, Status, new_generation_id
from nano_banana_mcp.ledger.async_ledger import DurableLedger
from nano_banana_mcp.ledger.sqlite import SqliteLedger

PROCESSES = 20
TASKS = 50


@dataclass(frozen=True)
class Shared:
    """How it went.

    Attributes:
        errors: Processes that met with an error.
        finished: Different tasks that the ledger then has, each with its end.
    """

    errors: int
    finished: int


async def _work(folder: Path, number: int, tasks: int) -> None:
    ledger = DurableLedger(folder)
    for task in range(tasks):
        generation = await ledger.begin(Generation(new_generation_id(), prompt="p", model="m", created_at=float(task)))
        accepted = generation.accepted(f"ta-{number}-{task}", 1.0)
        await ledger.save(accepted)
        await ledger.save(replace(accepted, status=Status.SUCCESS, finished_at=2.0))
    assert ledger.problem is None, ledger.problem
    await ledger.aclose()


def _fork_all(folder: Path, tasks: int) -> int:
    """How many processes ended with an error."""
    children = []
    for number in range(PROCESSES):
        pid = os.fork()
        if pid == 0:
            anyio.run(_work, folder, number, tasks)
            os._exit(0)
        children.append(pid)
    return sum(os.waitpid(pid, 0)[1] != 0 for pid in children)


def share_one_ledger(folder: Path, tasks: int = TASKS) -> Shared:
    """Let :data:`PROCESSES` processes write ``tasks`` tasks each into the ledger in ``folder`` at the same time."""
    command = [sys.executable, "-m", "tests.support.crowd", str(folder), str(tasks)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    ledger = SqliteLedger(folder)
    finished = {generation.task_id for generation in ledger.recent(10_000) if generation.status is Status.SUCCESS}
    ledger.close()
    return Shared(int(ended.stdout), len(finished))


if __name__ == "__main__":
    print(_fork_all(Path(sys.argv[1]), int(sys.argv[2])))
