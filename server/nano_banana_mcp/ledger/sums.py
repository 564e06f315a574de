"""Sums over generations: a small table that triggers keep, so that nothing adds up a whole ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import ceil, floor
from typing import Any

from nano_banana_mcp.generations.quotas import usable_amount

SECONDS_PER_DAY = 86_400

OPEN = "open"
"""Status, in sums, of all generations that have not ended."""

COLUMNS = "day, principal, model, api, status, credits, may_be_charged, listed, images"
"""What generations that are counted together have in common. ``day`` counts from 1970-01-01, UTC; ``model``, ``api``
and ``credits`` are empty where the generation has none; ``images`` is the number of images of each."""

POSTGRES_DAY = "CAST(floor({row}.created_at / 86400) AS integer)"
SQLITE_DAY = "CAST({row}.created_at / 86400 AS INTEGER)"


def values_of(row: str, day: str, position: str) -> dict[str, str]:
    """Return the SQL of each of :data:`COLUMNS` for a row of generations. Part of migrations: it must not change.

    Args:
        row: Name of the row.
        day: :data:`POSTGRES_DAY` or :data:`SQLITE_DAY`.
        position: The SQL function that finds a text in another.
    """
    expressions = (
        day.format(row=row),
        f"{row}.principal",
        f"coalesce({row}.model, '')",
        f"coalesce({row}.api, '')",
        f"CASE WHEN {row}.status IN ('success', 'failed') THEN {row}.status ELSE 'open' END",
        f"coalesce({row}.credits_consumed, '')",
        f"CASE WHEN {row}.task_id IS NOT NULL AND {position}(coalesce({row}.message, ''), 'may have been charged') > 0 "
        "THEN 1 ELSE 0 END",
        f"CASE WHEN {row}.images <> '\"pruned\"' THEN 1 ELSE 0 END",
        f"CASE WHEN {row}.status <> 'success' THEN 0 WHEN {row}.images = '\"pruned\"' THEN 1 "
        f"ELSE (length({row}.images) - length(replace({row}.images, '\"mime_type\"', ''))) / 11 END",
    )
    return dict(zip(COLUMNS.split(", "), expressions, strict=True))


@dataclass(frozen=True, slots=True)
class Sum:
    """How many generations agree in what was asked for; the other attributes keep their defaults.

    Attributes:
        day: Days since 1970-01-01, UTC.
        credits: What the API said that each of them consumed.
        status: That of the API, or :data:`OPEN`.
        may_be_charged: Whether they failed and may have been charged.
        images: Images of each.
    """

    number: int
    day: int = 0
    principal: str = ""
    model: str = ""
    api: str = ""
    credits: str = ""
    status: str = ""
    may_be_charged: bool = False
    images: int = 0

    @property
    def paid(self) -> Decimal:
        """Credits of all of them, where the API named an amount. The sandbox is free."""
        return Decimal(0) if self.api == "sandbox" else self.consumed

    @property
    def consumed(self) -> Decimal:
        """Credits of all of them, those of the sandbox, too."""
        return self.number * (usable_amount(self.credits) or Decimal(0))


def source(scanned: str, conditions: list[str], values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the SQL of a subquery with the sums of whole days and, for parts of days, of single generations.

    Args:
        scanned: Subquery of :data:`COLUMNS` of single generations, without its condition.
        conditions: Conditions on :data:`COLUMNS`.
        values: May have ``since`` (inclusive) and ``until`` (exclusive), Unix times.

    Returns:
        The subquery, and the values that it needs besides.
    """
    since, until = values.get("since"), values.get("until")
    bounds = {
        "first_day": None if since is None else ceil(since / SECONDS_PER_DAY),
        "last_day": None if until is None else floor(until / SECONDS_PER_DAY),
    }
    first, last = bounds["first_day"], bounds["last_day"]
    extra: dict[str, Any] = {name: day for name, day in bounds.items() if day is not None}
    if first is not None and last is not None and first > last:  # no whole day
        where = _where([*conditions, "created_at >= :since", "created_at < :until"])
        return f"{scanned} {where}", {}
    days = [*(["day >= :first_day"] if first is not None else []), *(["day < :last_day"] if last is not None else [])]
    parts = [f"SELECT {COLUMNS}, number FROM sums {_where([*conditions, *days])}"]  # noqa: S608 - our own names
    if since is not None and first is not None:
        extra["first_time"] = first * SECONDS_PER_DAY
        parts.append(f"{scanned} {_where([*conditions, 'created_at >= :since', 'created_at < :first_time'])}")
    if until is not None and last is not None:
        extra["last_time"] = last * SECONDS_PER_DAY
        parts.append(f"{scanned} {_where([*conditions, 'created_at >= :last_time', 'created_at < :until'])}")
    return " UNION ALL ".join(parts), extra


def _where(conditions: list[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""
