"""What a caller has left and has spent, and what their models usually cost and take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import DefapiError, TaskNotFound
from nano_banana_mcp.generations.quotas import Callers, Limits, month_start
from nano_banana_mcp.ledger.base import Ledger, ModelUsage
from nano_banana_mcp.media.shared_calls import SharedCalls

if TYPE_CHECKING:
    from pydantic import SecretStr

Number = TypeVar("Number", int, Decimal)

BALANCE_SECONDS = 60.0
"""How long an answer of the API about a balance is used again."""

OPERATORS_BALANCE = "not shown: the operator of this server pays"


@dataclass(frozen=True, slots=True)
class Account:
    """The account of one caller. Days and months are in UTC.

    Attributes:
        balance: Credits left, at most :data:`BALANCE_SECONDS` old; or in words why they are not known.
        spent_today: Credits.
        spent_this_month: Credits.
        reserved: Usual price of today's unfinished generations, in credits.
        open_tasks: Unfinished generations.
        limits: Those of the caller. Without authentication, the limits of all callers together count as well.
        credits_left_today: What the limits leave; None without a limit.
        open_tasks_left: What the limits leave; None without a limit.
        models: The caller's models, the one with the most images first.
    """

    balance: Decimal | str
    spent_today: Decimal
    spent_this_month: Decimal
    reserved: Decimal
    open_tasks: int
    limits: Limits
    credits_left_today: Decimal | None
    open_tasks_left: int | None
    models: list[ModelUsage]


class AccountReader:
    """Reads accounts from the ledger, and balances from the API.

    Args:
        api: What the ledger calls the API.
        now: Wall-clock time, Unix seconds.
        shows_server_balance: Whether callers without a key of their own see the balance of the server's key.
    """

    def __init__(
        self,
        client: DefapiClient,
        ledger: Ledger,
        callers: Callers,
        *,
        api: str,
        now: Callable[[], float],
        shows_server_balance: bool,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._callers = callers
        self._api = api
        self._now = now
        self._shows_server_balance = shows_server_balance
        self._balances: dict[SecretStr | None, tuple[float, Decimal]] = {}
        self._queries: SharedCalls[Decimal] = SharedCalls()

    async def read(self, principal: str) -> Account:
        """Return the account of a caller. A balance that cannot be read is said in words.

        Raises:
            LedgerError: the ledger cannot be read now.
        """
        now, ledger = self._now(), self._ledger
        today = await ledger.usage(principal, self._api, now)
        this_month = await ledger.usage(principal, self._api, now, month_start(now))
        limited = [(self._callers.quotas.limits_of(principal), today)]
        if not self._callers.authenticated:
            limited.append((self._callers.quotas.overall, await ledger.usage(None, self._api, now)))
        return Account(
            balance=await self._balance(principal),
            spent_today=today.spent,
            spent_this_month=this_month.spent,
            reserved=today.reserved,
            open_tasks=today.open_tasks,
            limits=Limits(
                _least(limits.calls_per_minute for limits, _ in limited),
                _least(limits.open_tasks for limits, _ in limited),
                _least(limits.credits_per_day for limits, _ in limited),
            ),
            credits_left_today=_least(
                max(limits.credits_per_day - usage.spent - usage.reserved, Decimal(0))
                for limits, usage in limited
                if limits.credits_per_day is not None
            ),
            open_tasks_left=_least(
                max(limits.open_tasks - usage.open_tasks, 0)
                for limits, usage in limited
                if limits.open_tasks is not None
            ),
            models=await ledger.model_usage(principal, self._api),
        )

    async def _balance(self, principal: str) -> Decimal | str:
        key = self._callers.key_of(principal)
        if key is None and not self._shows_server_balance:
            return OPERATORS_BALANCE
        try:
            return await self._queries.run(key, partial(self._queried, key), errors=(DefapiError,))
        except TaskNotFound:
            return "unknown: this API does not report it"
        except DefapiError as error:
            return f"unknown: {error.message} {error.hint}".rstrip()

    async def _queried(self, key: SecretStr | None) -> Decimal:
        """The balance of a key; None is the server's."""
        queried_at, balance = self._balances.get(key, (float("-inf"), Decimal(0)))
        if anyio.current_time() - queried_at >= BALANCE_SECONDS:
            balance = Decimal(await self._client.credits(key=key))
            self._balances[key] = anyio.current_time(), balance
        return balance


def _least(numbers: Iterable[Number | None]) -> Number | None:
    """The smallest of the numbers that are not None; None if all are."""
    return min((number for number in numbers if number is not None), default=None)
