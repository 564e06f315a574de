"""The state in a query's answer, in every shape that clients have met."""

import base64
from typing import Any

import pytest

from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.parsing import KEPT_ANSWER, read
from tests.support.defapi_calls import TASK, query_to
from tests.support.faults import reply

URL = "https://google.datas.systems/a.png"
DATA_URI = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)

BASE64 = DATA_URI.partition(",")[2]
PIXEL = base64.b64decode(BASE64)
LINES = base64.encodebytes(bytes(range(256))).decode().rstrip()


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
        "created_at": None,
        "ended_at": None,
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
        pytest.param([URL, {"image": f"{URL}?1"}], (URL, f"{URL}?1"), (), id="mixed"),
        pytest.param([{"image": URL}, {"image": URL, "url": URL}], (URL,), (), id="the same twice"),
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
        pytest.param([{"image": ""}, {"text": " "}], (), (), id="blanks"),
        pytest.param([{"image": {"url": URL}}], (URL,), (), id="an image that is an object"),
        pytest.param([{"url": URL}], (URL,), (), id="a url"),
        pytest.param([{"big_image_url": URL}], (URL,), (), id="a big image"),
        pytest.param({"imageUrls": [URL]}, (URL,), (), id="camel case"),
        pytest.param([{"image_url": {"url": URL}}], (URL,), (), id="as OpenAI nests it"),
        pytest.param({"images": [{"b64_json": BASE64}]}, (BASE64,), (), id="as OpenAI's images"),
        pytest.param([{"inlineData": {"mimeType": "image/png", "data": BASE64}}], (BASE64,), (), id="as Gemini"),
        pytest.param([{"source": {"type": "base64", "data": BASE64}}], (BASE64,), (), id="as Anthropic"),
        pytest.param([{"type": "image", "whatever": {"x": URL}}], (URL,), (), id="under an unknown key"),
        pytest.param([{"image": "//x.example/a"}], ("https://x.example/a",), (), id="without a scheme"),
        pytest.param([{"image": "x.example/a.png"}], ("https://x.example/a.png",), (), id="without slashes"),
        pytest.param(f'["{URL}"]', (URL,), (), id="a list as JSON text"),
        pytest.param([{"image": f'{{"url": "{URL}"}}'}], (URL,), (), id="an object as JSON text"),
        pytest.param([{"image": BASE64}], (BASE64,), (), id="bare base64"),
        pytest.param([BASE64], (BASE64,), (), id="base64 alone"),
        pytest.param([{"text": BASE64}], (BASE64,), (), id="base64 as a text"),
        pytest.param([{"image": {"type": "Buffer", "data": list(PIXEL)}}], (f"data:;base64,{BASE64}",), (), id="bytes"),
        pytest.param([{"text": f"Here: ![image]({URL})"}], (URL,), ("Here:",), id="Markdown"),
        pytest.param([{"text": f"![a]({DATA_URI}) ok"}], (DATA_URI,), ("ok",), id="Markdown with a data URI"),
        pytest.param([{"text": f"![a](<{URL}> 'title')"}], (URL,), (), id="Markdown with a title"),
        pytest.param([{"text": f"[Download]({URL})"}], (URL,), (), id="a Markdown link"),
        pytest.param([{"text": f"![a]({URL} (title))"}], (URL,), (), id="a title in parentheses"),
        pytest.param([{"text": "![a](<https://x.example/a b>)"}], ("https://x.example/a%20b",), (), id="with a blank"),
        pytest.param(
            [{"text": f"[![a [b]]({URL})](https://x.example)"}], (URL,), ("[](https://x.example)",), id="link"
        ),
        pytest.param([{"text": f"![a][1]\n\n[1]: {URL}?x"}], (f"{URL}?x",), ("[a][1]",), id="a Markdown reference"),
        pytest.param([{"text": f"Here:\n```\n{LINES}\n```"}], (LINES,), ("Here: ``` ```",), id="lines of base64"),
        pytest.param([{"text": f"Here: data:;base64,{LINES}"}], (f"data:;base64,{LINES}",), ("Here:",), id="data"),
        pytest.param([{"text": '<img src="//x.example/?a=1&amp;b=2">'}], ("https://x.example/?a=1&b=2",), (), id="&"),
        pytest.param([{"image": f"{URL}, {URL}?2\n{URL}?3"}], (URL, f"{URL}?2", f"{URL}?3"), (), id="in one text"),
        pytest.param([{"image": "https:\\/\\/x.example\\/a"}], ("https://x.example/a",), (), id="escaped twice"),
        pytest.param({"urls": {"get": "https://x.example/p"}, "output": [URL]}, (URL,), (), id="as Replicate"),
        pytest.param([{"text": "No.", "input": {"image": URL}}], (), ("No.",), id="an echo of the request"),
        pytest.param([{"text": f'<img alt="x" src="{URL}">'}], (URL,), (), id="HTML"),
        pytest.param([{"text": f"It is at {URL} now"}], (URL,), ("It is at now",), id="a URL within words"),
        pytest.param(
            [{"text": "See [terms](https://x.example/terms)"}],
            (),
            ("See [terms](https://x.example/terms)",),
            id="a link to something else",
        ),
        pytest.param(
            [{"content": [{"type": "text", "text": "Done."}, {"image_url": {"url": URL}}]}],
            (URL,),
            ("Done.",),
            id="content in parts",
        ),
        pytest.param([{"image": DATA_URI, "url": URL}], (DATA_URI,), (), id="two forms of one image"),
        pytest.param([{"image": URL, "thumbnail": f"{URL}?small"}], (URL,), (), id="a thumbnail"),
        pytest.param([{"image": "ipfs://Qm1", "text": "Done."}], (), ("Done.",), id="an unknown scheme"),
        pytest.param(
            [{"text": "I would rather talk about it and then explain why that is not something to draw"}],
            (),
            ("I would rather talk about it and then explain why that is not something to draw",),
            id="words without punctuation",
        ),
    ],
)
async def test_the_result_is_read_in_every_shape(result: Any, images: tuple[str, ...], texts: tuple[str, ...]) -> None:
    snapshot = (await query_to(reply(200, body(result=result)))).snapshot
    assert (snapshot.image_sources, snapshot.texts) == (images, texts)


