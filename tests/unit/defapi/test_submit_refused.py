"""A submit that the API answers, in whole, with anything but a task."""

import pytest

from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import (
    Blocked,
    DefapiError,
    KeyMissing,
    KeyRefused,
    ModelRefused,
    OutOfCredits,
    RequestRefused,
    TaskNotFound,
)
from tests.support.defapi_calls import KEY, REQUEST, TAKEN, submit_to
from tests.support.fault_server import Step, fault_server
from tests.support.faults import html, redirect, reply

NEEDS_PROMPT = {"code": 1, "message": "failed", "detail": "prompt is required"}


@pytest.mark.parametrize(
    ("step", "kind", "words", "status"),
    [
        pytest.param(reply(400, NEEDS_PROMPT), RequestRefused, "prompt is required", 400, id="400 with detail"),
        pytest.param(reply(400), RequestRefused, "refused the request (400)", 400, id="400 without a body"),
        pytest.param(reply(401, {"code": 1, "message": "bad key"}), KeyRefused, "bad key", 401, id="401, code 1"),
        pytest.param(reply(401, {"code": 401, "message": "bad key"}), KeyRefused, "bad key", 401, id="401, code 401"),
        pytest.param(html(401), KeyRefused, "refused the API key (401)", 401, id="401 as HTML"),
        pytest.param(reply(402, {"code": 1}), OutOfCredits, "does not have enough credits (402)", 402, id="402"),
        pytest.param(reply(403, "error code: 1010"), Blocked, "Bot protection", 403, id="403 of bot protection"),
        pytest.param(reply(403, "error code: 1020"), Blocked, "error code: 1020", 403, id="403 of a firewall"),
        pytest.param(html(403), Blocked, "Bot protection", 403, id="403 as HTML"),
        pytest.param(reply(403, {"cf-ray": "x"}), Blocked, "Bot protection", 403, id="403 in another's JSON"),
        pytest.param(reply(403, {"code": 1, "message": "no permission"}), KeyRefused, "no permission", 403, id="403"),
        pytest.param(
            reply(403, {"title": "Error 1010", "detail": "Blocked.", "cloudflare_error": True}),
            Blocked,
            "Bot protection",
            403,
            id="403 of bot protection in JSON",
        ),
        pytest.param(
            reply(400, {"error": {"message": "bad request", "code": "model_not_found"}}),
            ModelRefused,
            "retired",
            400,
            id="a model refused by the name of the error",
        ),
        pytest.param(
            reply(400, {"code": 1, "message": "Request body too large"}),
            RequestRefused,
            "is too large",
            400,
            id="400, large",
        ),
        *(
            pytest.param(reply(status, {"code": 1, "detail": words}), ModelRefused, "retired", status, id=words)
            for status, words in (
                (400, "model google/gempix2 not found"),
                (400, "Unsupported model: google/gempix2"),
                (404, "The model `google/gempix2` does not exist"),
                (400, "invalid model"),
                (410, "This model is no longer available"),
                (410, "The model has been shut down"),
                (400, "model is not supported for this endpoint"),
            )
        ),
        pytest.param(reply(404, {"code": 1, "message": "no route"}), TaskNotFound, "no route", 404, id="404"),
        pytest.param(html(413), RequestRefused, "too large", 413, id="413"),
        pytest.param(reply(422, {"detail": [{"msg": "x"}]}), RequestRefused, "(422)", 422, id="422, detail a list"),
        pytest.param(redirect("http://127.0.0.1:9/"), RequestRefused, "redirect (307)", 307, id="307"),
        pytest.param(redirect("/elsewhere", 302), RequestRefused, "redirect (302)", 302, id="302"),
        pytest.param(reply(200, NEEDS_PROMPT), RequestRefused, "prompt is required", 400, id="200, code 1"),
        pytest.param(reply(200, {"code": "1", "message": "no"}), RequestRefused, "no", 400, id="200, code '1'"),
        pytest.param(reply(200, {"code": -1}), RequestRefused, "(code -1)", 400, id="200, code -1"),
        pytest.param(reply(200, {"code": True}), RequestRefused, "(code True)", 400, id="200, code true"),
        pytest.param(reply(200, {"code": [0]}), RequestRefused, "(code [0])", 400, id="200, code a list"),
        pytest.param(reply(200, {"code": 401, "message": "no"}), KeyRefused, "API key", 401, id="200, code 401"),
        pytest.param(reply(200, {"code": "402"}), OutOfCredits, "credits", 402, id="200, code '402'"),
    ],
)
async def test_a_refusal_is_reported_with_its_reason_and_never_retried(
    step: Step, kind: type[DefapiError], words: str, status: int
) -> None:
    outcome = await submit_to(step)
    assert type(outcome.error) is kind
    assert words in outcome.error.message
    assert outcome.error.status == status
    assert outcome.error.hint
    assert outcome.server.posts == outcome.server.connections == 1


async def test_a_submit_to_an_endpoint_that_is_not_there_does_not_speak_of_a_task_id() -> None:
    outcome = await submit_to(reply(404, {"code": 1, "message": "not found"}))
    assert "task_id" not in outcome.error.hint


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed_and_the_key_never_sent_to_its_target(status: int) -> None:
    async with fault_server(reply(200, TAKEN)) as target:
        outcome = await submit_to(redirect(f"{target.url}/api/image/gen", status))
    assert type(outcome.error) is RequestRefused
    assert "DEFAPI_BASE_URL" in outcome.error.hint
    assert outcome.server.posts == 1
    assert target.connections == 0


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
async def test_a_key_that_the_api_repeats_in_its_words_is_not_shown(status: int) -> None:
    said = {"code": 1, "message": f"Incorrect API key provided: {KEY}", "detail": f"key={KEY} is wrong"}
    outcome = await submit_to(reply(status, said))
    assert KEY not in outcome.error.message  # the driver looks at repr, hint and traceback as well


async def test_words_of_the_api_are_cleaned_and_cut() -> None:
    outcome = await submit_to(reply(400, {"detail": "\u202e\x1b[31m" + "no " * 1000 + "![x](http://x)"}))
    assert outcome.error.message.isprintable()
    assert len(outcome.error.message) < 600


async def test_without_a_key_nothing_is_sent() -> None:
    async with fault_server(reply(200, TAKEN)) as server:
        client = DefapiClient(server.url, None, key_problem="No API key is set.")
        with pytest.raises(KeyMissing, match="No API key is set"):
            await client.submit(REQUEST)
        await client.aclose()
    assert server.connections == 0
