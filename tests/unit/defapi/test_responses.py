"""Reading the answers of the API: any body is read or ignored."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nano_banana_mcp.defapi import responses, schemas
from nano_banana_mcp.defapi.errors import DefapiError, NoAnswer, OutcomeUnknown, Refused
from nano_banana_mcp.defapi.responses import Answer

NAMES = [
    "code", "message", "detail", "error", "data", "task_id", "status", "result",
    "image", "text", "status_reason", "consumed", "credit",
]  # fmt: skip
STATUSES = [200, 201, 204, 302, 400, 401, 402, 403, 404, 408, 429, 500, 502, 503, 504, 520, 999]
LONE_SURROGATE = "\ud800"

# Surrogates are in: JSON can spell half of one ("\ud800").
any_text = st.text(st.characters(exclude_categories=()), max_size=30) | st.sampled_from(
    ["success", "failed", "0", "401", "1.5", "https://x.example/a.png", "data:image/png;base64,", "ta1"]
)
any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | any_text, inner, max_size=6),
    max_leaves=8,
)
any_object = st.dictionaries(st.sampled_from(NAMES) | any_text, any_value, max_size=5)


@pytest.mark.slow
@given(any_object)
def test_any_object_is_read_without_a_crash(body: dict[str, Any]) -> None:
    assert isinstance(schemas.unwrap(body), dict)
    assert isinstance(schemas.failure_code(body), bool)
    task_id = responses.task_id_in_fragment(json.dumps(body).encode())
    assert task_id is None or schemas.TASK_ID.fullmatch(task_id)
    text = schemas.failure_text(body)
    assert text is None or isinstance(text, str)
    snapshot = schemas.read_snapshot(body)
    assert snapshot is None or snapshot.status


@pytest.mark.slow
@given(any_object)
@example({"data": {"status": LONE_SURROGATE}})
@example({"data": {"status": "success", "task_id": LONE_SURROGATE}})
@example({"data": {"status": "success", "result": [{"image": f"https://x.example/{LONE_SURROGATE}"}]}})
def test_a_parsed_answer_can_be_encoded_as_json(body: dict[str, Any]) -> None:
    snapshot = schemas.read_snapshot(body)
    if snapshot is not None:
        json.dumps(snapshot.model_dump(), ensure_ascii=False).encode()


@given(any_value)
def test_an_error_text_of_anything_is_clean_or_nothing(value: Any) -> None:
    text = schemas.failure_text(value)
    assert text is None or assert_clean(text)


@given(any_value)
def test_credits_of_anything_are_a_plain_decimal_or_nothing(value: Any) -> None:
    text = schemas.read_credits(value)
    assert text is None or (text.isascii() and set(text) <= set("-.0123456789"))


@pytest.mark.slow
@given(st.sampled_from(STATUSES), any_object.map(json.dumps).map(str.encode) | st.binary(max_size=60))
def test_any_answer_ends_as_a_value_or_as_an_expected_error(status: int, body: bytes) -> None:
    answer = Answer(status, body)
    assert_ours(responses.read_submit, answer, Refused, OutcomeUnknown)
    assert_ours(responses.read_query, answer, Refused, NoAnswer)
    assert_ours(responses.read_account, answer, Refused, NoAnswer)


def assert_ours(read: Any, answer: Answer, *kinds: type[DefapiError]) -> None:
    try:
        read(answer)
    except kinds as caught:
        error = caught
    else:
        return
    assert error.message
    assert error.hint
    assert error.status is not None


def assert_clean(text: str) -> bool:
    assert len(text) <= 500
    assert not {unicodedata.category(character) for character in text} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert "![" not in text
    text.encode()
    return True


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"detail": "prompt is required", "message": "failed"}, "prompt is required"),
        ({"detail": "", "message": "failed"}, "failed"),
        ({"detail": None, "message": " ", "error": "x"}, "x"),
        ({"error": {"message": "inner", "code": 3}}, "inner"),
        ({"detail": {"message": "inner"}}, "inner"),
        ({"detail": [{"msg": "listed"}], "message": "failed"}, "failed"),
        ({}, None),
        ([], None),
        (None, None),
        ("text", None),
    ],
)
def test_the_useful_part_of_an_error_body_is_its_detail_then_its_message(body: Any, text: str | None) -> None:
    assert schemas.failure_text(body) == text


@pytest.mark.parametrize("code", [0, "0", None, 200, "200", 0.0, False])
def test_these_codes_are_no_failure(code: Any) -> None:
    assert not schemas.failure_code({"code": code})


@pytest.mark.parametrize("code", [1, "1", -1, 401, "401", "error", True, [], {}, "", 0.5])
def test_any_other_code_is_a_failure(code: Any) -> None:
    assert schemas.failure_code({"code": code})


def test_the_inside_of_an_answer_is_its_data_where_that_is_an_object() -> None:
    assert schemas.unwrap({"data": {"a": 1}}) == {"a": 1}
    assert schemas.unwrap({"data": None, "a": 1}) == {"data": None, "a": 1}


@pytest.mark.parametrize(
    ("fragment", "task_id"),
    [
        (b'{"task_id":"ta1"', "ta1"),
        (b'{"task_id" : \n "ta1"', "ta1"),
        (b'{"task_id":"ta1', None),
        (b'{"task_id":"ta 1"', None),
        (b'{"task_id":"' + b"a" * 129 + b'"', None),
        (b'{"task_id":""', None),
        (b'{"task_id":null', None),
        (b'{\\"task_id\\":\\"ta1\\"', None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
def test_an_id_in_a_fragment_counts_only_up_to_its_closing_quote(fragment: bytes, task_id: str | None) -> None:
    assert responses.task_id_in_fragment(fragment) == task_id
