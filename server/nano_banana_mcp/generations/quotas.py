"""What one caller, and all together, may use. Pure: counts in, a refusal in words out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from nano_banana_mcp.generations.models import Generation

if TYPE_CHECKING:
    from pydantic import SecretStr


OPEN_SECONDS = 3_600.0
"""A task without an end counts as open for so long: no picture takes longer, and an unknown outcome must not
lock its caller out for good."""

USUAL_PRICE = Decimal("0.5")
"""Credits a picture, where none has told its price yet: the one in the API's published guide."""

MINUTE = 60.0
MAX_CALLERS = 10_000


class LimitReached(Exception):
    """A limit of this server does not allow the call. Nothing was sent.

    Attributes:
        message: Which limit, in words for the caller.
        hint: What to do.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Limits:
    """None means no limit. Credits are counted by day in UTC."""

    calls_per_minute: int | None = None
    open_tasks: int | None = None
    credits_per_day: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What is open, and what was spent today.

    Attributes:
        open_tasks: Submitted, or of unknown outcome, and without a known end.
        spent: Credits of today's tasks, as far as the API has told them.
        unsettled: Today's tasks whose credits are not told yet.
        price: What one of these will probably cost: the dearest of today.
    """

    open_tasks: int
    spent: Decimal
    unsettled: int
    price: Decimal


UsageOf = Callable[[str | None], Usage]
"""The usage of one principal; of all for None."""

Check = Callable[[UsageOf], None]
"""Raises :class:`LimitReached` where another task would be too much."""


def usage_of(generations: Iterable[Generation], now: float) -> Usage:
    """The usage that these generations make at ``now`` (Unix time, seconds)."""
    day = day_start(now)
    opened = unsettled = 0
    spent, dearest = Decimal(0), Decimal(0)
    for known in generations:
        if not known.finished and known.created_at >= now - OPEN_SECONDS:
            opened += 1
        if known.created_at < day:
            continue
        if known.credits_consumed is not None and known.finished:
            price = Decimal(known.credits_consumed)
            spent += price
            dearest = max(dearest, price)
        elif not known.finished:
            unsettled += 1
    return Usage(opened, spent, unsettled, dearest or USUAL_PRICE)


def day_start(now: float) -> float:
    """Unix time of the last midnight in UTC."""
    return datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def counted_since(now: float) -> float:
    """The oldest creation (Unix time) that :func:`usage_of` looks at."""
    return min(day_start(now), now - OPEN_SECONDS)


class Quotas:
    """Holds every caller to their limits, and all together to the server's.

    Args:
        each: For every caller, unless ``special`` knows better.
        overall: For all callers together.
        special: A caller's own limits where they have some.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        each: Limits,
        overall: Limits,
        *,
        special: Callable[[str], Limits | None] = lambda principal: None,
        clock: Callable[[], float],
    ) -> None:
        self._each = each
        self._overall = overall
        self._special = special
        self._clock = clock
        self._meters: dict[str | None, float] = {}

    def limits_of(self, principal: str) -> Limits:
        """The limits of one caller."""
        return self._special(principal) or self._each

    def count_call(self, principal: str) -> None:
        """Count a call.

        Raises:
            LimitReached: it is one too many within a minute.
        """
        allowed = self.limits_of(principal).calls_per_minute
        self._meter(principal, allowed, f"You may make {allowed} calls a minute")
        overall = self._overall.calls_per_minute
        self._meter(None, overall, f"This server takes {overall} calls a minute from all its users together")

    def check_for(self, principal: str) -> Check | None:
        """What to check before a submit; None where there is nothing to."""
        own, overall = self.limits_of(principal), self._overall
        if all(limit is None for limit in (own.open_tasks, own.credits_per_day, *_spending(overall))):
            return None

        def check(usage_of: UsageOf) -> None:
            if any(limit is not None for limit in _spending(own)):
                _refuse_above(usage_of(principal), own, "you", "your")
            if any(limit is not None for limit in _spending(overall)):
                _refuse_above(usage_of(None), overall, "all users of this server together", "the server's")

        return check

    def _meter(self, who: str | None, allowed: int | None, words: str) -> None:
        """A leaky bucket that holds a minute's calls: bursts are fine, the mean rate is not exceeded."""
        if allowed is None:
            return
        now, each = self._clock(), MINUTE / allowed
        full_until = max(self._meters.get(who, now), now)
        if full_until + each - now > MINUTE + 1e-6:
            wait = full_until + each - now - MINUTE
            raise LimitReached(f"{words}, and this is one more.", f"Try again in {max(1, round(wait + 0.5))} s.")
        if len(self._meters) > MAX_CALLERS:
            self._meters = {each: until for each, until in self._meters.items() if until > now}
        self._meters[who] = full_until + each


def _spending(limits: Limits) -> tuple[int | None, Decimal | None]:
    return limits.open_tasks, limits.credits_per_day


def _refuse_above(usage: Usage, limits: Limits, who: str, whose: str) -> None:
    if limits.open_tasks is not None and usage.open_tasks >= limits.open_tasks:
        raise LimitReached(
            f"{who[0].upper()}{who[1:]} may have {limits.open_tasks} unfinished pictures at a time, and "
            f"{usage.open_tasks} are unfinished now.",
            "Wait for one of them with wait_for_image, then try again.",
        )
    if limits.credits_per_day is None:
        return
    expected = usage.spent + usage.price * (usage.unsettled + 1)
    if expected > limits.credits_per_day:
        held = f" and {_short(usage.price * usage.unsettled)} are held for unfinished pictures"
        raise LimitReached(
            f"This picture would exceed {whose} budget of {_short(limits.credits_per_day)} credits a day: "
            f"{_short(usage.spent)} are spent{held if usage.unsettled else ''}, and this one costs about "
            f"{_short(usage.price)}.",
            "The budget is renewed at 00:00 UTC; whoever runs this server can raise it.",
        )


def _short(amount: Decimal) -> str:
    return f"{amount.normalize():f}" if amount else "0"


def _the_servers(principal: str) -> SecretStr | None:
    return None


@dataclass(frozen=True)
class Accounts:
    """What is known of the callers.

    Attributes:
        asked: Whether callers are asked who they are. Where they are, each sees their own tasks and no others; where
            they are not, any task of the server's key can be looked at.
        key_of: A caller's own key for the image API; None where the server's is used.
        quotas: Their limits.
    """

    asked: bool = False
    key_of: Callable[[str], SecretStr | None] = _the_servers
    quotas: Quotas = field(default_factory=lambda: Quotas(Limits(), Limits(), clock=time.monotonic))
