"""What every ledger promises, in memory, on disk and in PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status, new_generation_id
from nano_banana_mcp.generations.quotas import LimitReached, UsageOf
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.base import Ledger

URL = "https://pictures.example/a.png?signature=1"


def intent(**values: Any) -> Generation:
    defaults: dict[str, Any] = {"prompt": "a 고양이", "model": "m", "api": "sandbox", "created_at": 100.0}
    return Generation(new_generation_id(), **{**defaults, **values})


def succeeded(known: Generation, seconds: float = 30.0) -> Generation:
    begun = known.submitted_at or 100.0
    return replace(
        known,
        status=Status.SUCCESS,
        images=(GeneratedImage(URL, "image/png"), GeneratedImage(None, "image/webp")),
        credits_consumed="0.500000",
        submitted_at=begun,
        open_at=begun + seconds - 1,
        finished_at=begun + seconds,
    )


async def test_what_is_saved_is_found_whole_by_task_intent_and_image(ledger: Ledger) -> None:
    known = await ledger.begin(intent(request_id="r-1", request_hash="h", options="16:9, 2 references"))
    accepted = known.accepted("ta1", 101.0)
    await ledger.save(accepted)
    done = succeeded(accepted)
    await ledger.save(done, {1: EncodedImage(b"RIFF\0\0\0\0WEBPVP8 ", "image/webp")})
    for found in (
        await ledger.find("ta1"),
        await ledger.find(known.generation_id),
        await ledger.find_request("r-1", "sandbox"),
        await ledger.find_image(URL),
        (await ledger.recent(10))[0],
    ):
        assert found == done
    assert await ledger.encoded(known.generation_id, 1) == EncodedImage(b"RIFF\0\0\0\0WEBPVP8 ", "image/webp")


async def test_what_is_not_there_is_none(ledger: Ledger) -> None:
    assert await ledger.find("ta1") is None
    assert await ledger.find_request("r-1", "sandbox") is None
    assert await ledger.find_image(URL) is None
    assert await ledger.encoded("in-1", 0) is None
    assert await ledger.recent(10) == []
    assert await ledger.latencies("m", "sandbox") == []


async def test_an_intent_is_unknown_until_it_is_settled(ledger: Ledger) -> None:
    known = await ledger.begin(intent())
    found = await ledger.find(known.generation_id)
    assert found is not None
    assert found.status is Status.UNKNOWN
    assert found.task_id is None
    assert found.public_id == known.generation_id


async def test_an_intent_that_is_forgotten_is_gone_and_its_request_id_is_free(ledger: Ledger) -> None:
    known = await ledger.begin(intent(request_id="r-1"))
    await ledger.forget(known.generation_id)
    assert await ledger.find(known.generation_id) is None
    again = intent(request_id="r-1")
    assert await ledger.begin(again) == again


async def test_the_second_intent_of_a_request_id_gets_the_first(ledger: Ledger) -> None:
    first = await ledger.begin(intent(request_id="r-1"))
    assert await ledger.begin(intent(request_id="r-1")) == first
    assert len(await ledger.recent(10)) == 1


async def test_an_end_is_never_changed_by_a_later_save(ledger: Ledger) -> None:
    accepted = (await ledger.begin(intent())).accepted("ta1", 101.0)
    done = succeeded(accepted)
    await ledger.save(done)
    await ledger.save(replace(accepted, status=Status.IN_PROGRESS))
    await ledger.save(replace(done, status=Status.FAILED, images=(), message="late news"))
    assert await ledger.find("ta1") == done


async def test_a_task_that_is_known_is_never_forgotten_again(ledger: Ledger) -> None:
    """A callback may settle an intent while its submit still waits for an answer that never comes."""
    known = await ledger.begin(intent())
    claimed = known.accepted("ta1", 101.0)
    await ledger.save(claimed)
    await ledger.save(replace(known, message="no whole answer arrived"))
    await ledger.forget(known.generation_id)
    assert await ledger.find(known.generation_id) == claimed


async def test_the_newest_come_first(ledger: Ledger) -> None:
    for number in range(5):
        await ledger.begin(intent(created_at=float(number), prompt=str(number)))
    assert [known.prompt for known in await ledger.recent(3)] == ["4", "3", "2"]


async def test_the_newest_with_a_text_in_their_prompt_are_found_whatever_its_case(ledger: Ledger) -> None:
    for number, prompt in enumerate(("a Cat", "a dog", "100% cat", "고양이")):
        await ledger.begin(intent(created_at=float(number), prompt=prompt))
    await ledger.begin(intent(created_at=9.0, prompt="another's cat", principal="you"))
    for search, prompts in (("CAT", ["100% cat", "a Cat"]), ("%", ["100% cat"]), ("양", ["고양이"]), ("_", [])):
        assert [known.prompt for known in await ledger.recent(10, "", search)] == prompts
    assert [known.prompt for known in await ledger.recent(1, "", "cat")] == ["100% cat"]


async def test_latencies_are_those_of_the_model_and_of_ends_that_were_seen_when_they_came(ledger: Ledger) -> None:
    for number, seconds in enumerate((20.0, 30.0)):
        await ledger.save(succeeded(intent().accepted(f"ta{number}", 100.0), seconds))
    await ledger.save(succeeded(intent(model="other").accepted("ta8", 100.0), 99.0))
    seen_late = replace(succeeded(intent().accepted("ta9", 100.0), 9_000.0), open_at=101.0)
    await ledger.save(seen_late)
    assert sorted(await ledger.latencies("m", "sandbox")) == [19.5, 29.5]


async def test_another_apis_latencies_are_not_learned_from(ledger: Ledger) -> None:
    await ledger.save(succeeded(intent(api="https://other.example").accepted("ta1", 100.0)))
    assert await ledger.latencies("m", "sandbox") == []


async def test_a_request_id_stands_for_one_image_of_one_api(ledger: Ledger) -> None:
    first = await ledger.begin(intent(request_id="r-1"))
    other = intent(request_id="r-1", api="https://other.example")
    assert await ledger.begin(other) == other
    assert await ledger.find_request("r-1", "sandbox") == first


async def test_odd_characters_survive(ledger: Ledger) -> None:
    odd = "'; DROP TABLE generations; -- \u202e \0 \x01 \x010000 🍌\n\t%_%s:name\\"
    known = await ledger.begin(intent(prompt=odd, message=odd))
    found = await ledger.find(known.generation_id)
    assert found is not None
    assert found.prompt == odd


async def test_another_principals_are_not_found_by_request_image_or_list(ledger: Ledger) -> None:
    mine, yours = (intent(principal=who, request_id="r-1").accepted(f"ta-{who}", 101.0) for who in ("me", "you"))
    await ledger.save(succeeded(mine))
    await ledger.save(yours)
    assert await ledger.find_request("r-1", "sandbox", "you") == yours
    assert await ledger.find_image(URL, "you") is None
    assert await ledger.recent(10, "you") == [yours]
    assert await ledger.open_tasks(0.0) == [yours]


async def test_a_check_sees_what_one_and_all_use_without_the_intent_itself(ledger: Ledger) -> None:
    for who in ("me", "you", "you"):
        await ledger.begin(intent(principal=who))
    own = intent(principal="me")
    await ledger.begin(own)
    seen: list[int] = []

    def check(usage_of: UsageOf) -> None:
        seen.extend(usage_of(who).open_tasks for who in ("me", "you", None))

    await ledger.begin(own, check)
    assert seen == [1, 2, 3]


async def test_what_a_check_refuses_is_not_written(ledger: Ledger) -> None:
    def refuse(_: UsageOf) -> None:
        raise LimitReached("too many", "wait")

    refused = intent(request_id="r-1")
    with pytest.raises(LimitReached):
        await ledger.begin(refused, refuse)
    assert await ledger.find(refused.generation_id) is None
    assert await ledger.begin(intent(request_id="r-1")) != refused
    assert len(await ledger.recent(10)) == 1


async def test_a_request_that_was_made_is_not_checked_again(ledger: Ledger) -> None:
    def refuse(_: UsageOf) -> None:
        raise LimitReached("too many", "wait")

    first = await ledger.begin(intent(request_id="r-1"))
    assert await ledger.begin(intent(request_id="r-1"), refuse) == first


async def test_a_image_is_found_by_a_url_of_any_length(ledger: Ledger) -> None:
    url = f"{URL}&{''.join(str(number) for number in range(3_000))}"
    known = replace(succeeded(intent().accepted("ta1", 101.0)), images=(GeneratedImage(url, "image/png"),))
    await ledger.save(known)
    assert await ledger.find_image(url) == known
