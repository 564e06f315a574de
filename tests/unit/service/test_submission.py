"""A submit: recorded before and after, repeated only where nothing was made; on a virtual clock."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import anyio
import pytest
import trio
import trio.testing
from pydantic import SecretStr

from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import (
    Busy,
    DefapiError,
    NotSent,
    OutcomeUnknown,
    RequestRefused,
    SubmitFailed,
    Unreachable,
)
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.instrumentation import Instrumentation
from nano_banana_mcp.generations.models import UNRECORDED_OUTCOME, Generation, Status
from nano_banana_mcp.generations.quotas import Callers, Check, LimitReached, Limits, Quotas, Usage
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.service.submission import (
    FOREIGN_SUBMIT_SECONDS,
    RequestIdTaken,
    Submitter,
    options_text,
    request_hash,
)
from nano_banana_mcp.tracking.callbacks import CallbackTracker
from tests.support.dict_ledger import DictLedger

REQUEST = SubmitRequest(model="m", prompt="a hill")


class Client:
    """Answers each submit with the next of ``answers``; the last one again and again."""

    is_sandbox = False

    def __init__(self, *answers: str | BaseException, seconds: float = 0.5) -> None:
        self.answers = list(answers)
        self.seconds = seconds
        self.submits = 0
        self.ended = 0
        self.sent: list[tuple[SubmitRequest, Any]] = []

    async def submit(self, request: SubmitRequest, *, key: Any = None) -> str:
        self.submits += 1
        self.sent.append((request, key))
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self.seconds)
        self.ended += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def new(number: int = 1, **changes: Any) -> Generation:
    return replace(Generation(f"in-{number}", api="a", created_at=0.0), **changes)


@asynccontextmanager
async def submitter_of(
    client: Client, ledger: DictLedger, now: Callable[[], float] = anyio.current_time, **options: Any
) -> AsyncIterator[Submitter]:
    async with anyio.create_task_group() as tasks:
        callers = options.pop("callers", Callers())
        yield Submitter(cast(DefapiClient, client), cast(Any, ledger), tasks, callers, now, **options)
        tasks.cancel_scope.cancel()


def virtually(run: Callable[[], Awaitable[Any]]) -> Any:
    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def submitted(client: Client, ledger: DictLedger, generation: Generation | None = None, **options: Any) -> Generation:
    async def run() -> Generation:
        async with submitter_of(client, ledger, **options) as submitter:
            return await submitter.submit_once(REQUEST, generation or new())

    result: Generation = virtually(run)
    return result


def failed(client: Client, ledger: DictLedger, generation: Generation | None = None) -> DefapiError:
    async def run() -> DefapiError:
        async with submitter_of(client, ledger) as submitter:
            with pytest.raises(DefapiError) as caught:
                await submitter.submit_once(REQUEST, generation or new())
            return caught.value

    result: DefapiError = virtually(run)
    return result


def test_an_accepted_submit_is_recorded_with_its_task_id() -> None:
    ledger = DictLedger()
    assert submitted(Client("ta1"), ledger) == ledger.generations["in-1"]
    assert ledger.generations["in-1"].task_id == "ta1"


def test_a_submit_that_a_sandbox_accepted_is_recorded_as_free() -> None:
    client, ledger = Client("ta1"), DictLedger()
    client.is_sandbox = True
    assert submitted(client, ledger).is_sandbox


def test_the_generation_is_recorded_before_anything_is_sent() -> None:
    ledger = DictLedger()

    class Looking(Client):
        async def submit(self, request: SubmitRequest, *, key: Any = None) -> str:
            assert "in-1" in ledger.generations
            return await super().submit(request, key=key)

    submitted(Looking("ta1"), ledger)


@pytest.mark.parametrize(("expects_callback", "url"), [(True, "https://me.org/in-1"), (False, None)])
def test_the_api_gets_a_callback_url_only_where_a_callback_is_expected(expects_callback: bool, url: str | None) -> None:
    client, callbacks = Client("ta1"), CallbackTracker(lambda generation_id: f"https://me.org/{generation_id}")
    submitted(client, DictLedger(), new(expects_callback=expects_callback), callbacks=callbacks)
    assert client.sent == [(REQUEST.model_copy(update={"callback_url": url}), None)]


def test_a_caller_with_a_key_pays_with_it() -> None:
    keys = {"alice": SecretStr("dk-alice")}
    client = Client("ta1")
    submitted(client, DictLedger(), new(principal="alice"), callers=Callers(key_of=keys.get))
    assert client.sent == [(REQUEST, keys["alice"])]


def test_the_times_of_a_generation_are_those_of_its_outcome() -> None:
    accepted, failed_later = DictLedger(), DictLedger()
    submitted(Client("ta1", seconds=7.0), accepted)
    failed(Client(Busy("x", status=500, retry_after=90.0), seconds=7.0), failed_later)
    assert accepted.generations["in-1"].submitted_at == 7.0
    assert failed_later.generations["in-1"].finished_at == 7.0


def test_metrics_see_each_submit_how_it_ended_and_each_repeated_call() -> None:
    events: list[tuple[str, Any]] = []

    class Metrics(Instrumentation):
        @contextmanager
        def submitting(self, generation: Generation) -> Iterator[None]:
            try:
                yield
                events.append((generation.generation_id, "accepted"))
            except DefapiError as error:
                events.append((generation.generation_id, error))
                raise

        def repeated(self, generation: Generation) -> None:
            events.append((generation.generation_id, "repeated"))

    async def run() -> None:
        async with submitter_of(client, DictLedger(), instrumentation=Metrics()) as submitter:
            await submitter.submit_once(REQUEST, new(1, request_id="r-1"))
            await submitter.find_repeated(new(9, request_id="r-1"))
            assert anyio.current_time() == client.seconds  # what has a task id is not waited for
            await submitter.submit_once(REQUEST, new(2))
            with pytest.raises(RequestRefused):
                await submitter.submit_once(REQUEST, new(3))

    unknown, refused = OutcomeUnknown("It may have been charged."), RequestRefused("no", status=400)
    client = Client("ta1", unknown, refused)
    virtually(run)
    assert events == [("in-1", "accepted"), ("in-1", "repeated"), ("in-2", unknown), ("in-3", refused)]


@pytest.mark.parametrize(
    ("answer", "level", "line"),
    [
        ("ta1", logging.INFO, "task ta1 submitted to m"),
        (OutcomeUnknown("It may have been charged."), logging.WARNING, "The outcome of submit in-1 is unknown."),
        (ZeroDivisionError(), logging.ERROR, "A submit failed unexpectedly."),
    ],
)
def test_the_outcome_of_a_submit_is_logged(
    answer: str | BaseException, level: int, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    submitted(Client(answer), DictLedger(), new(model="m"))
    records = [record for record in caplog.records if record.name.endswith("submission")]
    assert (records[0].levelno, records[0].getMessage()) == (level, line)
    assert getattr(records[0], "task_id", None) == ("ta1" if answer == "ta1" else None)


def test_nothing_is_sent_where_the_generation_cannot_be_recorded() -> None:
    class Full(DictLedger):
        async def begin(self, generation: Generation, check: Any = None) -> Generation:
            raise OSError("full")

    async def run() -> None:
        async with submitter_of(client, Full()) as submitter:
            with pytest.raises(OSError, match="full"):
                await submitter.submit_once(REQUEST, new())

    client = Client("ta1")
    virtually(run)
    assert client.submits == 0


@pytest.mark.parametrize("error", [Unreachable("x"), Busy("x", status=429), Busy("x", status=500)])
def test_a_failure_that_proves_that_nothing_was_made_is_repeated(error: DefapiError) -> None:
    client, ledger = Client(error, error, "ta1"), DictLedger()
    assert submitted(client, ledger).task_id == "ta1"
    assert client.submits == 3


@pytest.mark.parametrize("error", [RequestRefused("no", status=400), Busy("x", status=429, retry_after=61.0)])
def test_a_refusal_is_not_repeated_and_leaves_no_record(error: DefapiError) -> None:
    client, ledger = Client(error), DictLedger()
    assert failed(client, ledger) is error
    assert client.submits == 1
    assert ledger.generations == {}


def test_a_submit_that_is_limited_three_times_leaves_no_record() -> None:
    client, ledger = Client(Busy("x", status=429)), DictLedger()
    assert isinstance(failed(client, ledger), Busy)
    assert client.submits == 3
    assert ledger.generations == {}


def test_three_server_errors_leave_a_failed_record_with_the_three_answers() -> None:
    client = Client(Busy("first", status=500), Busy("second", status=503), Busy("third", status=500))
    ledger = DictLedger()
    error = failed(client, ledger, new(request_id="r-1"))
    assert isinstance(error, SubmitFailed)
    record = ledger.generations["in-1"]
    assert record.status is Status.FAILED
    assert record.credits_consumed is None
    assert error.message == record.message
    for words in ("sent 3 times", "1. first 2. second 3. third", "or say whether anything was charged."):
        assert words in error.message


def test_a_server_error_that_asks_for_a_long_pause_leaves_a_failed_record_with_the_one_answer() -> None:
    client, ledger = Client(Busy("closed", status=503, retry_after=90.0)), DictLedger()
    error = failed(client, ledger)
    assert (type(error), error.status) == (SubmitFailed, 503)
    assert error.message == (
        "The request was sent once and the API did not accept it. It did not report a task, or say whether anything "
        "was charged. 1. closed"
    )
    assert ledger.generations["in-1"].message == error.message
    twice = failed(Client(Busy("x", status=500), Busy("closed", status=503, retry_after=90.0)), DictLedger())
    assert twice.message.startswith("The request was sent 2 times and")


def test_a_server_error_before_a_lost_connection_may_have_been_charged() -> None:
    client, ledger = Client(Busy("broken", status=500), Unreachable("no connection")), DictLedger()
    error = failed(client, ledger)
    assert type(error) is SubmitFailed
    assert error.message == (
        "The request was sent once and the API did not accept it. It did not report a task, or say whether anything "
        "was charged. 1. broken 2. no connection 3. no connection"
    )
    assert ledger.generations["in-1"].message == error.message


CALLED_BACK = new().accepted("ta-1", 1.0)
BUSY = Busy("busy", status=503)


def submitted_with_a_callback(
    client: Client, ledger: DictLedger, after_attempts: int, generation: Generation | None = None
) -> Generation:
    """Submit while a callback names a task, 0.1 s into the attempt after this number of attempts, or into its pause."""

    async def call_back() -> None:
        while client.ended < after_attempts:
            await anyio.sleep(0.05)
        await anyio.sleep(0.1)
        await ledger.save(CALLED_BACK)

    async def run() -> None:
        callbacks = CallbackTracker(lambda generation_id: f"https://me.org/{generation_id}")
        async with (
            submitter_of(client, ledger, callbacks=callbacks) as submitter,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(call_back)
            results.append(await submitter.submit_once(REQUEST, generation or new(request_id="r-1")))

    results: list[Generation] = []
    virtually(run)
    return results[0]


def test_a_task_that_a_callback_has_named_is_not_submitted_again() -> None:
    client, ledger = Client(Busy("busy", status=503, retry_after=3.0), "ta-2"), DictLedger()
    assert submitted_with_a_callback(client, ledger, after_attempts=1).task_id == "ta-1"
    assert (client.submits, len(ledger.generations)) == (1, 1)


def test_of_two_attempts_that_made_a_task_each_both_are_recorded(caplog: pytest.LogCaptureFixture) -> None:
    client, ledger = Client("ta-2"), BatchLedger()
    generation = new(request_id="r-1#1", batch_id="ba-1", status=Status.PENDING, expects_callback=True)
    assert submitted_with_a_callback(client, ledger, after_attempts=0, generation=generation) == CALLED_BACK
    assert sorted(generation.task_id or "" for generation in ledger.generations.values()) == ["ta-1", "ta-2"]
    [second] = [generation for generation in ledger.generations.values() if generation.task_id == "ta-2"]
    assert second.generation_id.startswith("in-")
    assert second.generation_id != "in-1"
    assert (second.request_id, second.batch_id, second.expects_callback) == (None, None, False)
    assert (second.status, second.api) == (Status.PENDING, "a")
    assert "Two attempts of submit in-1 led to a task each." in caplog.messages


def test_a_generation_that_was_deleted_between_two_attempts_is_recorded_again() -> None:
    async def delete() -> None:
        while not client.ended:
            await anyio.sleep(0.05)
        await anyio.sleep(0.1)
        ledger.generations.clear()

    async def run() -> None:
        async with submitter_of(client, ledger) as submitter, anyio.create_task_group() as tasks:
            tasks.start_soon(delete)
            await submitter.submit_once(REQUEST, new())

    client, ledger = Client(Busy("busy", status=503, retry_after=3.0), "ta-2"), DictLedger()
    virtually(run)
    assert [generation.task_id for generation in ledger.generations.values()] == ["ta-2"]


@pytest.mark.parametrize("answer", [Busy("busy", status=503, retry_after=90.0), OutcomeUnknown("broken")])
def test_a_failed_attempt_whose_task_a_callback_has_named_is_no_failure(answer: DefapiError) -> None:
    client, ledger = Client(answer), DictLedger()
    assert submitted_with_a_callback(client, ledger, after_attempts=0) == CALLED_BACK
    assert (client.submits, list(ledger.generations.values())) == (1, [CALLED_BACK])


def test_there_is_no_further_attempt_where_the_ledger_cannot_be_read() -> None:
    class Unreadable(DictLedger):
        async def find(self, public_id: str, principal: str | None = None) -> Generation | None:
            raise LedgerError("away")

    client, ledger = Client(BUSY), Unreadable()
    assert isinstance(failed(client, ledger), SubmitFailed)
    assert client.submits == 1


def test_after_three_server_errors_the_same_request_id_is_submitted_again() -> None:
    async def run() -> Generation:
        async with submitter_of(client, ledger) as submitter:
            with pytest.raises(SubmitFailed):
                await submitter.submit_once(REQUEST, new(1, request_id="r-1"))
            assert await submitter.find_repeated(new(2, request_id="r-1")) == []
            return await submitter.submit_once(REQUEST, new(2, request_id="r-1"))

    busy = Busy("x", status=500)
    client, ledger = Client(busy, busy, busy, "ta1"), DictLedger()
    assert virtually(run).task_id == "ta1"
    assert set(ledger.generations) == {"in-1", "in-2"}


def test_an_unknown_outcome_is_recorded_returned_and_never_repeated() -> None:
    client, ledger = Client(OutcomeUnknown("It may have been charged.")), DictLedger()
    generation = submitted(client, ledger)
    assert generation == ledger.generations["in-1"]
    assert (generation.status, generation.message) == (Status.UNKNOWN, "It may have been charged.")
    assert client.submits == 1


def test_an_unexpected_error_after_the_record_leaves_an_outcome_in_it() -> None:
    ledger = DictLedger()
    generation = submitted(Client(ZeroDivisionError()), ledger)
    assert generation.status is Status.UNKNOWN
    assert "may have been charged" in (ledger.generations["in-1"].message or "")


@pytest.mark.parametrize("answer", ["ta1", OutcomeUnknown("It may have been charged.")])
def test_a_cancelled_caller_does_not_cut_a_submit_or_its_record(answer: str | BaseException) -> None:
    async def run() -> None:
        async with submitter_of(Client(answer), ledger) as submitter:
            with anyio.move_on_after(0.1):
                await submitter.submit_once(REQUEST, new())
            await submitter.wait_until_settled()

    ledger = DictLedger()
    virtually(run)
    assert ledger.generations["in-1"].task_id or ledger.generations["in-1"].message


def test_a_caller_cancelled_in_the_pause_between_attempts_sends_no_more() -> None:
    async def run() -> None:
        async with submitter_of(client, ledger) as submitter:
            with anyio.move_on_after(10):
                await submitter.submit_once(REQUEST, new())
            await anyio.sleep(120)

    client, ledger = Client(Busy("x", status=429, retry_after=30.0), "ta1"), DictLedger()
    virtually(run)
    assert client.submits == 1
    assert ledger.generations == {}


def test_a_drain_ends_the_pause_between_attempts_with_the_last_error() -> None:
    async def run() -> None:
        async with submitter_of(client, ledger) as submitter, anyio.create_task_group() as tasks:

            async def drain() -> None:
                await anyio.sleep(5)
                submitter.drain()

            tasks.start_soon(drain)
            with pytest.raises(Busy):
                await submitter.submit_once(REQUEST, new())
            assert anyio.current_time() < 6
            with pytest.raises(NotSent) as not_sent:
                await submitter.submit_once(REQUEST, new(2))
            assert not_sent.value.message == "The server is shutting down, or the call was cancelled."
            assert not_sent.value.hint == "Try again in a moment."

    client, ledger = Client(Busy("x", status=429, retry_after=30.0), "ta1"), DictLedger()
    virtually(run)
    assert client.submits == 1


def test_a_caller_who_has_left_before_the_submit_begins_pays_nothing() -> None:
    async def run() -> None:
        async with submitter_of(client, ledger) as submitter:
            for number in range(20):  # either task may run first
                with anyio.CancelScope() as caller:
                    caller.cancel()
                    await submitter.submit_once(REQUEST, new(number))
            await anyio.sleep(60)

    client, ledger = Client("ta1"), DictLedger()
    virtually(run)
    assert client.submits == 0
    assert ledger.generations == {}


def test_the_end_of_the_server_before_the_first_attempt_leaves_no_record_since_nothing_was_sent() -> None:
    class Slow(DictLedger):
        async def begin(self, generation: Generation, check: Check | None = None) -> Generation:
            with anyio.CancelScope(shield=True):  # as of a thread
                await anyio.sleep(0.1)
            return await super().begin(generation, check)

    async def run() -> None:
        async with anyio.create_task_group() as callers, submitter_of(client, ledger) as submitter:
            callers.start_soon(submitter.submit_once, REQUEST, new())
            await anyio.sleep(0.05)
            callers.cancel_scope.cancel()

    client, ledger = Client("ta1"), Slow()
    virtually(run)
    assert client.submits == 0
    assert ledger.generations == {}


def test_the_end_of_the_server_does_not_cut_the_record_of_a_submit() -> None:
    class Slow(DictLedger):
        async def save(self, generation: Generation) -> Generation:
            await anyio.sleep(0.1)
            return await super().save(generation)

    async def run() -> None:
        async with anyio.create_task_group() as callers, submitter_of(Client("ta1"), ledger) as submitter:
            callers.start_soon(submitter.submit_once, REQUEST, new())
            await anyio.sleep(0.3)
            callers.cancel_scope.cancel()

    ledger = Slow()
    virtually(run)
    assert ledger.generations["in-1"].task_id == "ta1"


def test_a_caller_above_a_limit_is_refused_and_others_are_not() -> None:
    class Counting(DictLedger):
        async def begin(self, generation: Generation, check: Check | None = None) -> Generation:
            if check is not None:
                check(lambda principal: Usage(1, Decimal(0), Decimal(0), Decimal(0)))
            return await super().begin(generation)

        async def begin_batch(self, generations: Sequence[Generation], check: Check | None) -> list[Generation]:
            return [await self.begin(generation, check) for generation in generations]

    async def run() -> None:
        async with submitter_of(client, Counting(), callers=Callers(quotas=quotas)) as submitter:
            with pytest.raises(LimitReached):
                await submitter.submit_once(REQUEST, new(1, principal="alice"))
            with pytest.raises(LimitReached):
                await submitter.submit_batch(REQUEST, [new(1, principal="alice")])
            assert client.submits == 0
            await submitter.submit_once(REQUEST, new(2, principal="bob"))

    client = Client("ta1")
    quotas = Quotas(Limits(), Limits(), own_limits={"alice": Limits(open_tasks=1)}.get, clock=anyio.current_time)
    virtually(run)
    assert client.submits == 1


def test_a_pause_may_be_almost_as_long_as_hosts_wait_for_a_call() -> None:
    assert submitted(Client(Busy("x", status=429, retry_after=55.0), "ta1"), DictLedger()).task_id == "ta1"


def test_the_pauses_are_at_least_what_the_api_asked_for() -> None:
    async def run() -> float:
        async with submitter_of(client, DictLedger()) as submitter:
            await submitter.submit_once(REQUEST, new())
            return anyio.current_time()

    busy = Busy("x", status=429, retry_after=20.0)
    client = Client(busy, busy, "ta1")
    assert 41.5 <= virtually(run) <= 41.5 + 1 + 2


def test_two_calls_with_one_request_id_submit_once() -> None:
    async def run() -> list[Generation]:
        results: list[Generation] = []
        async with submitter_of(client, ledger) as submitter:

            async def call(number: int) -> None:
                generation = new(number, request_id="r-1")
                earlier = await submitter.find_repeated(generation)
                results.extend(earlier or [await submitter.submit_once(REQUEST, generation)])

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, 1)
                tasks.start_soon(call, 2)
        return results

    client, ledger = Client("ta1"), DictLedger()
    assert [generation.task_id for generation in virtually(run)] == ["ta1", "ta1"]
    assert client.submits == 1


def test_a_call_that_lost_to_one_that_was_refused_is_sent_itself() -> None:
    async def run() -> None:
        async with submitter_of(client, DictLedger()) as submitter, anyio.create_task_group() as tasks:

            async def refused() -> None:
                with pytest.raises(RequestRefused):
                    await submitter.submit_once(REQUEST, new(1, request_id="r-1"))

            tasks.start_soon(refused)
            await anyio.sleep(0.1)
            generation = await submitter.submit_once(REQUEST, new(2, request_id="r-1"))
            assert (generation.generation_id, generation.task_id) == ("in-2", "ta1")

    client = Client(RequestRefused("no", status=400), "ta1")
    virtually(run)
    assert [request for request, _ in client.sent] == [REQUEST] * 2


def test_a_generation_that_is_being_submitted_is_not_submitted_again_and_has_its_outcome() -> None:
    async def run() -> None:
        await ledger.save(new(9))  # another one without a task id
        async with submitter_of(client, ledger) as submitter, anyio.create_task_group() as tasks:

            async def fail() -> None:
                with pytest.raises(SubmitFailed):
                    await submitter.submit_once(REQUEST, new(1, request_id="r-1"))

            tasks.start_soon(fail)
            await anyio.sleep(0.1)
            generation = await submitter.submit_once(REQUEST, new(1, request_id="r-1"))
            assert generation == ledger.generations["in-1"]

    client, ledger = Client(Busy("x", status=500)), DictLedger()
    virtually(run)
    assert ledger.generations["in-1"].status is Status.FAILED
    assert client.submits == 3


def test_an_earlier_call_is_found_by_its_request_id_and_caller_and_all_of_its_batch() -> None:
    async def run() -> None:
        async with submitter_of(Client("ta1"), ledger) as submitter:
            for generation in (alone, *batch, new(4)):
                await ledger.save(generation)
            assert await submitter.find_earlier("r-1", "a", "alice", None) == [alone]
            assert await submitter.find_earlier("r-1", "a", "bob", None) == []
            assert await submitter.find_earlier("r-2", "a", "", None) == batch
            assert await submitter.find_earlier(None, "a", "", None) == []

    ledger = DictLedger()
    alone = new(1, task_id="ta1", request_id="r-1", principal="alice")
    batch = [new(2, request_id="r-2", batch_id="ba-1"), new(3, batch_id="ba-1")]
    virtually(run)


def test_the_unrecorded_submit_of_another_process_is_waited_for_as_long_as_it_may_be_under_way() -> None:
    async def run() -> float:
        await ledger.save(new(1, request_id="r-1", created_at=1_000.0))
        async with submitter_of(Client("ta1"), ledger, lambda: 1_000.0 + anyio.current_time()) as submitter:
            await submitter.find_repeated(new(2, request_id="r-1"))
            return anyio.current_time()

    ledger = DictLedger()
    assert virtually(run) == FOREIGN_SUBMIT_SECONDS


def test_a_request_id_of_another_request_is_refused() -> None:
    async def run() -> None:
        async with submitter_of(Client("ta1"), ledger) as submitter:
            await submitter.submit_once(REQUEST, new(1, request_id="r-1", request_hash="x"))
            with pytest.raises(RequestIdTaken):
                await submitter.find_repeated(new(2, request_id="r-1", request_hash="y"))

    ledger = DictLedger()
    virtually(run)


@pytest.mark.parametrize("off", [-3_600.0, 0.0, 3_600.0])
def test_a_repeated_call_learns_of_an_unrecorded_outcome_though_the_clock_was_put_back_or_forward(off: float) -> None:
    async def run() -> None:
        await ledger.save(new(1, request_id="r-1"))  # the process before ended while it was submitting
        async with submitter_of(Client("ta1"), ledger, lambda: anyio.current_time() + off) as submitter:
            with anyio.fail_after(2 * FOREIGN_SUBMIT_SECONDS):
                [earlier] = await submitter.find_repeated(new(2, request_id="r-1"))
        assert (earlier.generation_id, earlier.message) == ("in-1", UNRECORDED_OUTCOME)

    ledger = DictLedger()
    virtually(run)


def test_the_hash_of_a_request_is_that_of_earlier_versions_since_ledgers_keep_it() -> None:
    request = SubmitRequest(model="m", prompt="ein Hügel \ud83d", aspect_ratio="16:9")
    assert request_hash(request) == "e53c784a8ae186d4c29f5a1653ad8f3e33b0c180f66353ce28cf72adc5e4012d"
    assert request_hash(request, 4) == "7a5b0b0308bb267857988821bdd050cbb61e19a7c286f249258ec53ce9ccefa8"


def test_a_count_of_one_is_the_same_request_as_no_count() -> None:
    assert request_hash(REQUEST, 1) == request_hash(REQUEST) != request_hash(REQUEST, 2)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, None),
        ({"aspect_ratio": "16:9"}, "16:9"),
        ({"aspect_ratio": "16:9", "image_size": "4k"}, "16:9, 4k"),
        ({"images": []}, None),
        ({"images": ["https://e.org/1.png"]}, "1 reference"),
        ({"image_size": "1k", "images": ["data:,"] * 2}, "1k, 2 references"),
    ],
)
def test_the_options_of_a_request_include_the_number_of_its_references(
    changes: dict[str, Any], text: str | None
) -> None:
    assert options_text(REQUEST.model_copy(update=changes)) == text


class BatchLedger(DictLedger):
    seconds_to_forget = 0.0
    fails_to_find = False

    async def find(self, public_id: str, principal: str | None = None) -> Generation | None:
        if self.fails_to_find:
            raise LedgerError("gone")
        return await super().find(public_id, principal)

    async def begin_batch(self, generations: Sequence[Generation], check: Check | None) -> list[Generation]:
        return [await self.begin(generation, check) for generation in generations]

    async def claim(self, generation: Generation) -> Generation | None:
        return await self.save(replace(generation, status=Status.UNKNOWN))

    async def forget_batch(self, generations: Sequence[Generation]) -> None:
        for generation in generations:
            await anyio.sleep(self.seconds_to_forget)
            await self.forget(generation.generation_id)


BATCH = [new(number, batch_id="ba-1", status=Status.PENDING) for number in (1, 2)]


def test_two_calls_for_one_batch_submit_it_once_and_both_get_it() -> None:
    async def run() -> None:
        async with submitter_of(client, BatchLedger()) as submitter, anyio.create_task_group() as tasks:

            async def call() -> None:
                results.append(await submitter.submit_batch(REQUEST, BATCH))

            tasks.start_soon(call)
            tasks.start_soon(call)

    results: list[list[Generation]] = []
    client = Client("ta1")
    virtually(run)
    assert client.submits == 2
    assert [[generation.task_id for generation in result] for result in results] == [["ta1", "ta1"]] * 2


def test_the_generations_of_a_batch_count_from_when_they_are_sent() -> None:
    async def run() -> list[Generation]:
        async with submitter_of(Client("ta1"), BatchLedger()) as submitter:
            await anyio.sleep(100.0)
            return await submitter.submit_batch(REQUEST, BATCH)

    assert [generation.created_at for generation in virtually(run)] == [100.0, 100.0]


def test_the_end_of_the_server_leaves_no_record_of_a_refused_batch() -> None:
    async def run() -> None:
        async with anyio.create_task_group() as callers, submitter_of(client, ledger) as submitter:
            callers.start_soon(submitter.submit_batch, REQUEST, BATCH)
            await anyio.sleep(0.55)  # the first record is being removed
            assert len(ledger.generations) == 2
            callers.cancel_scope.cancel()

    client, ledger = Client(RequestRefused("no", status=400)), BatchLedger()
    ledger.seconds_to_forget = 0.1
    virtually(run)
    assert ledger.generations == {}


def test_a_batch_that_another_call_was_refused_for_was_not_sent() -> None:
    async def run() -> None:
        async with submitter_of(client, BatchLedger()) as submitter, anyio.create_task_group() as tasks:

            async def refused() -> None:
                with pytest.raises(RequestRefused):
                    await submitter.submit_batch(REQUEST, BATCH)

            tasks.start_soon(refused)
            await anyio.sleep(0.1)
            with pytest.raises(NotSent) as not_sent:
                await submitter.submit_batch(REQUEST, BATCH)
            assert not_sent.value.message == "Another call with this request_id was refused."
            assert not_sent.value.hint == "Try again."

    client = Client(RequestRefused("no", status=400))
    virtually(run)
    assert client.submits == 2


def test_refused_and_unsent_requests_of_a_batch_are_recorded_with_the_reason() -> None:
    async def run() -> list[Generation]:
        async with submitter_of(client, ledger) as submitter:
            return await submitter.submit_batch(REQUEST, [*BATCH, replace(BATCH[0], generation_id="in-3")])

    unreachable, refused = Unreachable("no connection"), RequestRefused("no", status=400)
    client, ledger = Client("ta1", refused, unreachable), BatchLedger()
    generations = virtually(run)
    assert sorted((generation.status, generation.message) for generation in generations if generation.message) == [
        (Status.FAILED, "no"),
        (Status.PENDING, "no connection"),
    ]
    assert list(ledger.generations.values()) == generations


def test_a_batch_that_may_have_been_charged_is_kept_though_no_connection_came_about_later() -> None:
    async def run() -> list[Generation]:
        async with submitter_of(client, ledger) as submitter:
            return await submitter.submit_batch(REQUEST, BATCH)

    broken, unreachable = Busy("broken", status=500), Unreachable("no connection")
    client, ledger = Client(broken, broken, unreachable), BatchLedger()
    generations = virtually(run)
    assert [generation.status for generation in generations] == [Status.FAILED, Status.FAILED]
    assert all("or say whether anything was charged" in (generation.message or "") for generation in generations)
    assert list(ledger.generations.values()) == generations


def test_a_ledger_that_fails_while_another_call_sends_a_part_of_a_batch_hides_nothing_of_it() -> None:
    async def run() -> None:
        async with submitter_of(client, ledger) as submitter, anyio.create_task_group() as tasks:
            tasks.start_soon(submitter.submit_batch, REQUEST, [BATCH[0]])
            await anyio.sleep(0.1)
            ledger.fails_to_find = True
            generations.extend(await submitter.submit_batch(REQUEST, BATCH))
            ledger.fails_to_find = False

    client, ledger = Client("ta1"), BatchLedger()
    generations: list[Generation] = []
    virtually(run)
    assert [generation.task_id for generation in generations] == [None, "ta1"]
    assert client.submits == 2


def test_unsent_requests_of_a_batch_that_no_process_sends_are_not_waited_for() -> None:
    async def run() -> list[Generation]:
        await ledger.save(replace(BATCH[0], request_id="r-1"))
        async with submitter_of(Client("ta1"), ledger) as submitter:
            repeated = await submitter.find_repeated(new(9, request_id="r-1"))
            assert anyio.current_time() == 0.0
            return repeated

    ledger = BatchLedger()
    assert [generation.generation_id for generation in virtually(run)] == ["in-1"]
