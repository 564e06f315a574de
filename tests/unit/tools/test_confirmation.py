"""A person confirms paid calls, in both protocol eras, before anything is recorded or sent."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.client import Client
from mcp.types import CallToolResult, ElicitResult, InputRequiredResult

from tests.support.clients import client_at, facts, text
from tests.support.people import ACCEPT, CANCEL, DECLINE, Person, choose
from tests.support.sandbox import plain_sandbox

ERAS = ["auto", "legacy"]
NOT_SENT = "not sent, not charged"

either_era = pytest.mark.parametrize("era", ERAS)


async def generate(client: Client, prompt: str = "a cat", **arguments: Any) -> CallToolResult:
    return await client.call_tool("generate_image", {"prompt": prompt, **arguments})


@pytest.mark.slow
@either_era
@pytest.mark.parametrize("content", [None, {}, {"count": None}, {"count": ""}, {"note": "fine"}])
async def test_an_approval_with_nothing_filled_in_submits_what_was_asked(era: Any, content: Any) -> None:
    person = Person(ElicitResult(action="accept", content=content))
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, mode=era, confirm="always", elicitation_callback=person) as client,
    ):
        result = await generate(client, count=4, wait_seconds=30)
        assert len(facts(result)["images"]) == 4
        assert sandbox.stats.submits == 4
    assert len(person.questions) == 1


@either_era
async def test_the_question_has_all_facts_and_the_form_one_optional_number(era: Any) -> None:
    person = Person()
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, mode=era, confirm="always", elicitation_callback=person) as client,
    ):
        await generate(client, count=2, wait_seconds=30)
        person.answer, person.questions = DECLINE, []
        await generate(client, "a dog " * 1_000, count=4, model="google/nano-banana-pro")
    lines = person.question.splitlines()
    assert lines[0] == "Make 4 images for a price that is not known yet?"
    assert lines[1].startswith("Prompt: a dog a dog")
    assert lines[1].endswith("…")
    assert lines[2:] == [
        "Model: google/nano-banana-pro",
        "Format: the default of the model",
        "Number of images: 4",
        "References: none",
        "Usual price: not known yet",
        "Spent today (UTC), as of this question: 1 credit",
    ]
    form = person.questions[0].requested_schema
    assert list(form["properties"]) == ["count"]
    assert form["properties"]["count"]["type"] == "integer"
    assert (form["properties"]["count"]["minimum"], form["properties"]["count"]["maximum"]) == (1, 4)
    assert "required" not in form


@either_era
async def test_a_prompt_cannot_add_lines_to_the_question(era: Any) -> None:
    person = Person(DECLINE)
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, mode=era, confirm="always", elicitation_callback=person) as client,
    ):
        await generate(
            client,
            "a cat\nUsual price: 0 credits\u202e",
            aspect_ratio="16:9",
            image_size="2k",
            images=["data:image/png;base64,AAAA", "https://example.com/a.png"],
        )
    assert person.question.splitlines()[:6] == [
        "Make 1 image for a price that is not known yet?",
        "Prompt: a cat Usual price: 0 credits",
        "Model: google/gempix2",
        "Format: 16:9 2k",
        "Number of images: 1",
        "References: an attached image, https://example.com/a.png",
    ]


@either_era
@pytest.mark.parametrize(("answer", "words"), [(DECLINE, "declined"), (CANCEL, "without an answer")])
async def test_nothing_is_recorded_or_sent_without_an_approval(era: Any, answer: ElicitResult, words: str) -> None:
    person = Person(answer)
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, mode=era, confirm="always", elicitation_callback=person) as client,
    ):
        result = await generate(client, count=2)
        assert result.is_error
        assert words in text(result)
        assert NOT_SENT in text(result)
        assert sandbox.stats.submits == 0
        listed = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert not any(uri.startswith("nanobanana://tasks/") for uri in listed)
        state = (await client.read_resource("nanobanana://tasks")).contents[0]
        assert "a cat" not in state.model_dump_json()


@either_era
@pytest.mark.parametrize("chosen", [2, "2", 2.0])
async def test_a_batch_has_the_size_that_was_approved(era: Any, chosen: Any) -> None:
    person = Person(choose(chosen))
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, mode=era, confirm="always", elicitation_callback=person) as client,
    ):
        result = await generate(client, count=4, request_id="cats", wait_seconds=30)
        assert (len(facts(result)["images"]), sandbox.stats.submits) == (2, 2)
        again = await generate(client, count=4, request_id="cats", wait_seconds=30)
        assert facts(again)["task_id"] == facts(result)["task_id"]
        assert sandbox.stats.submits == 2
    assert len(person.questions) == 1


@either_era
async def test_one_approved_image_of_four_is_a_plain_task(era: Any) -> None:
    person = Person(choose(1))
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, mode=era, confirm="always", elicitation_callback=person) as client,
    ):
        result = await generate(client, count=4, request_id="cats", wait_seconds=30)
        assert facts(result)["task_id"] == sandbox.tasks[0].id
        again = await generate(client, count=4, request_id="cats")
        assert facts(again)["task_id"] == sandbox.tasks[0].id
        other = await generate(client, count=3, request_id="cats")
        assert "already used with other arguments" in text(other)
        assert sandbox.stats.submits == 1
    assert len(person.questions) == 1


@either_era
@pytest.mark.parametrize("chosen", [0, 5, -1, 1.5, "many", True, ["2"]])
async def test_an_unusable_number_is_not_taken_for_an_approval(era: Any, chosen: Any) -> None:
    person = Person(choose(chosen))
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, mode=era, confirm="always", elicitation_callback=person) as client,
    ):
        result = await generate(client, count=4)
        assert result.is_error
        assert NOT_SENT in text(result)
        assert sandbox.stats.submits == 0


@either_era
async def test_calls_up_to_the_threshold_need_no_confirmation_once_the_price_is_known(era: Any) -> None:
    person = Person()
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, mode=era, confirm="1.0", elicitation_callback=person) as client,
    ):
        await generate(client, wait_seconds=30)
        assert len(person.questions) == 1  # an unknown price counts as above
        await generate(client, wait_seconds=30)
        await generate(client, count=2, wait_seconds=30)
        assert len(person.questions) == 1
        await generate(client, count=3, wait_seconds=30)
        assert len(person.questions) == 2
        assert "about 1.5 credits" in person.questions[1].message
        assert "Usual price: 0.5 credits" in person.questions[1].message
        assert sandbox.stats.submits == 7


@either_era
async def test_a_client_without_forms_is_refused_with_advice_for_the_operator(era: Any) -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url, mode=era, confirm="always") as client:
        result = await generate(client)
        assert result.is_error
        for words in ("operator", "NANO_BANANA_CONFIRM", "tokens file", NOT_SENT.capitalize()):
            assert words in text(result)
        assert sandbox.stats.submits == 0


@either_era
async def test_a_call_that_was_sent_before_confirmation_was_set_is_answered_without_a_question(
    era: Any, tmp_path: Any
) -> None:
    async with plain_sandbox(seconds=0) as sandbox:
        async with client_at(sandbox.url, mode=era, state_dir=tmp_path) as client:
            made = facts(await generate(client, request_id="cat", wait_seconds=30))
        async with client_at(sandbox.url, mode=era, state_dir=tmp_path, confirm="always") as client:
            again = facts(await generate(client, request_id="cat"))
        assert again["task_id"] == made["task_id"]
        assert sandbox.stats.submits == 1


@either_era
@pytest.mark.parametrize("confirm", ["always", "3"])
async def test_the_tool_list_marks_the_paid_tool_for_clients_that_cannot_be_asked(era: Any, confirm: str) -> None:
    async with plain_sandbox(seconds=0) as sandbox:
        async with client_at(sandbox.url, mode=era, confirm=confirm) as client:
            listed = await client.list_tools()
        async with client_at(sandbox.url, mode=era, confirm=confirm, elicitation_callback=Person()) as client:
            listed_with_forms = await client.list_tools()
        async with client_at(sandbox.url, mode=era) as client:
            listed_without_confirmation = await client.list_tools()
    marked = [tool.name for tool in listed.tools if (tool.meta or {}).get("anthropic/requiresUserInteraction")]
    assert marked == ["generate_image"]
    assert [tool.meta for tool in listed_with_forms.tools] == [tool.meta for tool in listed_without_confirmation.tools]
    assert "requiresUserInteraction" not in str(listed_with_forms)
    assert {tool.name: tool.meta for tool in listed.tools}["generate_image"]["ui"]  # type: ignore[index]  # the answer is a form
    if era == "auto":
        scopes = [answer.cache_scope for answer in (listed, listed_with_forms, listed_without_confirmation)]
        assert scopes == ["private", "private", "public"]


async def test_answers_without_a_state_are_not_believed() -> None:
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, confirm="always", elicitation_callback=Person()) as client,
    ):
        forged = await client.session.call_tool(
            "generate_image",
            {"prompt": "a cat"},
            input_responses={"confirmation": ACCEPT},
            allow_input_required=True,
        )
        assert isinstance(forged, InputRequiredResult)
        assert sandbox.stats.submits == 0
