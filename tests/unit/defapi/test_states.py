"""The state in a query's answer, in every shape that clients have met."""

from typing import Any

import pytest

from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.parsing import read
from tests.support.faults import reply
from tests.unit.defapi.driver import TASK, query_to

URL = "https://google.datas.systems/a.png"
DATA_URI = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)


def body(**data: Any) -> dict[str, Any]:
    return {"code": 0, "message": "ok", "data": {"task_id": TASK, "status": "success", **data}}


async def test_a_finished_task_is_read_in_whole() -> None:
    answer = body(result=[{"image": URL}], status_reason={"message": None}, consumed="0.500000", created_at="x")
    snapshot = (await query_to(reply(200, answer))).snapshot
    assert snapshot.model_dump() == {
        "task_id": TASK,
        "status": "success",
        "image_sources": (URL,),
        "texts": (),
        "reason": None,
        "consumed": "0.500000",
    }


@pytest.mark.parametrize("task_id", [TASK, f"ta{TASK}"])
async def test_both_shapes_of_ids_are_read_back(task_id: str) -> None:
    snapshot = (await query_to(reply(200, body(task_id=task_id)), task_id=task_id)).snapshot
    assert snapshot.task_id == task_id


@pytest.mark.parametrize(
    ("result", "images", "texts"),
    [
        pytest.param([{"image": URL}], (URL,), (), id="a list"),
        pytest.param({"image": URL}, (URL,), (), id="an object"),
        pytest.param(URL, (URL,), (), id="a bare URL"),
        pytest.param([URL, {"image": URL}], (URL, URL), (), id="mixed"),
        pytest.param(None, (), (), id="null"),
        pytest.param([], (), (), id="an empty list"),
        pytest.param({}, (), (), id="an empty object"),
        pytest.param([{}], (), (), id="an empty item"),
        pytest.param([None, 1, [], True], (), (), id="items of other kinds"),
        pytest.param([{"image": None, "text": "I cannot."}], (), ("I cannot.",), id="text only"),
        pytest.param([{"text": "a"}, {"text": "b"}], (), ("a", "b"), id="several texts"),
        pytest.param([{"image": URL, "text": "done"}], (URL,), ("done",), id="text beside a picture"),
        pytest.param([{"image": f"{URL}?{n}"} for n in range(4)], tuple(f"{URL}?{n}" for n in range(4)), (), id="four"),
        pytest.param([{"image": DATA_URI}], (DATA_URI,), (), id="a data URI"),
        pytest.param([{"image": f"  {URL}\n"}], (URL,), (), id="padded"),
        pytest.param([{"image": "HTTPS://X.example/a"}], ("https://x.example/a",), (), id="upper case"),
        pytest.param([{"image": "javascript:alert(1)"}], (), (), id="another scheme"),
        pytest.param([{"image": "file:///etc/passwd"}], (), (), id="a file"),
        pytest.param([{"image": "data:text/html,x"}], (), (), id="a data URI that is no picture"),
        pytest.param([{"image": ""}, {"text": " "}], (), (), id="blanks"),
        pytest.param([{"image": {"url": URL}}], (), (), id="an image that is an object"),
    ],
)
async def test_the_result_is_read_in_every_shape(result: Any, images: tuple[str, ...], texts: tuple[str, ...]) -> None:
    snapshot = (await query_to(reply(200, body(result=result)))).snapshot
    assert (snapshot.image_sources, snapshot.texts) == (images, texts)


@pytest.mark.parametrize("character", ["\n", "\x00", "\x1b", "\u202e", "\u2028", "\ud800"])
async def test_an_address_with_control_or_direction_characters_in_it_is_no_image(character: str) -> None:
    result = [{"image": f"https://x.example/a.png{character}b"}, {"image": URL}]
    assert (await query_to(reply(200, body(result=result)))).snapshot.image_sources == (URL,)


async def test_an_absent_result_is_no_image() -> None:
    assert (await query_to(reply(200, body()))).snapshot.image_sources == ()


async def test_a_flat_body_is_read() -> None:
    flat = {"task_id": TASK, "status": "success", "result": [{"image": URL}], "consumed": "1"}
    snapshot = (await query_to(reply(200, flat))).snapshot
    assert (snapshot.task_id, snapshot.image_sources, snapshot.consumed) == (TASK, (URL,), "1")


@pytest.mark.parametrize(
    ("consumed", "read_as"),
    [
        ("0.500000", "0.500000"),
        (" 2 ", "2"),
        (0.5, "0.5"),
        (3, "3"),
        (0, "0"),
        (0.00001, "0.00001"),
        (None, None),
        (True, None),
        ("", None),
        ("free", None),
        ("1e5", None),
        ("nan", None),
        ("1,5", None),
        ("٣", None),
        ([1], None),
        ({"amount": 1}, None),
        ("9" * 400, None),
    ],
)
async def test_consumed_is_a_plain_decimal_string_or_nothing(consumed: Any, read_as: str | None) -> None:
    assert (await query_to(reply(200, body(consumed=consumed)))).snapshot.consumed == read_as


@pytest.mark.parametrize(
    ("reason", "read_as"),
    [
        ({"message": "too  dark\n"}, "too dark"),
        ({"message": None}, None),
        ({"message": ""}, None),
        ({"message": 7}, None),
        ({}, None),
        (None, None),
        ("blocked", "blocked"),
        (["blocked"], None),
    ],
)
async def test_the_reason_is_read_in_every_shape(reason: Any, read_as: str | None) -> None:
    assert (await query_to(reply(200, body(status_reason=reason)))).snapshot.reason == read_as


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("pending", Status.PENDING),
        ("submitted", Status.SUBMITTED),
        ("in_progress", Status.IN_PROGRESS),
        ("success", Status.SUCCESS),
        ("failed", Status.FAILED),
        (" SUCCESS ", Status.SUCCESS),
        ("queued", Status.IN_PROGRESS),
        ("unknown", Status.IN_PROGRESS),
        ("完了", Status.IN_PROGRESS),
    ],
)
async def test_a_status_word_that_is_not_known_means_still_working(word: str, status: Status) -> None:
    snapshot = (await query_to(reply(200, body(status=word, result=[{"image": URL}])))).snapshot
    assert read(Generation("in-1", TASK), snapshot, now=1.0).generation.status is status


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param({"result": [{"text": "I drew it in words."}]}, "I drew it in words.", id="only text"),
        pytest.param({"result": [], "status_reason": {"message": "empty content"}}, "empty content", id="a reason"),
        pytest.param({"result": None}, "holds no image", id="nothing at all"),
    ],
)
async def test_a_success_without_an_image_is_a_failure_that_may_have_cost(data: dict[str, Any], words: str) -> None:
    snapshot = (await query_to(reply(200, body(consumed="0.5", **data)))).snapshot
    generation = read(Generation("in-1", TASK), snapshot, now=1.0).generation
    assert generation.status is Status.FAILED
    assert generation.credits_consumed == "0.5"
    assert words in (generation.message or "")
    assert "charged" in (generation.message or "")
