"""``history``: requests with their state and price; ``history settle`` updates those that are open."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import anyio
from rich.table import Table

from nano_banana_mcp.app import open_service
from nano_banana_mcp.commands.console import (
    FAILED,
    USAGE_ERROR,
    NotSelected,
    add_row,
    explained,
    for_person,
    print_json,
    printable,
    refuse,
    rendered_lines,
    room_to_shrink,
    select,
    select_batch,
    show,
    table,
)
from nano_banana_mcp.commands.output_folders import exported_files
from nano_banana_mcp.common.text import shorten
from nano_banana_mcp.defapi.errors import DefapiError
from nano_banana_mcp.generations.batches import is_batch_id
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.quotas import in_credits
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.ledger.queries import SHORT_SEARCH, Filters, is_short
from nano_banana_mcp.ledger.sums import SECONDS_PER_DAY, Sum
from nano_banana_mcp.media.image_folder import ImageFolder
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import images_folder, open_database

STATUSES = ("pending", "submitted", "in_progress", "success", "failed", "unknown")
ROOM_FOR_PROMPT = {"model": 16, "batch": 16, "principal": 4}
"""Columns left out, in this order, where the prompt has fewer letters than this beside them; --json has all of them."""
PRINCIPAL_LETTERS = 16
BATCH_LETTERS = 12
"""Letters of a batch's id, enough to see what belongs together; --json has the whole ids."""
MODEL_LETTERS = 24
"""Letters of a model's name, without its publisher."""
MAX_SAVING_SECONDS = 60.0
"""How long settling waits until the images of finished tasks are saved."""