@pytest.mark.parametrize(
    "source",
    [f"https://x.example/a.png{character}b" for character in "\n\x00\x1b\u202e\u2028\ud800"]
    + ["javascript:alert(1)", "file:///etc/passwd", "data:text/html,x", "ipfs://Qm1", "http://10.0.0.5/a.png"],
)
async def test_an_unusable_image_url_is_never_passed_on_but_counted_in_the_message(source: str) -> None:
    snapshot = (await query_to(reply(200, body(result=[{"image": source}, {"image": URL}])))).snapshot
    reading = read(Generation("in-1", TASK), snapshot, now=1.0)
    assert [image.url for image in reading.generation.images] == [URL]
    assert reading.is_unreadable
    assert "1 more could not be used" in (reading.generation.message or "")
    assert source not in (reading.generation.message or "")


@pytest.mark.parametrize(
    ("result", "is_kept"),
    [
        ([{"asset": "s3://bucket/a.png"}], True),
        ([{"text": "Here: https://x.example/download/1"}], True),
        ([{"text": "<svg viewBox='0 0 9 9'></svg>"}], True),
        ([{"image": 7}], True),
        ([[[[[[[[[[[[{"image": URL}]]]]]]]]]]]], True),
        ([{"text": "I cannot draw this."}], False),
        ([{"image": ""}, {}], False),
    ],
)
async def test_an_answer_is_kept_unless_it_is_empty_or_mere_words(result: Any, is_kept: bool) -> None:
    snapshot = (await query_to(reply(200, body(result=result)))).snapshot
    reading = read(Generation("in-1", TASK), snapshot, now=1.0)
    assert reading.generation.status is Status.FAILED
    assert reading.is_unreadable is is_kept is (KEPT_ANSWER in (reading.generation.message or ""))


