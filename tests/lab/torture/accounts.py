"""Is all that was charged accounted for? The stand-in API's books against the server's ledger."""

from __future__ import annotations

from pathlib import Path

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from nano_banana_sandbox.sandbox import Sandbox
from tests.lab.torture.tally import Tally

ALL = 10_000_000


def kept(folder: Path) -> list[Generation]:
    """All that the ledger of a state folder knows."""
    ledger = SqliteLedger(folder)
    try:
        return ledger.history(limit=ALL)
    finally:
        ledger.close()


def account(tally: Tally, sandbox: Sandbox, folder: Path) -> None:
    """Count what is lost and what was sent twice. No fault was ordered: each submit has a task, each task a row."""
    known = kept(folder)
    ids = {each.task_id for each in known if each.task_id}
    unknown = [each.prompt for each in known if each.task_id is None]
    charged = {task.id: task.prompt for task in sandbox.tasks}
    lost = []
    for task_id, prompt in charged.items():
        if task_id in ids:
            continue
        if prompt in unknown:
            unknown.remove(prompt)
        else:
            lost.append(task_id)
    made_up = ids - charged.keys()
    more = len(charged) - len(known)  # more tasks than intents: one was sent twice
    tally.lost += len(lost)
    tally.double += max(0, more - len(lost))
    for each in (*lost, *made_up):
        tally.note(f"task {each}: {'not in the ledger' if each in lost else 'in the ledger, and never charged'}")
    tally.wrong += len(made_up)
    tally.figures |= {"submits at the API": sandbox.stats.submits, "charged": len(charged), "in the ledger": len(ids)}
