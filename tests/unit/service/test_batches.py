"""Several images with one call: recorded together, sent once each, and reported under one id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from nano_banana_mcp.app import open_service
from nano_banana_mcp.defapi import retry
from nano_banana_mcp.defapi.errors import Busy, RequestRefused, TaskNotFound, Unreachable
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.batches import Batch, GenerationOrBatch, as_batch, located_images
from nano_banana_mcp.generations.models import Status
from nano_banana_mcp.generations.quotas import LimitReached
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.service import submission
from nano_banana_mcp.service.generation_service import GenerationService, joined
from nano_banana_mcp.service.submission import RequestIdTaken
from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.tracking.waiter import WaitResult
from nano_banana_sandbox.sandbox import Sandbox
from tests.support.clients import KEY
from tests.support.generations import unsent_again
from tests.support.image_samples import png
from tests.support.sandbox import plain_sandbox

pytestmark = pytest.mark.slow


@asynccontextmanager
async def opened(
    folder: Path, *, local: bool = False, **settings: Any
) -> AsyncIterator[tuple[Sandbox, GenerationService]]:
    async with (
        plain_sandbox(seconds=0.0) as sandbox,
        open_service(
            load_settings(base_url=sandbox.url, api_key=KEY, state_dir=folder, **settings), local=local
        ) as service,
    ):
        yield sandbox, service


def asking(directives: str = "") -> SubmitRequest:
    return SubmitRequest(model="google/gempix2", prompt=f"a cat {directives}".strip())


def batch_of(item: GenerationOrBatch) -> Batch:
    assert isinstance(item, Batch)
    return item


async def test_four_images_are_four_submits_under_one_id_with_the_sum_of_their_credits(tmp_path: Path) -> None:
    async with opened(tmp_path) as (sandbox, service):
        batch = batch_of((await service.generate(asking(), count=4, wait_seconds=240)).generation)
        assert sandbox.stats.submits == 4
        assert batch.public_id.startswith("ba-")
        assert (batch.status, batch.credits_consumed) == (Status.SUCCESS, "2.000000")
        assert {owner.task_id for owner, _ in located_images(batch)} == {task.id for task in sandbox.tasks}
        assert await service.get(batch.batch_id) == batch


async def test_a_batch_is_in_progress_until_all_its_images_have_ended(tmp_path: Path) -> None:
    async with opened(tmp_path) as (sandbox, service):
        batch = batch_of((await service.generate(asking("sandbox:seconds=600"), count=2)).generation)
        sandbox.tasks[0].born -= 1_000
        waited = await service.wait(batch.batch_id, 3.0)
        assert (waited.generation.status, waited.last_error) == (Status.IN_PROGRESS, None)
        assert len(located_images(waited.generation)) == 1
        sandbox.tasks[1].born -= 1_000
        ended = (await service.wait(batch.batch_id, 30.0)).generation
        assert ended.status is Status.SUCCESS
        assert located_images(ended)[0] == located_images(waited.generation)[0]


async def test_a_partial_failure_returns_the_images_and_says_which_failed_and_why(tmp_path: Path) -> None:
    async with opened(tmp_path) as (sandbox, service):
        request = asking("sandbox:submit=400*1")
        batch = batch_of((await service.generate(request, count=3, request_id="r", wait_seconds=240)).generation)
        assert (batch.status, len(located_images(batch)), batch.credits_consumed) == (Status.SUCCESS, 2, "1.000000")
        [failed] = [generation for generation in batch.generations if generation.status is Status.FAILED]
        number = batch.generations.index(failed) + 1
        assert f"2 of 3 succeeded. Number {number} failed: The image API refused" in (batch.message or "")
        again = batch_of((await service.generate(request, count=3, request_id="r")).generation)
        assert again.generations == batch.generations
        assert sandbox.stats.submits == 3


async def test_an_unknown_outcome_in_a_batch_is_reported_and_never_sent_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as (sandbox, service):
        request = asking("sandbox:submit=reset-after*1")
        batch = batch_of((await service.generate(request, count=2, request_id="r", wait_seconds=240)).generation)
        assert batch.status is Status.SUCCESS
        assert "is unknown and may have been charged" in (batch.message or "")
        await service.generate(request, count=2, request_id="r")
        assert sandbox.stats.submits == 2


async def test_a_batch_without_a_success_is_unknown_where_one_outcome_is_unknown(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, service):
        batch = (await service.generate(asking("sandbox:submit=reset-after"), count=2, wait_seconds=5)).generation
        assert (batch.status, batch.finished) == (Status.UNKNOWN, False)


async def test_a_batch_that_is_refused_as_a_whole_leaves_no_record(tmp_path: Path) -> None:
    async with opened(tmp_path) as (sandbox, service):
        for _ in range(2):
            with pytest.raises(RequestRefused):
                await service.generate(asking("sandbox:submit=400"), count=2, request_id="r")
        assert sandbox.stats.submits == 4
        assert await service.ledger.recent(10) == []


async def test_submits_that_could_not_reach_the_api_leave_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "MIN_CEILING_SECONDS", 0.0)
    async with open_service(load_settings(base_url="http://127.0.0.1:9", api_key=KEY, state_dir=tmp_path)) as service:
        with pytest.raises(Unreachable):
            await service.generate(asking(), count=2)
        assert await service.ledger.recent(10) == []


async def test_a_budget_for_three_refuses_four_before_anything_is_sent(tmp_path: Path) -> None:
    async with opened(tmp_path, credits_per_day=Decimal("1.5")) as (sandbox, service):
        with pytest.raises(
            LimitReached, match=r"These 4 images would exceed your budget of 1\.5 credits per day"
        ) as caught:
            await service.generate(asking(), count=4)
        assert "they cost about 2 credits" in caught.value.message
        assert sandbox.stats.submits == 0
        assert await service.ledger.recent(10) == []
        assert (await service.generate(asking(), count=3, wait_seconds=240)).generation.finished
        assert sandbox.stats.submits == 3


async def test_a_limit_of_unfinished_images_counts_all_of_a_batch(tmp_path: Path) -> None:
    async with opened(tmp_path, open_tasks=3) as (sandbox, service):
        with pytest.raises(LimitReached, match="does not allow 4 more: 0 are unfinished now"):
            await service.generate(asking(), count=4)
        assert sandbox.stats.submits == 0


@pytest.mark.parametrize(("first", "second"), [(2, 3), (1, 2), (2, 1)])
async def test_another_count_with_the_same_request_id_is_refused(tmp_path: Path, first: int, second: int) -> None:
    async with opened(tmp_path) as (sandbox, service):
        await service.generate(asking(), count=first, request_id="r")
        with pytest.raises(RequestIdTaken):
            await service.generate(asking(), count=second, request_id="r")
        assert sandbox.stats.submits == first


async def test_request_ids_with_a_number_of_their_own_are_requests_of_their_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as (sandbox, service):
        ids = {
            (await service.generate(asking(), count=count, request_id=request_id)).generation.public_id
            for request_id, count in (("job#1", 1), ("job#2", 1), ("job#3#1", 2), ("job", 1), ("job#4", 2))
            for _ in range(2)
        }
        assert len(ids) == 5
        assert sandbox.stats.submits == 7


@pytest.mark.parametrize(("first", "second"), [(("r#2", 1), ("r", 2)), (("r", 2), ("r#2", 1))])
async def test_a_request_id_that_another_call_gave_to_a_child_of_its_batch_is_refused(
    tmp_path: Path, first: tuple[str, int], second: tuple[str, int]
) -> None:
    async with opened(tmp_path) as (sandbox, service):
        await service.generate(asking(), request_id=first[0], count=first[1])
        with pytest.raises(RequestIdTaken):
            await service.generate(asking(), request_id=second[0], count=second[1])
        assert sandbox.stats.submits == first[1]


async def test_the_request_id_of_each_generation_has_its_number(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, service):
        batch = batch_of((await service.generate(asking(), count=4, request_id="r")).generation)
        assert [generation.request_id for generation in batch.generations] == ["r#1", "r#2", "r#3", "r#4"]


async def test_a_batch_of_another_caller_is_a_missing_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, service):
        batch = (await service.generate(asking(), count=2, principal="alice")).generation
        words = set()
        for public_id in (batch.public_id, "ba-missing"):
            with pytest.raises(TaskNotFound) as caught:
                await service.get(public_id, "bob")
            words.add(caught.value.message)
        assert len(words) == 1


async def test_a_repeated_call_sends_only_what_a_crash_left_unsent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "FOREIGN_SUBMIT_SECONDS", 0.0)
    async with opened(tmp_path) as (sandbox, service):
        batch = batch_of((await service.generate(asking(), count=4, request_id="r", wait_seconds=240)).generation)
        accepted, unknown, *unsent = batch.generations
        unsent_again(tmp_path, unknown, Status.UNKNOWN)
        for generation in unsent:
            unsent_again(tmp_path, generation)
        crashed = batch_of(await service.get(batch.batch_id))
        assert crashed.status is Status.SUCCESS
        message = crashed.message or ""
        assert "1 of 4 succeeded." in message
        assert f"Number 2 ({unknown.generation_id}) is unknown and may have been charged." in message
        assert "Number 3 was not sent, so it was not charged." in message
        assert "Number 4 was not sent, so it was not charged." in message
        again = batch_of((await service.generate(asking(), count=4, request_id="r", wait_seconds=240)).generation)
        assert sandbox.stats.submits == 4 + len(unsent)
        assert again.generations[0] == accepted
        assert again.generations[1].task_id is None
        assert all(generation.status is Status.SUCCESS for generation in again.generations[2:])


async def test_an_image_is_returned_though_another_of_its_batch_cannot_be_queried(tmp_path: Path) -> None:
    async with opened(tmp_path) as (sandbox, service):
        batch = batch_of((await service.generate(asking("sandbox:query=500*2"), count=2)).generation)
        first, _ = batch.generations
        for _ in range(2):
            with pytest.raises(Busy):
                await service.get(first.public_id)
        assert (await service.get(first.public_id)).finished
        queries = sandbox.stats.queries
        [(owner, _)] = located_images(await service.get(batch.batch_id))
        assert owner.task_id == first.task_id
        assert sandbox.stats.queries == queries + 1


async def test_a_batch_of_which_no_image_can_be_queried_is_an_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as (sandbox, service):
        batch = batch_of((await service.generate(asking("sandbox:query=500"), count=2)).generation)
        with pytest.raises(Busy):
            await service.get(batch.batch_id)
        assert sandbox.stats.queries == 2


async def test_a_poll_of_a_batch_goes_on_while_one_of_its_images_is_being_made(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, service):
        batch = batch_of((await service.generate(asking("sandbox:seconds=600"), count=2)).generation)
        given_up, being_made = (WaitResult(generation) for generation in batch.generations)
        given_up = replace(given_up, last_error=TaskNotFound("gone", status=404), given_up=True)
        assert not joined([given_up, being_made]).given_up
        assert joined([given_up, replace(being_made, given_up=True)]).given_up


async def test_a_repeated_call_returns_what_is_paid_for_though_its_reference_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "FOREIGN_SUBMIT_SECONDS", 0.0)
    picture = tmp_path / "cat.png"
    picture.write_bytes(png())
    request = asking().model_copy(update={"images": [str(picture)]})
    async with opened(tmp_path / "state", local=True, input_dirs=str(tmp_path)) as (sandbox, service):
        batch = batch_of((await service.generate(request, count=2, request_id="r")).generation)
        accepted, unsent = batch.generations
        unsent_again(tmp_path / "state", unsent)
        picture.unlink()
        again = batch_of((await service.generate(request, count=2, request_id="r")).generation)
        assert again.generations[0].task_id == accepted.task_id
        assert "Number 2 was not sent" in (again.message or "")
        with pytest.raises(ImageError):
            await service.generate(request, count=2, request_id="another")
        assert sandbox.stats.submits == 2


async def test_withdrawn_requests_of_a_batch_are_never_sent_and_the_others_are_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as (sandbox, service):
        batch = batch_of((await service.generate(asking(), count=3, request_id="r", wait_seconds=240)).generation)
        for generation in batch.generations[1:]:
            unsent_again(tmp_path, generation)
        await service.cancel_unsent(batch)
        again = batch_of((await service.generate(asking(), count=3, request_id="r", wait_seconds=240)).generation)
        assert sandbox.stats.submits == 3
        assert again.generations[0] == batch.generations[0]
        assert [generation.status for generation in again.generations] == [Status.SUCCESS, *[Status.FAILED] * 2]
        assert "Number 3 failed: It was cancelled before it was sent, so it was not charged." in (again.message or "")
        assert again.credits_consumed == "0.500000"


async def test_a_withdrawal_ends_the_pause_of_a_batch_before_the_next_attempt(tmp_path: Path) -> None:
    async with opened(tmp_path) as (sandbox, service):
        batches: list[GenerationOrBatch] = []

        async def generate() -> None:
            request = asking("sandbox:submit=429*1 sandbox:retry-after=60")
            batches.append((await service.generate(request, count=2)).generation)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(generate)
            with anyio.fail_after(50):
                await sandbox.until(lambda stats: stats.submits == 2)
            await service.cancel_unsent(as_batch(await service.ledger.recent(10)))
        [batch] = batches
        assert sandbox.stats.submits == 2
        assert sorted(generation.status for generation in batch_of(batch).generations) == [
            Status.FAILED,
            Status.PENDING,
        ]


async def test_two_processes_with_one_request_id_submit_each_image_once(tmp_path: Path) -> None:
    async with plain_sandbox(seconds=0.0) as sandbox:
        settings = load_settings(base_url=sandbox.url, api_key=KEY, state_dir=tmp_path)
        batches: list[GenerationOrBatch] = []
        async with open_service(settings) as one, open_service(settings) as other:

            async def generate(service: GenerationService) -> None:
                batches.append((await service.generate(asking(), count=4, request_id="r", wait_seconds=240)).generation)

            async with anyio.create_task_group() as tasks:
                for service in (one, other, one):
                    tasks.start_soon(generate, service)
        assert sandbox.stats.submits == 4
        assert len({batch.public_id for batch in batches}) == 1
        assert all(len(located_images(batch)) == 4 for batch in batches)


async def test_a_caller_who_leaves_loses_nothing_of_a_batch(tmp_path: Path) -> None:
    async with plain_sandbox(seconds=0.0, drip_interval=0.002) as sandbox:
        settings = load_settings(base_url=sandbox.url, api_key=KEY, state_dir=tmp_path)
        async with open_service(settings) as service:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(service.generate, asking("sandbox:submit=drip"), count=4))
                with anyio.fail_after(60):
                    await sandbox.until(lambda stats: stats.charged == 4)
                tasks.cancel_scope.cancel()
            await service.wait_until_settled()
            recorded = {generation.task_id for generation in await service.ledger.recent(10)}
        assert recorded == {task.id for task in sandbox.tasks}