async def test_images_beyond_the_first_sixteen_are_counted_and_kept_with_the_answer() -> None:
    result = [{"image": f"{URL}?{number}"} for number in range(18)]
    reading = read(Generation("in-1", TASK), (await query_to(reply(200, body(result=result)))).snapshot, now=1.0)
    assert len(reading.generation.images) == 16
    assert (reading.generation.message or "").startswith("2 more could not be used")
    assert reading.is_unreadable


@pytest.mark.parametrize("name", ["images", "output", "data", "image_url"])
async def test_an_image_beside_the_result_is_found(name: str) -> None:
    assert (await query_to(reply(200, body(**{name: URL})))).snapshot.image_sources == (URL,)


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
        (0.1 + 0.2, "0.3"),
        ("-1000", None),
        (-0.5, None),
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
async def test_an_unknown_status_word_means_still_working(word: str, status: Status) -> None:
    snapshot = (await query_to(reply(200, body(status=word, result=[{"image": URL}])))).snapshot
    assert read(Generation("in-1", TASK), snapshot, now=1.0).generation.status is status


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param({"result": [{"text": "I drew it in words."}]}, "I drew it in words.", id="only text"),
        pytest.param({"result": [], "status_reason": {"message": "empty content"}}, "empty content", id="a reason"),
        pytest.param({"result": None}, "contains no image", id="nothing at all"),
    ],
)
async def test_a_success_without_an_image_is_a_failure_that_may_have_cost(data: dict[str, Any], words: str) -> None:
    snapshot = (await query_to(reply(200, body(consumed="0.5", **data)))).snapshot
    generation = read(Generation("in-1", TASK), snapshot, now=1.0).generation
    assert generation.status is Status.FAILED
    assert generation.credits_consumed == "0.5"
    assert words in (generation.message or "")
    assert "charged" in (generation.message or "")


SUBMITTED_AT = 1_795_000_000.0  # 2026-11-18T11:06:40Z


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        pytest.param({"completed_at": "2026-11-18T11:07:10Z"}, 30.0, id="ISO 8601"),
        pytest.param({"finished_at": "2026-11-18T20:07:10+09:00"}, 30.0, id="another zone"),
        pytest.param({"ended_at": "2026-11-18T11:07:10.500"}, 30.5, id="no zone"),
        pytest.param({"finish_time": SUBMITTED_AT + 30}, 30.0, id="Unix seconds"),
        pytest.param({"end_time": str(round((SUBMITTED_AT + 30) * 1000))}, 30.0, id="milliseconds in a string"),
        pytest.param({"created_at": SUBMITTED_AT + 900, "completed_at": SUBMITTED_AT + 930}, 30.0, id="a fast clock"),
        pytest.param({"created_at": SUBMITTED_AT - 900, "completed_at": SUBMITTED_AT - 870}, 30.0, id="a slow clock"),
        pytest.param({"completed_at": SUBMITTED_AT + 900}, 40.0, id="after it was noticed"),
        pytest.param({"completed_at": SUBMITTED_AT - 900}, 40.0, id="before the submit"),
        pytest.param({"completed_at": "soon"}, 40.0, id="words"),
        pytest.param({"completed_at": "1e999"}, 40.0, id="infinite"),
        pytest.param({"completed_at": "nan"}, 40.0, id="no number"),
        pytest.param({"completed_at": True}, 40.0, id="a boolean"),
        pytest.param({}, 40.0, id="nothing"),
    ],
)
async def test_the_elapsed_time_ends_when_the_api_says_that_the_task_ended(
    times: dict[str, Any], seconds: float
) -> None:
    snapshot = (await query_to(reply(200, body(result=[{"image": URL}], **times)))).snapshot
    submitted = Generation("in-1", TASK, Status.IN_PROGRESS, submitted_at=SUBMITTED_AT)
    ended = read(submitted, snapshot, SUBMITTED_AT + 40).generation
    assert ended.elapsed_seconds(SUBMITTED_AT + 999) == seconds