_UNIT_SECONDS = {"h": 3_600, "d": 86_400, "w": 7 * 86_400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument(
        "action",
        nargs="?",
        default="show",
        metavar="ID",
        help="show this request alone, by its id or the beginning of it, or this batch; `settle` asks the API about "
        "all open ones",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--status", choices=STATUSES, metavar="STATUS", help=f"only these: {', '.join(STATUSES)}")
    parser.add_argument("--model", help="only of this model")
    parser.add_argument(
        "--search", metavar="TEXT", help="only with this in the prompt, or with this id of a task or batch"
    )
    parser.add_argument("--since", metavar="WHEN", help="only since then: 2026-11-01, 12h, 7d or 4w")
    parser.add_argument("--principal", metavar="NAME", help="only of this caller")
    parser.add_argument("--limit", type=int, default=50, help="maximum number of rows, 0 for all (default: 50)")
    parser.set_defaults(run=run)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """List the generations, show one, or settle the open ones. Returns the exit code."""
    filters = (arguments.status, arguments.model, arguments.search, arguments.since, arguments.json)
    is_filtered = any(filters) or arguments.principal is not None
    if arguments.action == "settle" and is_filtered:
        return refuse("history", "settle updates all open requests; it takes no filters", USAGE_ERROR)
    if arguments.limit < 0:
        return refuse("history", "--limit must be 0 (all) or more", USAGE_ERROR)
    try:
        since = None if arguments.since is None else parse_since(arguments.since, time.time())
    except ValueError:
        reason = f"--since: {arguments.since!r} is neither a date (2026-11-01) nor a span (12h, 7d, 4w)"
        return refuse("history", reason, USAGE_ERROR)
    code = 0
    try:
        if arguments.action == "settle":
            code = anyio.run(_settle, settings)
        elif arguments.action == "show":
            _list(settings, arguments, since, is_filtered=is_filtered)
        elif is_batch_id(arguments.action):
            _show_batch(settings, arguments)
        else:
            _show_one(settings, arguments.action, as_json=arguments.json)
    except NotSelected as error:
        code = refuse("history", error)
    except LedgerError as error:
        code = refuse("history", error.for_operator)
    return code


def _show_one(settings: Settings, text: str, *, as_json: bool) -> None:
    """Print everything about one request."""
    with closing(open_database(settings)) as ledger:
        generation = select(ledger, text)
    facts = {**as_dict(generation), "files": _files(settings, generation)}
    if as_json:
        print_json(facts)
        return
    grid = table("", "")
    for name, value in facts.items():
        for item in value if isinstance(value, list) else [value]:
            if item not in (None, ""):
                add_row(grid, name.replace("_", " "), str(item))
    show(grid)


def _show_batch(settings: Settings, arguments: argparse.Namespace) -> None:
    """List the requests of one batch."""
    with closing(open_database(settings)) as ledger:
        arguments.search = select_batch(ledger, arguments.action)
    _list(settings, arguments, None, is_filtered=True)


def _files(settings: Settings, generation: Generation) -> list[str]:
    """Where the images are: the exported files, else those of the image store."""
    paths = next(exported_files(settings, generation), [])
    folder = images_folder(settings)
    if not paths and folder is not None:
        store = ImageFolder(folder)
        stored = (store.path_of(generation.generation_id, number) for number in range(len(generation.images)))
        paths = [path for path in stored if path is not None]
    return [str(path) for path in paths]


def _list(settings: Settings, arguments: argparse.Namespace, since: float | None, *, is_filtered: bool) -> None:
    """Print the generations that match, with the credits by day and model, and by caller if there are callers."""
    ledger = open_database(settings)
    filters = Filters(
        status=arguments.status,
        model=arguments.model,
        search=arguments.search,
        since=since,
        principal=arguments.principal,
    )
    try:
        rows = ledger.history(limit=arguments.limit or None, **filters)
        sums = ledger.totals(**filters)
    finally:
        ledger.close()
    if arguments.search is not None and is_short(arguments.search):
        sys.stderr.write(f"history: {SHORT_SEARCH}\n")
    if arguments.json:
        report = {
            "generations": [{**as_dict(item), "files": _files(settings, item)} for item in rows],
            "totals": totals(sums),
            "principals": by_principal(sums),
        }
        print_json(report)
        return
    if not rows:
        sys.stdout.write("No request matches.\n" if is_filtered else "Nothing yet.\n")
        return
    has_principals = any(part.principal for part in sums)
    _print_generations(settings, rows, has_principals=has_principals)
    number = sum(part.number for part in sums)
    if number > len(rows):
        sys.stdout.write(f"… and {number - len(rows)} older ones: --limit 0 shows all.\n")
    if has_principals:
        _print_principals(by_principal(sums))
    _print_totals(totals(sums))


def parse_since(text: str, now: float) -> float:
    """Unix time of a date (local midnight), a date and time, or a span before ``now``.

    Raises:
        ValueError: The text is none of these.
    """
    if match := re.fullmatch(r"([0-9]{1,6})([hdw])", text.strip().lower()):
        return now - int(match[1]) * _UNIT_SECONDS[match[2]]
    return datetime.fromisoformat(text.strip()).timestamp()


def totals(sums: Iterable[Sum]) -> list[dict[str, Any]]:
    """Requests and credits by day (UTC) and model, newest day first. Those of the sandbox are free and separate."""
    groups: dict[tuple[str, str, bool], list[Sum]] = defaultdict(list)
    for part in sums:
        day = datetime.fromtimestamp(part.day * SECONDS_PER_DAY, UTC).date().isoformat()
        groups[day, part.model or "unknown", part.api == "sandbox"].append(part)
    return [
        {
            "day": day,
            "model": model,
            "sandbox": sandbox,
            "generations": sum(part.number for part in parts),
            "credits": f"{sum((part.consumed for part in parts), Decimal(0)):f}",
        }
        for (day, model, sandbox), parts in sorted(groups.items(), reverse=True)
    ]


def by_principal(sums: Iterable[Sum]) -> list[dict[str, Any]]:
    """What each caller paid, largest sum first, without the sandbox. ``principal`` is empty for calls without a
    token."""
    groups: dict[str, list[Sum]] = defaultdict(list)
    for part in sums:
        if part.api != "sandbox":
            groups[part.principal].append(part)
    rows = [(sum((part.paid for part in parts), Decimal(0)), name, parts) for name, parts in groups.items()]
    return [
        {"principal": name, "generations": sum(part.number for part in parts), "credits": f"{paid:f}"}
        for paid, name, parts in sorted(rows, key=lambda row: (-row[0], row[1]))
    ]


def as_dict(generation: Generation) -> dict[str, Any]:
    """A generation for ``--json``; times in ISO 8601, UTC."""
    return {
        "task_id": generation.task_id,
        "intent_id": generation.generation_id,
        "status": generation.status.value,
        "principal": generation.principal,
        "prompt": generation.prompt,
        "model": generation.model,
        "options": generation.options,
        "request_id": generation.request_id,
        "batch_id": generation.batch_id,
        "api": generation.api,
        "credits_consumed": generation.credits_consumed,
        "message": generation.message and for_person(generation.message),
        "images": [image.url for image in generation.images],
        "created_at": _iso(generation.created_at),
        "finished_at": None if generation.finished_at is None else _iso(generation.finished_at),
    }


async def _settle(settings: Settings) -> int:
    ledger = open_database(settings)
    try:
        unfinished = ledger.unfinished()
    finally:
        ledger.close()
    if not unfinished:
        sys.stdout.write("Nothing is open.\n")
        return 0
    api = "sandbox" if settings.sandbox else settings.base_url
    failures = 0
    async with open_service(settings) as service:
        for generation in unfinished:
            try:
                outcome = await _settle_one(service, generation, api)
            except DefapiError as error:
                failures += 1
                outcome = f"not updated: {explained(error)}"
            sys.stdout.write(f"{generation.public_id}  {outcome}\n")
        with anyio.move_on_after(MAX_SAVING_SECONDS):
            await service.wait_until_settled()
    return FAILED if failures else 0


async def _settle_one(service: GenerationService, generation: Generation, api: str) -> str:
    """Query the API once and return the outcome in words."""
    if generation.is_unsent:
        return "not sent, so not charged"
    if generation.task_id is None:
        return "unknown: no answer was recorded. It may have been charged; check your defapi account"
    if generation.api not in (api, None):
        return f"not updated: it was made by another API ({generation.api})"
    current = await service.get(generation.generation_id, generation.principal)
    return current.status.value + (f": {current.message}" if current.message else "")


def _print_generations(settings: Settings, rows: list[Generation], *, has_principals: bool) -> None:
    """Print a row for each generation, and below it the paths of its files."""
    cells = {
        "age": [_age(generation.created_at) for generation in rows],
        "status": [generation.status.value for generation in rows],
        "credits": [_amount(generation.credits_consumed) for generation in rows],
        "id": [generation.public_id for generation in rows],
    }
    if any(generation.batch_id for generation in rows):
        cells["batch"] = [_shortened(generation.batch_id or "-", BATCH_LETTERS) for generation in rows]
    if has_principals:
        cells["principal"] = [_shortened(generation.principal or "-", PRINCIPAL_LETTERS) for generation in rows]
    cells["model"] = [_shortened((generation.model or "-").rsplit("/", 1)[-1], MODEL_LETTERS) for generation in rows]
    cells["prompt"] = [
        ("(sandbox) " if generation.is_sandbox else "") + (generation.prompt or "") for generation in rows
    ]
    grid = _grid(cells)
    for name, letters in ROOM_FOR_PROMPT.items():
        if name in cells and room_to_shrink(grid) < letters:
            del cells[name]
            grid = _grid(cells)
    heading, *lines = rendered_lines(grid)
    sys.stdout.write(f"{heading}\n")
    for line, generation in zip(lines, rows, strict=True):
        paths = "".join(f"      {path}\n" for path in _files(settings, generation))
        sys.stdout.write(f"{line}\n{paths}")


def _grid(cells: dict[str, list[str]]) -> Table:
    """A table of these columns, in which the prompt shrinks."""
    grid = table(*cells, right=("age", "credits"), shrinks="prompt")
    for row in zip(*cells.values(), strict=True):
        add_row(grid, *row)
    return grid


def _print_principals(rows: list[dict[str, Any]]) -> None:
    sys.stdout.write("\n")
    grid = table("principal", "requests", "credits", right=("requests", "credits"))
    for row in rows:
        name = _shortened(row["principal"] or "-", PRINCIPAL_LETTERS)
        add_row(grid, name, str(row["generations"]), _amount(row["credits"]))
    show(grid)


def _print_totals(rows: list[dict[str, Any]]) -> None:
    sys.stdout.write("\n")
    grid = table("day", "requests", "credits", "model", right=("requests", "credits"), shrinks="model")
    for row in rows:
        sandbox = " (sandbox: free)" if row["sandbox"] else ""
        add_row(grid, row["day"], str(row["generations"]), _amount(row["credits"]), row["model"] + sandbox)
    show(grid)
    paid = sum((Decimal(row["credits"]) for row in rows if not row["sandbox"]), Decimal(0))
    sys.stdout.write(f"Paid in all: {in_credits(paid)}.\n")


def _age(created_at: float) -> str:
    seconds = max(0.0, time.time() - created_at)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def _amount(credits_text: str | None) -> str:
    if credits_text is None:
        return "-"
    value = Decimal(credits_text)
    return f"{value.normalize():f}" if value else "0"


def _shortened(text: str, letters: int) -> str:
    return shorten(printable(text), letters)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
