"""The credits of the account."""

from typing import Any

import pytest

from nano_banana_mcp.defapi.errors import Busy, DefapiError, KeyRefused, NoAnswer, RequestRefused, TaskNotFound
from tests.support.defapi_calls import KEY, credits_from
from tests.support.fault_server import Step
from tests.support.faults import close_after_reading, html, redirect, reply, reset_after_reading, truncated


async def test_the_account_is_one_get_with_the_key() -> None:
    outcome = await credits_from(reply(200, {"code": 0, "data": {"credit": "1"}}))
    [request] = outcome.server.requests
    assert (request.method, request.target) == ("GET", "/api/user")
    assert request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("credit", "read_as"), [("12.500000", "12.500000"), (12, "12"), (0, "0"), (1.25, "1.25"), ("-0.5", "-0.5")]
)
async def test_credits_are_a_decimal_string(credit: Any, read_as: str) -> None:
    outcome = await credits_from(reply(200, {"code": 0, "message": "ok", "data": {"credit": credit}}))
    assert outcome.value == read_as


async def test_credits_of_a_flat_body_are_read() -> None:
    assert (await credits_from(reply(200, {"credit": "3"}))).value == "3"


@pytest.mark.parametrize(
    ("step", "kind", "words"),
    [
        pytest.param(reply(200, {"code": 0, "data": {}}), NoAnswer, "contains no credits", id="no credit"),
        pytest.param(reply(200, {"data": {"credit": None}}), NoAnswer, "contains no credits", id="credit null"),
        pytest.param(reply(200, {"data": {"credit": True}}), NoAnswer, "contains no credits", id="credit true"),
        pytest.param(reply(200, {"data": {"credit": "lots"}}), NoAnswer, "contains no credits", id="credit words"),
        pytest.param(reply(200, {"data": {"credit": [1]}}), NoAnswer, "contains no credits", id="credit a list"),
        pytest.param(html(200), NoAnswer, "other than a JSON object", id="HTML"),
        pytest.param(html(502), NoAnswer, "502 Bad Gateway", id="502"),
        pytest.param(reply(200, {"code": 1, "message": "odd"}), NoAnswer, "odd", id="200, code 1"),
        pytest.param(reply(200, {"code": 401, "message": "no"}), KeyRefused, "no", id="200, code 401"),
        pytest.param(reply(401, {"code": 1, "message": "bad key"}), KeyRefused, "bad key", id="401, code 1"),
        pytest.param(reply(401, {"code": 401, "message": "bad key"}), KeyRefused, "bad key", id="401, code 401"),
        pytest.param(reply(404), TaskNotFound, "(404)", id="404"),
        pytest.param(reply(429), Busy, "limiting", id="429"),
        pytest.param(reply(500), Busy, "temporary problem", id="500"),
        pytest.param(redirect("https://example.com/"), RequestRefused, "redirect", id="307"),
        pytest.param(truncated({"data": {"credit": "1"}}, 5), NoAnswer, "closed early", id="broken off"),
        pytest.param(close_after_reading(), NoAnswer, "closed early", id="closed"),
        pytest.param(reset_after_reading(), NoAnswer, "no complete answer", id="reset"),
    ],
)
async def test_an_account_that_cannot_be_read_says_why_and_is_asked_once(
    step: Step, kind: type[DefapiError], words: str
) -> None:
    outcome = await credits_from(step)
    assert type(outcome.error) is kind
    assert words in outcome.error.message
    assert len(outcome.server.requests) == 1


async def test_an_account_endpoint_that_is_not_there_does_not_speak_of_a_task_id() -> None:
    assert "task_id" not in (await credits_from(reply(404))).error.hint
