"""Compare the tasks of the sandbox API with the server's ledger and with its answers."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from nano_banana_sandbox.sandbox import Sandbox
from tests.lab.torture.tally import Tally

MAX_COMPARED = 60
"""Tasks for which the server is asked by :func:`compare_answers`."""

CallTool = Callable[..., dict[str, Any]]
"""Calls a tool by name with keyword arguments and returns its result."""


def generations(folder: Path) -> list[Generation]:
    """Return all generations in the ledger of a state folder."""
    ledger = SqliteLedger(folder)
    try:
        return ledger.history()
    finally:
        ledger.close()


def account(tally: Tally, sandbox: Sandbox, folder: Path) -> None:
    """Count lost and double submits. Without injected faults, each submit has one task, and each task one row."""
    rows = generations(folder)
    ids = {row.task_id for row in rows if row.task_id}
    unknown = [row.prompt for row in rows if row.task_id is None]
    charged = {task.id: task.prompt for task in sandbox.tasks}
    lost = []
    for task_id, prompt in charged.items():
        if task_id in ids:
            continue
        if prompt in unknown:
            unknown.remove(prompt)
        else:
            lost.append(task_id)
    invented = ids - charged.keys()
    surplus = len(charged) - len(rows)  # more tasks than generations: one was sent twice
    tally.lost += len(lost)
    tally.double += max(0, surplus - len(lost))
    tally.wrong += len(invented)
    for task_id in lost:
        tally.note(f"task {task_id}: not in the ledger")
    for task_id in invented:
        tally.note(f"task {task_id}: in the ledger, never charged")
    tally.figures |= {"submits at the API": sandbox.stats.submits, "charged": len(charged), "in the ledger": len(ids)}


def compare_answers(tally: Tally, sandbox: Sandbox, folder: Path, call_tool: CallTool) -> None:
    """Compare what ``get_task`` answers with the sandbox's own state, for finished tasks in the ledger."""
    ids = {row.task_id for row in generations(folder)}
    tasks = [task for task in sandbox.tasks if task.finished and task.id in ids]
    compared = tasks[:: max(1, -(-len(tasks) // MAX_COMPARED))]
    for task in compared:
        facts = call_tool("get_task", task_id=task.id).get("structuredContent") or {}
        status = task.outcome if task.image_count else "failed"  # a success without an image is no success
        expected = (task.id, status, task.image_count, Decimal(str(task.cost)))
        answered = (
            facts.get("task_id"),
            facts.get("status"),
            len(facts.get("images", [])),
            Decimal(facts.get("credits_consumed") or 0),
        )
        if answered != expected:
            tally.wrong += 1
            tally.note(f"get_task answers {answered}, the API says {expected}")
    tally.figures["answers compared"] = len(compared)
