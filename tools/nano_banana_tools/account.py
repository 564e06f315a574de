"""A caller's account in words and as JSON, for the tool ``get_account`` and the resource of the account."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from nano_banana_mcp.generations.quotas import in_credits, plain
from nano_banana_mcp.ledger.base import ModelUsage
from nano_banana_mcp.service.account import Account
from nano_banana_tools.results import describe_medians


def account_facts(account: Account) -> dict[str, Any]:
    """The account as JSON: amounts are decimal strings in credits, null is no limit or not known."""
    return {
        "unit": "credits",
        "balance": account.balance if isinstance(account.balance, str) else plain(account.balance),
        "spent_today": plain(account.spent_today),
        "spent_this_month": plain(account.spent_this_month),
        "reserved": plain(account.reserved),
        "open_tasks": account.open_tasks,
        "limits": {
            "credits_per_day": _plain(account.limits.credits_per_day),
            "credits_left_today": _plain(account.credits_left_today),
            "open_tasks": account.limits.open_tasks,
            "open_tasks_left": account.open_tasks_left,
            "calls_per_minute": account.limits.calls_per_minute,
        },
        "models": [
            {
                "model": usage.model,
                "images": usage.images,
                "success_rate": _success_rate(usage),
                "usual_credits": _plain(usage.medians.credits),
                "usual_seconds": None if usage.medians.seconds is None else round(usage.medians.seconds, 1),
                "last_used": datetime.fromtimestamp(usage.last_used, UTC).isoformat(timespec="seconds"),
            }
            for usage in account.models
        ],
    }


def account_text(account: Account) -> str:
    """Every fact of :func:`account_facts`, in a few lines."""
    balance = account.balance if isinstance(account.balance, str) else in_credits(account.balance)
    pictures = f"{account.open_tasks} unfinished picture{'' if account.open_tasks == 1 else 's'}"
    lines = [
        f"Balance: {balance}",
        f"Spent: {in_credits(account.spent_today)} today (UTC), {in_credits(account.spent_this_month)} this month; "
        f"{in_credits(account.reserved)} reserved for {pictures}",
        f"Limits: {'; '.join(_limits(account)) or 'none'}",
    ]
    return "\n".join([*lines, *(map(_model_line, account.models))])


def _limits(account: Account) -> list[str]:
    limits, sentences = account.limits, []
    if limits.credits_per_day is not None and account.credits_left_today is not None:
        sentences.append(
            f"{in_credits(limits.credits_per_day)} per day, {in_credits(account.credits_left_today)} left today"
        )
    if limits.open_tasks is not None:
        sentences.append(f"{limits.open_tasks} unfinished pictures, {account.open_tasks_left} left")
    if limits.calls_per_minute is not None:
        sentences.append(f"{limits.calls_per_minute} calls per minute")
    return sentences


def _model_line(usage: ModelUsage) -> str:
    rate, usual = _success_rate(usage), describe_medians(usage.medians)
    facts = [f"{usage.images} picture{'' if usage.images == 1 else 's'}"]
    facts += [] if rate is None else [f"{rate:.0%} succeeded"]
    facts += [] if usual is None else [f"usually {usual}"]
    last_used = f"{datetime.fromtimestamp(usage.last_used, UTC):%Y-%m-%d %H:%M} UTC"
    return f"{usage.model}: {', '.join(facts)}, last used {last_used}"


def _success_rate(usage: ModelUsage) -> float | None:
    """Share of the ended generations that succeeded, 0 to 1; None if none has ended."""
    ended = usage.successes + usage.failures
    return round(usage.successes / ended, 3) if ended else None


def _plain(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)
