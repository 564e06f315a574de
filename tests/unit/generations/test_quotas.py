"""What a caller may use: counted in every ledger alike, and refused in words before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from nano_banana_mcp.app import quotas
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.quotas import LimitReached, Limits, Quotas, day_start
from nano_banana_mcp.ledger.base import Ledger
from nano_banana_mcp.settings import load_settings
from tests.unit.ledger.test_ledger import intent

NOON = day_start(1_790_000_000.0) + 43_200.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def limited(clock: Clock | None = None, overall: Limits = Limits(), **limits: Any) -> Quotas:  # noqa: B008 - frozen
    return Quotas(Limits(**limits), overall, clock=clock or Clock())


async def begin(ledger: Ledger, quotas: Quotas, principal: str = "alice", at: float = NOON) -> Generation:
    known = intent(principal=principal, created_at=at)
    return await ledger.begin(known, quotas.check_for(principal))


async def end(ledger: Ledger, known: Generation, consumed: str | None, status: Status = Status.SUCCESS) -> None:
    accepted = known.accepted(f"ta-{known.generation_id}", known.created_at)
    await ledger.save(replace(accepted, status=status, credits_consumed=consumed, finished_at=known.created_at + 9.0))


async def test_one_more_open_task_than_allowed_is_refused_and_not_written(ledger: Ledger) -> None:
    quotas = limited(open_tasks=2)
    first = await begin(ledger, quotas)
    await begin(ledger, quotas)
    with pytest.raises(LimitReached, match="2 unfinished pictures"):
        await begin(ledger, quotas)
    assert len(await ledger.recent(10, "alice")) == 2
    await begin(ledger, quotas, "bob")
    await end(ledger, first, "0.5")
    await begin(ledger, quotas)


async def test_all_together_may_be_limited_too(ledger: Ledger) -> None:
    quotas = limited(overall=Limits(open_tasks=1))
    await begin(ledger, quotas, "alice")
    with pytest.raises(LimitReached, match="All users of this server together"):
        await begin(ledger, quotas, "bob")


async def test_an_outcome_that_stays_unknown_does_not_lock_its_caller_out(ledger: Ledger) -> None:
    quotas = limited(open_tasks=1)
    await begin(ledger, quotas)
    await begin(ledger, quotas, at=NOON + 3_700.0)


async def test_a_budget_counts_what_is_spent_and_what_is_probably_going_to_be(ledger: Ledger) -> None:
    quotas = limited(credits_per_day=Decimal(2))
    await end(ledger, await begin(ledger, quotas), "0.750000")
    await begin(ledger, quotas)
    with pytest.raises(LimitReached) as refused:
        await begin(ledger, quotas)
    assert "your budget of 2 credits a day" in refused.value.message
    assert "0.75 are spent and 0.75 are held for unfinished pictures" in refused.value.message


async def test_a_budget_is_renewed_at_midnight_in_utc(ledger: Ledger) -> None:
    quotas = limited(credits_per_day=Decimal("0.5"))
    late = day_start(NOON) + 86_399.0
    await end(ledger, await begin(ledger, quotas, at=late), "0.5")
    with pytest.raises(LimitReached, match="budget"):
        await begin(ledger, quotas, at=late)
    await begin(ledger, quotas, at=late + 2.0)


async def test_what_failed_without_credits_costs_nothing(ledger: Ledger) -> None:
    quotas = limited(credits_per_day=Decimal("0.5"))
    for _ in range(3):
        await end(ledger, await begin(ledger, quotas), None, Status.FAILED)
    await begin(ledger, quotas)


async def test_a_repeated_request_id_is_never_one_too_many(ledger: Ledger) -> None:
    quotas = limited(open_tasks=1)
    first = await ledger.begin(intent(principal="alice", request_id="r-1"), quotas.check_for("alice"))
    again = await ledger.begin(intent(principal="alice", request_id="r-1"), quotas.check_for("alice"))
    assert again.generation_id == first.generation_id


async def test_a_request_id_belongs_to_its_caller(ledger: Ledger) -> None:
    first = await ledger.begin(intent(principal="alice", request_id="r-1"))
    second = await ledger.begin(intent(principal="bob", request_id="r-1"))
    assert first.generation_id != second.generation_id
    assert await ledger.find_request("r-1", "sandbox", "alice") == first
    assert await ledger.find_request("r-1", "sandbox", "bob") == second
    assert await ledger.find_request("r-1", "sandbox") is None


async def test_each_caller_sees_their_own(ledger: Ledger) -> None:
    first = await ledger.begin(intent(principal="alice"))
    second = await ledger.begin(intent(principal="bob"))
    assert await ledger.recent(10, "alice") == [first]
    assert await ledger.recent(10, "bob") == [second]
    assert await ledger.recent(10) == []


def test_calls_are_refused_above_the_rate_and_taken_again_when_it_allows() -> None:
    clock = Clock()
    quotas = limited(clock, calls_per_minute=6)
    for _ in range(6):
        quotas.count_call("alice")
    with pytest.raises(LimitReached, match="6 calls a minute") as refused:
        quotas.count_call("alice")
    assert "Try again in 10 s" in refused.value.hint
    quotas.count_call("bob")
    clock.now += 10.1
    quotas.count_call("alice")
    with pytest.raises(LimitReached):
        quotas.count_call("alice")


def test_the_servers_rate_is_for_all_together() -> None:
    quotas = limited(overall=Limits(calls_per_minute=2))
    quotas.count_call("alice")
    quotas.count_call("bob")
    with pytest.raises(LimitReached, match="all its users together"):
        quotas.count_call("carol")


def test_a_refused_call_does_not_use_up_the_rate_of_all() -> None:
    quotas = limited(overall=Limits(calls_per_minute=3), calls_per_minute=1)
    quotas.count_call("alice")
    for _ in range(5):
        with pytest.raises(LimitReached, match="You may make"):
            quotas.count_call("alice")
    quotas.count_call("bob")


def test_a_caller_may_have_limits_of_their_own() -> None:
    quotas = Quotas(
        Limits(calls_per_minute=1),
        Limits(),
        special=lambda principal: Limits(calls_per_minute=2) if principal == "alice" else None,
        clock=Clock(),
    )
    quotas.count_call("alice")
    quotas.count_call("alice")
    quotas.count_call("bob")
    with pytest.raises(LimitReached):
        quotas.count_call("bob")


def test_without_tokens_nothing_is_limited_unless_asked_for() -> None:
    assert quotas(load_settings()).limits_of("") == Limits()
    assert quotas(load_settings(), asked=True).limits_of("alice") == Limits(120, 20, Decimal(50))
    some = load_settings(calls_per_minute=0, open_tasks=3, credits_per_day="1.5")
    assert quotas(some, asked=True).limits_of("alice") == Limits(None, 3, Decimal("1.5"))
