"""``history``: what was asked for, what became of it, what it cost; and asking again about what is open."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
import unicodedata
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import anyio

from nano_banana_mcp.app import open_service
from nano_banana_mcp.defapi.errors import DefapiError
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import open_database

USAGE_ERROR = 2
WIDE_COLUMNS = 100
PRINCIPAL_WIDTH = 16

SAVING_SECONDS = 60.0
"""How long settling waits for the pictures of what has ended to be saved."""

_UNITS = {"h": 3_600, "d": 86_400, "w": 7 * 86_400}


def show(
    settings: Settings,
    *,
    as_json: bool,
    status: str | None,
    model: str | None,
    search: str | None,
    since: str | None,
    principal: str | None,
    limit: int,
) -> int:
    """Print the generations that fit, and the credits that they cost by day and model, and by caller
    where callers were asked who they are. Returns the exit code."""
    try:
        begin = None if since is None else parse_since(since, time.time())
    except ValueError:
        return _refuse(f"--since: {since!r} is neither a date (2026-11-01) nor a span (12h, 7d, 4w)", USAGE_ERROR)
    try:
        ledger = open_database(settings)
        found = ledger.history(status=status, model=model, search=search, since=begin, principal=principal)
        ledger.close()
    except LedgerError as error:
        return _refuse(error.for_operator, 1)
    rows = found[: limit or None]
    if as_json:
        report = {
            "generations": [as_dict(known) for known in rows],
            "totals": totals(found),
            "principals": by_principal(found),
        }
        escaped = sys.stdout.encoding.lower() != "utf-8"  # of a code page: it lacks letters, which would be lost
        sys.stdout.write(json.dumps(report, ensure_ascii=escaped, indent=2) + "\n")
        return 0
    if not found:
        sys.stdout.write("Nothing yet.\n" if not any((status, model, search, since, principal)) else "Nothing fits.\n")
        return 0
    named = any(known.principal for known in found)
    _print_table(rows, named=named)
    if len(found) > len(rows):
        sys.stdout.write(f"… and {len(found) - len(rows)} older ones: --limit 0 shows all.\n")
    if named:
        _print_principals(by_principal(found))
    _print_totals(totals(found))
    return 0


def settle(settings: Settings) -> int:
    """Ask the API about everything that is open, and print what became of it. Returns the exit code."""
    try:
        return anyio.run(_settle, settings)
    except LedgerError as error:
        return _refuse(error.for_operator, 1)


def parse_since(text: str, now: float) -> float:
    """Unix time of a date (local midnight), a date and time, or a span before ``now``.

    Raises:
        ValueError: it is none of these.
    """
    if match := re.fullmatch(r"([0-9]{1,6})([hdw])", text.strip().lower()):
        return now - int(match[1]) * _UNITS[match[2]]
    return datetime.fromisoformat(text.strip()).timestamp()


def totals(generations: list[Generation]) -> list[dict[str, Any]]:
    """Pictures and credits by day (UTC) and model, newest day first. The sandbox's cost nothing and stand apart."""
    sums: dict[tuple[str, str, bool], list[Decimal]] = defaultdict(list)
    for known in generations:
        day = datetime.fromtimestamp(known.created_at, UTC).date().isoformat()
        key = (day, known.model or "unknown", known.api == "sandbox")
        sums[key].append(Decimal(known.credits_consumed or 0))
    return [
        {"day": day, "model": model, "sandbox": sandbox, "generations": len(spent), "credits": f"{sum(spent):f}"}
        for (day, model, sandbox), spent in sorted(sums.items(), reverse=True)
    ]


def by_principal(generations: list[Generation]) -> list[dict[str, Any]]:
    """What each caller paid for, dearest first; the sandbox's cost nothing and do not count. ``principal`` is empty
    where nobody was asked."""
    sums: dict[str, list[Decimal]] = defaultdict(list)
    for known in generations:
        if known.api != "sandbox":
            sums[known.principal].append(Decimal(known.credits_consumed or 0))
    return [
        {"principal": principal, "generations": len(spent), "credits": f"{sum(spent):f}"}
        for principal, spent in sorted(sums.items(), key=lambda each: (-sum(each[1]), each[0]))
    ]


def as_dict(known: Generation) -> dict[str, Any]:
    """A generation for ``--json``; times in ISO 8601, UTC."""
    return {
        "task_id": known.task_id,
        "intent_id": known.generation_id,
        "status": known.status.value,
        "principal": known.principal,
        "prompt": known.prompt,
        "model": known.model,
        "options": known.options,
        "request_id": known.request_id,
        "api": known.api,
        "credits_consumed": known.credits_consumed,
        "message": known.message,
        "images": [image.url for image in known.images],
        "created_at": _iso(known.created_at),
        "finished_at": None if known.finished_at is None else _iso(known.finished_at),
    }


