"""Limits of one caller, and of all together. Pure: usage in, a refusal out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from nano_banana_mcp.common.rate_limit import RateLimiter

if TYPE_CHECKING:
    from pydantic import SecretStr


OPEN_SECONDS = 3_600.0
"""An unfinished generation counts as open for this time: no image takes longer, and an unknown outcome must not block
its caller for good."""

DEFAULT_PRICE_CREDITS = Decimal("0.5")
"""Price of an image of a model without successes: the amount in the API's published guide."""

MAY_BE_CHARGED = "may have been charged"
"""Words in the message of a failed generation that counts for budgets although the API named no amount."""

MINUTE_SECONDS = 60.0


class LimitReached(Exception):
    """A limit of this server does not allow the call. Nothing was sent.

    Attributes:
        message: Which limit, for the caller.
        hint: What to do.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Limits:
    """None means no limit. Credits are counted by day in UTC.

    Attributes:
        confirm_above: Credits above which a person confirms a call: -Infinity for every call, None for none.
    """

    calls_per_minute: int | None = None
    open_tasks: int | None = None
    credits_per_day: Decimal | None = None
    confirm_above: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What is open, and what was spent in a period (for limits: today), at one API.

    Attributes:
        open_tasks: Generations without a known end.
        spent: Credits of the period's finished generations; without a usable amount, their model's usual price.
        reserved: Usual price of the period's unfinished generations.
        price: Usual price of the next image.
    """

    open_tasks: int
    spent: Decimal
    reserved: Decimal
    price: Decimal


UsageOf = Callable[[str | None], Usage]
"""Returns the usage of one principal; of all for None."""

Check = Callable[[UsageOf], None]
"""Raises :class:`LimitReached` if another generation would exceed a limit."""


def usable_amount(consumed: str | None) -> Decimal | None:
    """Return the credits that the API named; None if it named none, or none that can be right."""
    try:
        amount = Decimal((consumed or "").strip())
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= 0 else None


def in_credits(amount: Decimal) -> str:
    """Return an amount with its unit: "0.5 credits"."""
    number = plain(amount)
    return f"{number} credit{'' if number == '1' else 's'}"


def plain(amount: Decimal) -> str:
    """Return an amount without trailing zeros and exponent."""
    return f"{amount.normalize():f}"


def day_start(now: float) -> float:
    """Return the Unix time of the last midnight in UTC."""
    return datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def month_start(now: float) -> float:
    """Return the Unix time of the beginning of this month in UTC."""
    return datetime.fromtimestamp(day_start(now), UTC).replace(day=1).timestamp()


class Quotas:
    """Enforces the limits of each caller, and of all together.

    Args:
        per_caller: Limits of every caller that ``own_limits`` has none for.
        overall: Limits of all callers together.
        own_limits: Returns a caller's own limits, if there are any.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        per_caller: Limits,
        overall: Limits,
        *,
        own_limits: Callable[[str], Limits | None] | None = None,
        clock: Callable[[], float],
    ) -> None:
        self._per_caller = per_caller
        self._overall = overall
        self._own_limits = own_limits
        self._rates = RateLimiter(clock)

    def limits_of(self, principal: str) -> Limits:
        """Return the limits of one caller."""
        return (self._own_limits and self._own_limits(principal)) or self._per_caller

    @property
    def overall(self) -> Limits:
        """The limits of all callers together."""
        return self._overall

    def count_call(self, principal: str) -> None:
        """Count a call.

        Raises:
            LimitReached: It exceeds a rate limit.
        """
        limit = self.limits_of(principal).calls_per_minute
        self._count(principal, limit, f"Rate limit exceeded: {limit} calls per minute.")
        limit = self._overall.calls_per_minute
        self._count(None, limit, f"Rate limit of this server exceeded: {limit} calls per minute from all users.")

    def check_for(self, principal: str, count: int = 1) -> Check | None:
        """Return the check before a submit; None if nothing is limited.

        Args:
            count: Number of images that are submitted together.
        """
        own, overall = self.limits_of(principal), self._overall
        if not _limits_spending(own) and not _limits_spending(overall):
            return None

        def check(usage_of: UsageOf) -> None:
            if _limits_spending(own):
                _raise_if_exceeded(usage_of(principal), own, count, "Your", "your")
            if _limits_spending(overall):
                _raise_if_exceeded(usage_of(None), overall, count, "This server's", "all users'")

        return check

    def _count(self, caller: str | None, limit: int | None, message: str) -> None:
        if limit is None:
            return
        wait_seconds = self._rates.acquire(caller, burst=limit, interval_seconds=MINUTE_SECONDS / limit)
        if wait_seconds:
            raise LimitReached(message, f"Try again in {math.ceil(wait_seconds)} s.")


def _limits_spending(limits: Limits) -> bool:
    return limits.open_tasks is not None or limits.credits_per_day is not None


def _raise_if_exceeded(usage: Usage, limits: Limits, count: int, owner: str, owner_inside: str) -> None:
    if limits.open_tasks is not None and usage.open_tasks + count > limits.open_tasks:
        reached = "is reached" if count == 1 else f"does not allow {count} more"
        raise LimitReached(
            f"{owner} limit of {limits.open_tasks} unfinished images {reached}: {usage.open_tasks} are unfinished now.",
            "Wait for one of them with wait_for_image, then try again.",
        )
    if limits.credits_per_day is None:
        return
    price = usage.price * count
    if usage.spent + usage.reserved + price > limits.credits_per_day:
        images, cost = ("This image", "this image costs") if count == 1 else (f"These {count} images", "they cost")
        reserved = f", {in_credits(usage.reserved)} reserved for unfinished images" if usage.reserved else ""
        raise LimitReached(
            f"{images} would exceed {owner_inside} budget of {in_credits(limits.credits_per_day)} per day: "
            f"{in_credits(usage.spent)} spent{reserved}, and {cost} about {in_credits(price)}.",
            "The budget is renewed at 00:00 UTC. The operator of this server can raise it.",
        )


def _server_key(principal: str) -> SecretStr | None:
    return None


@dataclass(frozen=True)
class Callers:
    """Who may use the server, and how much.

    Attributes:
        authenticated: Whether callers prove who they are. Each then sees only their own generations; otherwise any task
            of the server's key can be looked up.
        key_of: Returns a caller's own key for the image API; None for the server's key.
        quotas: Their limits.
        confirms: Whether a person is asked before the credits of any caller are spent.
    """

    authenticated: bool = False
    key_of: Callable[[str], SecretStr | None] = _server_key
    quotas: Quotas = field(default_factory=lambda: Quotas(Limits(), Limits(), clock=time.monotonic))
    confirms: Callable[[], bool] = lambda: False
