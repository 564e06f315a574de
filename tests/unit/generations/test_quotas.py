"""Quotas of callers: counted in every kind of ledger, and enforced before anything is sent."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nano_banana_mcp.app import quotas
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.quotas import (
    LimitReached,
    Limits,
    Quotas,
    Usage,
    day_start,
    month_start,
    usable_amount,
)
from nano_banana_mcp.ledger.async_ledger import DurableLedger
from nano_banana_mcp.ledger.base import Ledger
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from nano_banana_mcp.settings import load_settings
from tests.support.generations import new_generation, succeeded
from tests.support.ledgers import memory_ledger

NOON = day_start(1_790_000_000.0) + 43_200.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def limited(clock: Clock | None = None, overall: Limits = Limits(), **limits: Any) -> Quotas:  # noqa: B008 - frozen
    return Quotas(Limits(**limits), overall, clock=clock or Clock())


async def begin(ledger: Ledger, quotas: Quotas, principal: str = "alice", at: float = NOON) -> Generation:
    generation = new_generation(principal=principal, created_at=at)
    return await ledger.begin(generation, quotas.check_for(principal))


async def end(
    ledger: Ledger,
    generation: Generation,
    consumed: str | None,
    status: Status = Status.SUCCESS,
    message: str | None = None,
) -> None:
    accepted = generation.accepted(f"ta-{generation.generation_id}", generation.created_at)
    ended_at = generation.created_at + 9.0
    await ledger.save(
        replace(accepted, status=status, credits_consumed=consumed, message=message, finished_at=ended_at)
    )


@pytest.fixture
async def memory() -> AsyncIterator[DurableLedger]:
    ledger = memory_ledger()
    yield ledger
    await ledger.aclose()


async def test_an_open_task_above_the_limit_is_refused_and_not_recorded(ledger: Ledger) -> None:
    quotas = limited(open_tasks=2)
    first = await begin(ledger, quotas)
    await begin(ledger, quotas)
    with pytest.raises(LimitReached, match="limit of 2 unfinished images"):
        await begin(ledger, quotas)
    assert len(await ledger.recent(10, "alice")) == 2
    await begin(ledger, quotas, "bob")
    await end(ledger, first, "0.5")
    await begin(ledger, quotas)


async def test_all_callers_together_can_be_limited(ledger: Ledger) -> None:
    quotas = limited(overall=Limits(open_tasks=1))
    await begin(ledger, quotas, "alice")
    with pytest.raises(LimitReached, match="This server's limit of 1 unfinished images"):
        await begin(ledger, quotas, "bob")


async def test_an_unknown_outcome_does_not_block_its_caller_for_good(ledger: Ledger) -> None:
    quotas = limited(open_tasks=1)
    await begin(ledger, quotas)
    await begin(ledger, quotas, at=NOON + 3_700.0)


async def test_a_budget_counts_spent_and_reserved_credits(ledger: Ledger) -> None:
    quotas = limited(credits_per_day=Decimal(2))
    await end(ledger, await begin(ledger, quotas), "0.750000")
    await begin(ledger, quotas)
    with pytest.raises(LimitReached) as refused:
        await begin(ledger, quotas)
    assert "your budget of 2 credits per day" in refused.value.message
    assert "0.75 credits spent, 0.75 credits reserved for unfinished images" in refused.value.message


async def test_a_budget_is_renewed_at_midnight_in_utc(ledger: Ledger) -> None:
    quotas = limited(credits_per_day=Decimal("0.5"))
    late = day_start(NOON) + 86_399.0
    await end(ledger, await begin(ledger, quotas, at=late), "0.5")
    with pytest.raises(LimitReached, match="budget"):
        await begin(ledger, quotas, at=late)
    await begin(ledger, quotas, at=late + 2.0)


async def test_a_failure_without_an_amount_costs_nothing(ledger: Ledger) -> None:
    quotas = limited(credits_per_day=Decimal("0.5"))
    for _ in range(3):
        await end(ledger, await begin(ledger, quotas), None, Status.FAILED)
    await begin(ledger, quotas)


async def test_a_failure_that_may_be_charged_counts(ledger: Ledger) -> None:
    quotas = limited(credits_per_day=Decimal("0.5"))
    message = "The API counts it as done, so it may have been charged."
    await end(ledger, await begin(ledger, quotas), None, Status.FAILED, message)
    with pytest.raises(LimitReached, match=r"0.5 credits spent"):
        await begin(ledger, quotas)


async def test_a_failure_without_a_task_costs_nothing_whatever_its_code(ledger: Ledger) -> None:
    quotas = limited(credits_per_day=Decimal("0.5"))
    generation = await begin(ledger, quotas)
    message = "1. HTTP 500: this may have been charged."
    await ledger.save(replace(generation, status=Status.FAILED, message=message, finished_at=NOON + 9.0))
    await begin(ledger, quotas)


@pytest.mark.parametrize("consumed", [None, "", " ", "free", "NaN", "Infinity", "-1000"])
async def test_a_success_without_a_usable_amount_counts_at_the_default_price(
    memory: DurableLedger, consumed: str | None
) -> None:
    quotas = limited(credits_per_day=Decimal(1))
    for _ in range(2):
        await end(memory, await begin(memory, quotas), consumed)
    with pytest.raises(LimitReached, match="1 credit spent"):
        await begin(memory, quotas)


async def test_a_success_without_an_amount_counts_at_its_models_usual_price(ledger: Ledger) -> None:
    yesterday = limited()
    for consumed in ("2", "3", "9"):
        await end(ledger, await begin(ledger, yesterday, at=NOON - 86_400.0), consumed)
    quotas = limited(credits_per_day=Decimal(6))
    await end(ledger, await begin(ledger, quotas), None)
    await begin(ledger, quotas)
    with pytest.raises(LimitReached, match="3 credits spent, 3 credits reserved for unfinished images"):
        await begin(ledger, quotas)


async def test_a_budget_counts_one_api_alone(ledger: Ledger) -> None:
    quotas = limited(credits_per_day=Decimal("0.5"))
    await end(ledger, await begin(ledger, quotas), "0.5")
    real = new_generation(principal="alice", created_at=NOON, api="https://api.example")
    assert await ledger.begin(real, quotas.check_for("alice")) == real


def test_pruning_does_not_renew_a_budget(tmp_path: Path) -> None:
    database = SqliteLedger(tmp_path)
    quotas = limited(credits_per_day=Decimal("0.5"))
    generation = database.begin(new_generation(principal="alice", created_at=NOON))
    database.save(succeeded(generation.accepted("ta1", NOON)))
    assert database.prune(older_than=NOON + 3_600.0, now=NOON + 3_600.0) == 1
    with pytest.raises(LimitReached, match=r"0.5 credits spent"):
        database.begin(new_generation(principal="alice", created_at=NOON + 1.0), quotas.check_for("alice"))
    database.close()


def test_pruning_keeps_the_spending_of_a_month_with_31_days(tmp_path: Path) -> None:
    first = month_start(1_785_542_400.0)  # 2026-08-01
    database = SqliteLedger(tmp_path)
    for at, task_id in ((first - 60.0, "ta1"), (first, "ta2")):
        database.save(succeeded(new_generation(principal="alice", created_at=at).accepted(task_id, at)))
    last_day = first + 30.9 * 86_400.0
    assert database.prune(older_than=last_day, now=last_day) == 2
    assert database.find("ta1") is None
    assert database.usage("alice", "sandbox", last_day, month_start(last_day)).spent == Decimal("0.5")
    assert [usage.images for usage in database.model_usage("alice", "sandbox")] == [1]
    database.close()


async def test_a_repeated_request_id_is_never_refused(ledger: Ledger) -> None:
    quotas = limited(open_tasks=1)
    first = await ledger.begin(new_generation(principal="alice", request_id="r-1"), quotas.check_for("alice"))
    again = await ledger.begin(new_generation(principal="alice", request_id="r-1"), quotas.check_for("alice"))
    assert again.generation_id == first.generation_id


async def test_a_request_id_belongs_to_its_caller(ledger: Ledger) -> None:
    first = await ledger.begin(new_generation(principal="alice", request_id="r-1"))
    second = await ledger.begin(new_generation(principal="bob", request_id="r-1"))
    assert first.generation_id != second.generation_id
    assert await ledger.find_request("r-1", "sandbox", "alice") == first
    assert await ledger.find_request("r-1", "sandbox", "bob") == second
    assert await ledger.find_request("r-1", "sandbox") is None


async def test_each_caller_sees_their_own(ledger: Ledger) -> None:
    first = await ledger.begin(new_generation(principal="alice"))
    second = await ledger.begin(new_generation(principal="bob"))
    assert await ledger.recent(10, "alice") == [first]
    assert await ledger.recent(10, "bob") == [second]
    assert await ledger.recent(10) == []


def test_calls_above_the_rate_are_refused_until_it_allows_them() -> None:
    clock = Clock()
    quotas = limited(clock, calls_per_minute=6)
    for _ in range(6):
        quotas.count_call("alice")
    with pytest.raises(LimitReached, match="6 calls per minute") as refused:
        quotas.count_call("alice")
    assert "Try again in 10 s" in refused.value.hint
    quotas.count_call("bob")
    clock.now += 6.5
    with pytest.raises(LimitReached) as refused:
        quotas.count_call("alice")
    assert refused.value.hint == "Try again in 4 s."
    clock.now += 3.6
    quotas.count_call("alice")
    with pytest.raises(LimitReached):
        quotas.count_call("alice")


def test_a_burst_may_be_as_large_as_the_calls_of_a_minute_and_no_larger() -> None:
    quotas = limited(calls_per_minute=120)
    for _ in range(120):
        quotas.count_call("alice")
    with pytest.raises(LimitReached) as refused:
        quotas.count_call("alice")
    assert refused.value.hint == "Try again in 1 s."


def test_the_servers_rate_counts_all_callers() -> None:
    quotas = limited(overall=Limits(calls_per_minute=2))
    quotas.count_call("alice")
    quotas.count_call("bob")
    with pytest.raises(LimitReached, match="from all users"):
        quotas.count_call("carol")


def test_a_refused_call_does_not_count_for_the_servers_rate() -> None:
    quotas = limited(overall=Limits(calls_per_minute=3), calls_per_minute=1)
    quotas.count_call("alice")
    for _ in range(5):
        with pytest.raises(LimitReached, match="Rate limit exceeded: 1 calls"):
            quotas.count_call("alice")
    quotas.count_call("bob")


def test_a_caller_can_have_limits_of_their_own() -> None:
    quotas = Quotas(
        Limits(calls_per_minute=1),
        Limits(),
        own_limits=lambda principal: Limits(calls_per_minute=2) if principal == "alice" else None,
        clock=Clock(),
    )
    quotas.count_call("alice")
    quotas.count_call("alice")
    quotas.count_call("bob")
    with pytest.raises(LimitReached):
        quotas.count_call("bob")


def test_a_caller_can_have_a_budget_of_their_own() -> None:
    own = {"alice": Limits(credits_per_day=Decimal(9))}
    quotas = Quotas(Limits(credits_per_day=Decimal(1)), Limits(), own_limits=own.get, clock=Clock())
    usage = Usage(open_tasks=0, spent=Decimal(5), reserved=Decimal(0), price=Decimal(1))
    for_alice, for_bob = quotas.check_for("alice"), quotas.check_for("bob")
    assert for_alice is not None
    assert for_bob is not None
    for_alice(lambda principal: usage)
    with pytest.raises(LimitReached, match="your budget of 1 credit per day"):
        for_bob(lambda principal: usage)


USED = Usage(open_tasks=2, spent=Decimal("1.50"), reserved=Decimal(0), price=Decimal("0.5"))
WAIT = "Wait for one of them with wait_for_image, then try again."
TOMORROW = "The budget is renewed at 00:00 UTC. The operator of this server can raise it."


@pytest.mark.parametrize(
    ("own", "overall", "count", "usage", "message", "hint"),
    [
        (
            Limits(open_tasks=2),
            Limits(),
            1,
            USED,
            "Your limit of 2 unfinished images is reached: 2 are unfinished now.",
            WAIT,
        ),
        (
            Limits(open_tasks=4),
            Limits(open_tasks=3),
            2,
            USED,
            "This server's limit of 3 unfinished images does not allow 2 more: 2 are unfinished now.",
            WAIT,
        ),
        (
            Limits(credits_per_day=Decimal("2.9")),
            Limits(),
            1,
            replace(USED, reserved=Decimal(1)),
            "This image would exceed your budget of 2.9 credits per day: 1.5 credits spent, 1 credit reserved for "
            "unfinished images, and this image costs about 0.5 credits.",
            TOMORROW,
        ),
        (
            Limits(credits_per_day=Decimal("2.5")),
            Limits(credits_per_day=Decimal(2)),
            2,
            USED,
            "These 2 images would exceed all users' budget of 2 credits per day: 1.5 credits spent, and they cost "
            "about 1 credit.",
            TOMORROW,
        ),
    ],
)
def test_a_refusal_says_which_limit_what_was_used_and_what_to_do(
    own: Limits, overall: Limits, count: int, usage: Usage, message: str, hint: str
) -> None:
    check = Quotas(own, overall, clock=Clock()).check_for("alice", count)
    assert check is not None
    with pytest.raises(LimitReached) as refused:
        check(lambda principal: usage)
    assert (refused.value.message, refused.value.hint) == (message, hint)


@pytest.mark.parametrize("limits", [Limits(open_tasks=4), Limits(credits_per_day=Decimal("2.5"))])
def test_a_request_that_just_fits_a_limit_is_allowed(limits: Limits) -> None:
    check = Quotas(limits, limits, clock=Clock()).check_for("alice", 2)
    assert check is not None
    check(lambda principal: USED)


@pytest.mark.parametrize(
    ("consumed", "amount"),
    [("0", "0"), (" 0.50 ", "0.5"), ("12", "12"), ("-1", None), ("Infinity", None), ("NaN", None), ("", None)],
)
def test_an_amount_of_the_api_is_used_if_it_can_be_right(consumed: str, amount: str | None) -> None:
    assert usable_amount(consumed) == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize("zone", ["UTC0", "KST-9", "PST8"])
def test_days_and_months_begin_in_utc_wherever_the_server_stands(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 9, 21, 14, 13, 20, 750_000, UTC).timestamp()
    with monkeypatch.context() as there:
        there.setenv("TZ", zone)
        time.tzset()
        beginnings = day_start(moment), month_start(moment)
    time.tzset()
    assert beginnings == (
        datetime(2026, 9, 21, tzinfo=UTC).timestamp(),
        datetime(2026, 9, 1, tzinfo=UTC).timestamp(),
    )


def test_unauthenticated_callers_have_no_limits_by_default() -> None:
    assert quotas(load_settings()).limits_of("") == Limits()
    assert quotas(load_settings(), authenticated=True).limits_of("alice") == Limits(120, 20, Decimal(50))
    some = load_settings(calls_per_minute=0, open_tasks=3, credits_per_day="1.5")
    assert quotas(some, authenticated=True).limits_of("alice") == Limits(None, 3, Decimal("1.5"))