async def _settle(settings: Settings) -> int:
    ledger = open_database(settings)
    unfinished = ledger.unfinished()
    ledger.close()
    if not unfinished:
        sys.stdout.write("Nothing is open.\n")
        return 0
    trouble = False
    here = "sandbox" if settings.sandbox else settings.base_url
    async with open_service(settings) as service:
        for known in unfinished:
            words = "unknown: no answer was recorded, it may have been charged; look at your defapi account"
            if known.task_id is not None and known.api not in (here, None):
                words = f"not asked: it was made by another API ({known.api})"
            elif known.task_id is not None:
                try:
                    latest = await service.look(known.task_id)
                    words = latest.status.value + (f": {latest.message}" if latest.message else "")
                except DefapiError as error:
                    trouble = True
                    words = f"could not be asked: {error.message} {error.hint}"
            sys.stdout.write(f"{known.public_id}  {words}\n")
        with anyio.move_on_after(SAVING_SECONDS):
            await service.settled()
    return 1 if trouble else 0


def _print_table(rows: list[Generation], *, named: bool) -> None:
    columns = shutil.get_terminal_size((120, 24)).columns
    # A narrow terminal keeps the prompts; the whole ids are in --json.
    id_width = 40 if columns >= WIDE_COLUMNS else 12
    header = f"{'age':>5}  {'status':11} {'credits':>8}  {'id':{id_width}} "
    if named:
        header += f"{'principal':{PRINCIPAL_WIDTH}} "
    sys.stdout.write(header + "prompt\n")
    for known in rows:
        sandbox = "(sandbox) " if known.api == "sandbox" else ""
        prompt = sandbox + " ".join((known.prompt or "").split())
        whose = f"{_padded(known.principal or '-', PRINCIPAL_WIDTH)} " if named else ""
        sys.stdout.write(
            f"{_age(known.created_at):>5}  {known.status.value:11} {_short(known.credits_consumed):>8}  "
            f"{_fit(known.public_id, id_width + 1):{id_width}} {whose}{_fit(prompt, max(20, columns - len(header)))}\n"
        )


def _print_principals(rows: list[dict[str, Any]]) -> None:
    sys.stdout.write(f"\n{'principal':{PRINCIPAL_WIDTH}}  {'requests':>8}  {'credits':>10}\n")
    for row in rows:
        name = _padded(row["principal"] or "-", PRINCIPAL_WIDTH)
        sys.stdout.write(f"{name}  {row['generations']:>8}  {_short(row['credits']):>10}\n")


def _print_totals(rows: list[dict[str, Any]]) -> None:
    sys.stdout.write(f"\n{'day':10}  {'requests':>8}  {'credits':>10}  model\n")
    for row in rows:
        sandbox = " (sandbox: costs nothing)" if row["sandbox"] else ""
        sys.stdout.write(
            f"{row['day']}  {row['generations']:>8}  {_short(row['credits']):>10}  {_fit(row['model'], 60)}{sandbox}\n"
        )
    paid = sum((Decimal(row["credits"]) for row in rows if not row["sandbox"]), Decimal(0))
    sys.stdout.write(f"Paid in all: {_short(str(paid))} credits.\n")


def _age(created_at: float) -> str:
    seconds = max(0.0, time.time() - created_at)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def _short(amount: str | None) -> str:
    if amount is None:
        return "-"
    value = Decimal(amount)
    return f"{value.normalize():f}" if value else "0"


def _padded(text: str, width: int) -> str:
    """``text`` in exactly ``width`` columns of a terminal."""
    fitting = _fit(text, width + 1)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in fitting)
    return f"{fitting:{width - wide}}"


def _fit(text: str, width: int) -> str:
    """``text`` cut to ``width`` columns of a terminal; Hangul and other wide letters take two."""
    used = 0
    kept: list[str] = []
    for letter in text:
        if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
            kept.append(letter if unicodedata.category(letter) != "Cf" or letter == "\u200d" else "")
            continue
        used += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if used > width - 1:
            return "".join(kept) + "…"
        if letter.isprintable():
            kept.append(letter)
    return "".join(kept)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _refuse(words: str, code: int) -> int:
    sys.stderr.write(f"nano-banana-mcp history: {words}\n")
    return code
