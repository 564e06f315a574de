"""The text of a result has every fact of the structured content."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.types import TextContent

from nano_banana_mcp.defapi.schemas import TaskSnapshot, read_snapshot
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.parsing import read
from nano_banana_mcp.tracking.waiter import WaitResult
from nano_banana_tools.results import MAX_MESSAGE_CHARACTERS, format_credits, to_result

TASK = "ta12345678-1234-1234-1234-123456789abc"
RUNNING = Generation("in-1", TASK, Status.IN_PROGRESS, model="google/nano-banana-pro", submitted_at=100.0)


def text_and_facts(snapshot: TaskSnapshot) -> tuple[str, dict[str, Any]]:
    result = to_result(WaitResult(read(RUNNING, snapshot, 123.4).generation), 123.4)
    assert isinstance(result.content[0], TextContent)
    assert result.structured_content is not None
    return result.content[0].text, result.structured_content


def ended(**values: object) -> TaskSnapshot:
    return TaskSnapshot.model_validate({"task_id": TASK, "status": "success", "consumed": "0.5", **values})


def test_every_fact_of_a_finished_image_is_in_the_text() -> None:
    url = "https://pictures.example/a.png"
    words, _ = text_and_facts(ended(image_sources=(url,), texts=("Here you are.",)))
    for fact in ("success", TASK, "finished true", "google/nano-banana-pro", "0.5 credits", "23.4 s", url, "image/png"):
        assert fact in words
    assert "Here you are." in words


def test_every_fact_of_a_running_generation_is_in_the_text() -> None:
    words, answer = text_and_facts(TaskSnapshot(task_id=TASK, status="in_progress"))
    for fact in ("in_progress", TASK, "finished false", str(answer["next_step"])):
        assert fact in words


@pytest.mark.parametrize("text", ["말로만 대답합니다. " * 100, "I would rather talk. " * 100, "\u0041\u0301" * 1_000])
def test_an_answer_in_words_is_reported_as_charged_and_cut(text: str) -> None:
    words, answer = text_and_facts(ended(texts=(text,)))
    message = str(answer["message"])
    assert message in words
    assert "may have been charged" in message
    assert "instead of drawing" in message
    assert text[:20].split(maxsplit=1)[0] in message
    assert len(message) <= MAX_MESSAGE_CHARACTERS


@pytest.mark.parametrize("count", [1, 16])
@pytest.mark.parametrize("length", [60, 2_000])
def test_every_url_and_resource_uri_is_whole_in_the_text(count: int, length: int) -> None:
    urls = tuple(f"https://pictures.example/{n}/{'x' * length}.png" for n in range(count))
    words, answer = text_and_facts(ended(image_sources=urls, texts=("some words " * 30,)))
    assert "some words" in words
    for image in answer["images"]:
        assert f"{image['url']} (image/png), resource_uri {image['resource_uri']}" in words.splitlines()


@pytest.mark.parametrize(
    ("amount", "words"),
    [("0.5", "0.5 credits"), ("0.50", "0.5 credits"), ("1.00", "1 credit"), ("10", "10 credits"), (None, None)],
)
def test_amounts_are_written_one_way(amount: str | None, words: str | None) -> None:
    assert format_credits(amount) == words


def test_a_broken_image_among_good_ones_is_reported() -> None:
    words, answer = text_and_facts(ended(image_sources=("https://e.org/a.png", "data:image/png;base64,aGVsbG8=")))
    assert answer["status"] == "success"
    assert "1 more could not be used" in words


def test_an_image_with_an_odd_url_is_kept() -> None:
    body = {"data": {"status": "success", "result": [{"image": "https://E.org/그림 1|2.png?x={1}"}]}}
    snapshot = read_snapshot(body)
    assert snapshot is not None
    words, answer = text_and_facts(snapshot)
    assert answer["status"] == "success"
    assert "https://e.org/%EA%B7%B8%EB%A6%BC%201%7C2.png?x=%7B1%7D" in words


@pytest.mark.parametrize(
    "hidden",
    [
        "<img src=https://evil.example/x>",
        "<IMG SRC='//evil'",
        "\U000e0100",
        "\u3164",
        "\u115f",
        "\u2800",
        *"\u034f\u17b5\u180b\u2065\ufff0\U000e0fff",
    ],
)
def test_html_images_and_invisible_fillers_never_reach_the_model(hidden: str) -> None:
    words, answer = text_and_facts(ended(image_sources=("https://e.org/a.png",), texts=(f"Here{hidden} it is",)))
    assert "Here" in words
    assert hidden not in words
    assert hidden not in str(answer["message"])
    assert "evil" not in words
