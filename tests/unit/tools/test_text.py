"""The text of a result: every fact, in at most 600 bytes, whatever the API says."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.types import TextContent

from nano_banana_mcp.defapi.schemas import TaskSnapshot, read_snapshot
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.parsing import read
from nano_banana_mcp.tracking.waiter import WaitResult
from nano_banana_tools.results import to_result

TASK = "ta12345678-1234-1234-1234-123456789abc"
RUNNING = Generation("in-1", TASK, Status.IN_PROGRESS, model="google/nano-banana-pro", submitted_at=100.0)


def told(snapshot: TaskSnapshot) -> tuple[str, dict[str, Any]]:
    result = to_result(WaitResult(read(RUNNING, snapshot, 123.4).generation), 123.4)
    assert isinstance(result.content[0], TextContent)
    assert result.structured_content is not None
    return result.content[0].text, result.structured_content


def ended(**values: object) -> TaskSnapshot:
    return TaskSnapshot.model_validate({"task_id": TASK, "status": "success", "consumed": "0.5", **values})


def test_every_fact_of_a_finished_image_is_in_the_text() -> None:
    url = "https://pictures.example/a.png"
    words, _ = told(ended(image_sources=(url,), texts=("Here you are.",)))
    for fact in ("success", TASK, "finished true", "google/nano-banana-pro", "credits 0.5", "23.4 s", url, "image/png"):
        assert fact in words
    assert "Here you are." in words


def test_every_fact_of_a_running_one_too() -> None:
    words, answer = told(TaskSnapshot(task_id=TASK, status="in_progress"))
    for fact in ("in_progress", TASK, "finished false", str(answer["next_step"])):
        assert fact in words


@pytest.mark.parametrize("text", ["말로만 대답합니다. " * 100, "I would rather talk. " * 100, "\u0041\u0301" * 1_000])
def test_words_instead_of_a_image_are_told_as_charged_however_long_they_are(text: str) -> None:
    words, answer = told(ended(texts=(text,)))
    for told_to in (words, str(answer["message"])):
        assert "may have been charged" in told_to
        assert "instead of drawing" in told_to
        assert text[:20].split(maxsplit=1)[0] in told_to
    assert 500 <= len(words.encode()) <= 600


@pytest.mark.parametrize("count", [1, 2, 4, 16])
@pytest.mark.parametrize("length", [60, 200, 2_000])
def test_many_and_long_urls_give_way_to_resource_uris_and_then_to_a_count(count: int, length: int) -> None:
    urls = tuple(f"https://pictures.example/{n}/{'x' * length}.png" for n in range(count))
    words, answer = told(ended(image_sources=urls, texts=("some words " * 30,)))
    assert len(words.encode()) <= 600
    assert len(answer["images"]) == count
    assert urls[0] in words or f"nanobanana://tasks/{TASK}/images/0" in words
    assert "some words" in words


def test_a_broken_image_among_good_ones_is_not_passed_over_in_silence() -> None:
    words, answer = told(ended(image_sources=("https://e.org/a.png", "data:image/png;base64,aGVsbG8=")))
    assert answer["status"] == "success"
    assert "1 more could not be used" in words


def test_a_image_whose_url_is_spelt_oddly_is_not_thrown_away() -> None:
    body = {"data": {"status": "success", "result": [{"image": "https://E.org/그림 1|2.png?x={1}"}]}}
    snapshot = read_snapshot(body)
    assert snapshot is not None
    words, answer = told(snapshot)
    assert answer["status"] == "success"
    assert "https://e.org/%EA%B7%B8%EB%A6%BC%201%7C2.png?x=%7B1%7D" in words
