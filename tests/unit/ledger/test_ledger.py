"""The contract of every ledger: in memory, in a file and in PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from nano_banana_mcp.generations.models import GeneratedImage, Status
from nano_banana_mcp.generations.quotas import LimitReached, Usage, UsageOf, month_start
from nano_banana_mcp.ledger.base import Ledger, ModelMedians, ModelUsage
from tests.support.generations import IMAGE_URL, new_batch, new_generation, succeeded


async def test_a_saved_generation_is_found_by_every_key(ledger: Ledger) -> None:
    generation = await ledger.begin(new_generation(request_id="r-1", request_hash="h", options="16:9, 2 references"))
    accepted = generation.accepted("ta1", 101.0)
    await ledger.save(accepted)
    done = succeeded(accepted)
    await ledger.save(done)
    for result in (
        await ledger.find("ta1"),
        await ledger.find(generation.generation_id),
        await ledger.find_request("r-1", "sandbox"),
        await ledger.find_image(IMAGE_URL),
        (await ledger.recent(10))[0],
    ):
        assert result == done


async def test_a_missing_generation_is_none(ledger: Ledger) -> None:
    assert await ledger.find("ta1") is None
    assert await ledger.find_request("r-1", "sandbox") is None
    assert await ledger.find_image(IMAGE_URL) is None
    assert await ledger.recent(10) == []
    assert await ledger.medians("m", "sandbox") == ModelMedians(None, None)


async def test_a_begun_generation_is_unknown(ledger: Ledger) -> None:
    generation = await ledger.begin(new_generation())
    result = await ledger.find(generation.generation_id)
    assert result is not None
    assert result.status is Status.UNKNOWN
    assert result.task_id is None
    assert result.public_id == generation.generation_id


async def test_a_forgotten_generation_frees_its_request_id(ledger: Ledger) -> None:
    generation = await ledger.begin(new_generation(request_id="r-1"))
    await ledger.forget(generation.generation_id)
    assert await ledger.find(generation.generation_id) is None
    again = new_generation(request_id="r-1")
    assert await ledger.begin(again) == again


async def test_a_request_id_is_begun_once(ledger: Ledger) -> None:
    first = await ledger.begin(new_generation(request_id="r-1"))
    assert await ledger.begin(new_generation(request_id="r-1")) == first
    assert len(await ledger.recent(10)) == 1


async def test_an_end_is_never_changed_by_a_later_save(ledger: Ledger) -> None:
    accepted = (await ledger.begin(new_generation())).accepted("ta1", 101.0)
    done = succeeded(accepted)
    await ledger.save(done)
    await ledger.save(replace(accepted, status=Status.IN_PROGRESS))
    await ledger.save(replace(done, status=Status.FAILED, images=(), message="late news"))
    assert await ledger.find("ta1") == done


async def test_images_that_are_found_later_are_added_to_a_finished_generation_only(ledger: Ledger) -> None:
    accepted = (await ledger.begin(new_generation(save_as="cat"))).accepted("ta1", 101.0)
    await ledger.save(accepted)
    await ledger.amend(succeeded(accepted))
    assert await ledger.find("ta1") == accepted
    failed = replace(accepted, status=Status.FAILED, message="unreadable", finished_at=131.0, ended_at=130.0)
    await ledger.save(failed)
    success = replace(failed, status=Status.SUCCESS, images=succeeded(accepted).images, message=None)
    await ledger.amend(success)
    assert await ledger.find("ta1") == success
    assert await ledger.find_image(IMAGE_URL) == success


async def test_a_task_id_is_never_lost(ledger: Ledger) -> None:
    """A callback may settle a generation while its submit still waits for an answer that never comes."""
    generation = await ledger.begin(new_generation())
    claimed = generation.accepted("ta1", 101.0)
    await ledger.save(claimed)
    await ledger.save(replace(generation, message="no whole answer arrived"))
    await ledger.forget(generation.generation_id)
    assert await ledger.find(generation.generation_id) == claimed


async def test_the_newest_come_first(ledger: Ledger) -> None:
    for number in range(5):
        await ledger.begin(new_generation(created_at=float(number), prompt=str(number)))
    assert [generation.prompt for generation in await ledger.recent(3)] == ["4", "3", "2"]


async def test_recent_generations_are_searched_without_regard_to_case(ledger: Ledger) -> None:
    for number, prompt in enumerate(("a Cat", "a dog", "100% cat", "고양이")):
        await ledger.begin(new_generation(created_at=float(number), prompt=prompt))
    await ledger.begin(new_generation(created_at=9.0, prompt="another's cat", principal="you"))
    for search, prompts in (("CAT", ["100% cat", "a Cat"]), ("%", ["100% cat"]), ("양", ["고양이"]), ("_", [])):
        assert [generation.prompt for generation in await ledger.recent(10, "", search)] == prompts
    assert [generation.prompt for generation in await ledger.recent(1, "", "cat")] == ["100% cat"]


async def test_medians_are_of_the_models_successes_at_one_api(ledger: Ledger) -> None:
    for number, (seconds, consumed) in enumerate([(20.0, "0.5"), (30.0, "0.7"), (90.0, "-1000"), (40.0, "0.9")]):
        await ledger.save(
            succeeded(new_generation().accepted(f"ta{number}", 100.0), seconds, credits_consumed=consumed)
        )
    await ledger.save(succeeded(new_generation(model="other").accepted("ta8", 100.0), 99.0))
    await ledger.save(succeeded(new_generation(api="https://other.example").accepted("ta9", 100.0), 99.0))
    assert await ledger.medians("m", "sandbox") == ModelMedians(Decimal("0.7"), 35.0)


async def test_usage_is_of_one_principal_at_one_api_since_a_time(ledger: Ledger) -> None:
    noon = 1_790_000_000.0
    month = month_start(noon)
    for number, (at, principal, api) in enumerate(
        [
            (noon, "me", "sandbox"),
            (month, "me", "sandbox"),
            (month - 1.0, "me", "sandbox"),
            (noon, "you", "sandbox"),
            (noon, "me", "https://other.example"),
        ]
    ):
        generation = new_generation(principal=principal, api=api, created_at=at).accepted(f"ta{number}", at)
        await ledger.save(succeeded(generation))
    await ledger.begin(new_generation(principal="me", created_at=noon))
    half, default = Decimal("0.5"), Decimal("0.5")
    assert await ledger.usage("me", "sandbox", noon) == Usage(1, half, half, default)
    assert await ledger.usage("me", "sandbox", noon, month) == Usage(1, 2 * half, half, default)
    assert await ledger.usage(None, "sandbox", noon) == Usage(1, 2 * half, half, default)
    assert await ledger.usage("nobody", "sandbox", noon, month) == Usage(0, Decimal(0), Decimal(0), default)


async def test_models_are_counted_for_one_principal_at_one_api(ledger: Ledger) -> None:
    tricky = GeneratedImage('https://pictures.example/"mime_type"', "image/png")
    for number, seconds in enumerate((10.0, 20.0, 60.0)):
        generation = new_generation(principal="me", created_at=100.0 + number)
        await ledger.save(succeeded(generation.accepted(f"ta{number}", 100.0), seconds, images=(tricky,)))
    failed = new_generation(principal="me", created_at=300.0).accepted("ta8", 300.0)
    await ledger.save(replace(failed, status=Status.FAILED, finished_at=310.0))
    await ledger.begin(new_generation(principal="me", created_at=400.0))
    two_images = new_generation(principal="me", model="n", created_at=500.0).accepted("ta7", 500.0)
    await ledger.save(succeeded(two_images, credits_consumed=None))
    await ledger.begin(new_generation(principal="me", model=None))
    await ledger.save(succeeded(new_generation(principal="you", model="y").accepted("ta9", 100.0)))
    await ledger.save(succeeded(new_generation(principal="me", api=None).accepted("ta10", 100.0)))
    assert await ledger.model_usage("me", "sandbox") == [
        ModelUsage("m", 3, 3, 1, ModelMedians(Decimal("0.5"), 19.0), 400.0),
        ModelUsage("n", 2, 1, 0, ModelMedians(None, 30.0), 500.0),
    ]
    assert await ledger.model_usage("nobody", "sandbox") == []


async def test_one_task_id_that_answered_two_submits_is_found_by_each_owner(ledger: Ledger) -> None:
    """Both rows stand, and each can end."""
    mine, yours = (new_generation(principal=name).accepted("ta1", 101.0) for name in ("me", "you"))
    second = new_generation(principal="me", created_at=50.0).accepted("ta1", 102.0)
    for generation in (mine, yours, second):
        await ledger.save(generation)
    assert await ledger.find("ta1", "me") == mine
    assert await ledger.find("ta1", "you") == yours
    ended = [succeeded(generation) for generation in (mine, yours, second)]
    for generation in ended:
        await ledger.save(generation)
        assert await ledger.find(generation.generation_id) == generation
    assert await ledger.open_tasks(0.0) == []
    assert await ledger.recent(10, "me") == [ended[0], ended[2]]
    assert await ledger.find_image(IMAGE_URL, "you") == ended[1]


async def test_a_request_id_belongs_to_one_api(ledger: Ledger) -> None:
    first = await ledger.begin(new_generation(request_id="r-1"))
    other = new_generation(request_id="r-1", api="https://other.example")
    assert await ledger.begin(other) == other
    assert await ledger.find_request("r-1", "sandbox") == first


async def test_unusual_characters_survive(ledger: Ledger) -> None:
    odd = "'; DROP TABLE generations; -- \u202e \0 \x01 \x010000 🍌\n\t%_%s:name\\"
    generation = await ledger.begin(new_generation(prompt=odd, message=odd))
    result = await ledger.find(generation.generation_id)
    assert result is not None
    assert result.prompt == odd


async def test_other_principals_generations_are_not_found_by_request_image_or_list(ledger: Ledger) -> None:
    mine, yours = (
        new_generation(principal=who, request_id="r-1").accepted(f"ta-{who}", 101.0) for who in ("me", "you")
    )
    await ledger.save(succeeded(mine))
    await ledger.save(yours)
    assert await ledger.find_request("r-1", "sandbox", "you") == yours
    assert await ledger.find_image(IMAGE_URL, "you") is None
    assert await ledger.recent(10, "you") == [yours]
    assert await ledger.open_tasks(0.0) == [yours]


async def test_a_check_gets_the_usage_without_the_generation_itself(ledger: Ledger) -> None:
    for who in ("me", "you", "you"):
        await ledger.begin(new_generation(principal=who))
    own = new_generation(principal="me")
    await ledger.begin(own)
    seen: list[int] = []

    def check(usage_of: UsageOf) -> None:
        seen.extend(usage_of(who).open_tasks for who in ("me", "you", None))

    await ledger.begin(own, check)
    assert seen == [1, 2, 3]


async def test_a_refused_generation_is_not_recorded(ledger: Ledger) -> None:
    def refuse(_: UsageOf) -> None:
        raise LimitReached("too many", "wait")

    refused = new_generation(request_id="r-1")
    with pytest.raises(LimitReached):
        await ledger.begin(refused, refuse)
    assert await ledger.find(refused.generation_id) is None
    assert await ledger.begin(new_generation(request_id="r-1")) != refused
    assert len(await ledger.recent(10)) == 1


async def test_a_repeated_request_is_not_checked_again(ledger: Ledger) -> None:
    def refuse(_: UsageOf) -> None:
        raise LimitReached("too many", "wait")

    first = await ledger.begin(new_generation(request_id="r-1"))
    assert await ledger.begin(new_generation(request_id="r-1"), refuse) == first


async def test_an_image_is_found_by_a_url_of_any_length(ledger: Ledger) -> None:
    url = f"{IMAGE_URL}&{''.join(str(number) for number in range(3_000))}"
    generation = replace(succeeded(new_generation().accepted("ta1", 101.0)), images=(GeneratedImage(url, "image/png"),))
    await ledger.save(generation)
    assert await ledger.find_image(url) == generation


async def test_a_batch_is_recorded_as_a_whole_and_found_by_its_id_and_its_request_id(ledger: Ledger) -> None:
    batch = new_batch(3, request_id="r-1")
    assert await ledger.begin_batch(batch) == batch
    assert await ledger.find_batch("ba-1") == batch
    assert await ledger.find_batch("ba-1", "") == batch
    assert await ledger.find_batch("ba-1", "someone else") == []
    assert await ledger.find_request("r-1", "sandbox") in batch
    assert await ledger.begin_batch(new_batch(2, request_id="r-1", batch_id="ba-2")) == batch
    assert await ledger.begin(new_generation(request_id="r-1")) in batch


async def test_a_batch_is_not_begun_under_the_request_id_of_one_generation(ledger: Ledger) -> None:
    single = await ledger.begin(new_generation(request_id="r-1"))
    assert await ledger.begin_batch(new_batch(2, request_id="r-1")) == [single]


async def test_a_refused_batch_is_not_recorded_at_all(ledger: Ledger) -> None:
    def refuse(_: object) -> None:
        raise LimitReached("no", "later")

    with pytest.raises(LimitReached):
        await ledger.begin_batch(new_batch(2), refuse)
    assert await ledger.find_batch("ba-1") == []


async def test_only_one_claim_of_an_unsent_generation_succeeds(ledger: Ledger) -> None:
    first, second = await ledger.begin_batch(new_batch(2))
    claimed = await ledger.claim(replace(first, created_at=200.0))
    assert claimed == replace(first, status=Status.UNKNOWN, created_at=200.0)
    assert await ledger.claim(first) is None
    assert await ledger.find_batch("ba-1") == [claimed, second]
    await ledger.save(first)  # certainly not sent after all
    assert await ledger.claim(first) is not None


async def test_a_withdrawn_generation_cannot_be_claimed_and_a_claimed_one_not_withdrawn(ledger: Ledger) -> None:
    first, second = await ledger.begin_batch(new_batch(2))
    withdrawn = replace(first, status=Status.FAILED, message="withdrawn", finished_at=200.0)
    assert await ledger.cancel_unsent(withdrawn)
    assert await ledger.claim(first) is None
    claimed = await ledger.claim(second)
    assert not await ledger.cancel_unsent(replace(second, status=Status.FAILED, finished_at=200.0))
    assert await ledger.find_batch("ba-1") == [withdrawn, claimed]


async def test_a_search_finds_generations_by_the_id_of_their_batch(ledger: Ledger) -> None:
    batch = await ledger.begin_batch(new_batch(2))
    await ledger.begin(new_generation())
    assert {generation.generation_id for generation in await ledger.recent(10, "", "ba-1")} == {
        generation.generation_id for generation in batch
    }


async def test_a_failed_submit_that_made_a_task_after_all_is_open_again(ledger: Ledger) -> None:
    generation = await ledger.begin(new_generation())
    failed = replace(generation, status=Status.FAILED, message="three errors", finished_at=101.0)
    await ledger.save(failed)
    assert await ledger.save(replace(failed, message="another end", finished_at=102.0)) == failed
    accepted = await ledger.save(failed.accepted("ta1", 103.0))
    assert (accepted.status, accepted.finished_at, accepted.message) == (Status.PENDING, None, None)
    assert await ledger.find("ta1") == accepted == (await ledger.open_tasks(0.0))[0]


async def test_what_is_known_without_a_task_id_does_not_replace_a_task_id_and_what_is_recorded_is_returned(
    ledger: Ledger,
) -> None:
    generation = await ledger.begin(new_generation())
    accepted = await ledger.save(generation.accepted("ta1", 101.0))
    assert await ledger.save(replace(generation, message="The connection broke.")) == accepted
    failed = replace(generation, status=Status.FAILED, message="three errors", finished_at=102.0)
    assert await ledger.save(failed) == accepted
    assert await ledger.save(generation.accepted("ta2", 102.0)) == accepted
    assert await ledger.recent(10) == [accepted]


async def test_a_batch_is_forgotten_as_a_whole(ledger: Ledger) -> None:
    first, second = await ledger.begin_batch(new_batch(2, "r-1"))
    await ledger.save(replace(second, status=Status.FAILED, message="refused", finished_at=101.0))
    await ledger.forget_batch([first, second])
    assert await ledger.find_batch("ba-1") == []
    assert await ledger.find_request("r-1", "sandbox") is None


async def test_a_batch_of_which_another_call_sends_one_is_not_forgotten(ledger: Ledger) -> None:
    first, second = await ledger.begin_batch(new_batch(2, "r-1"))
    claimed = await ledger.claim(first)
    await ledger.forget_batch([first, second])
    assert await ledger.find_batch("ba-1") == [claimed, second]
