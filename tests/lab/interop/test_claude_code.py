"""The report on a run of Claude Code, from records made here; and the run itself where the program is installed."""

from __future__ import annotations

import pytest

from tests.lab.interop.claude_code import host, report
from tests.lab.interop.claude_code.messages_api import ScriptedModel
from tests.support import npm


def offered(*messages: object) -> dict[str, object]:
    return {"tools": [{"name": "mcp__images__get_task"}], "messages": list(messages)}


def test_the_scripted_model_calls_in_order_and_puts_in_the_newest_task_id() -> None:
    model = ScriptedModel([("generate_image", {"prompt": "a"}), ("get_task", {"task_id": "TASK_ID"})], "mcp__images__")
    assert model.answer({"messages": [], "tools": []})["content"][0]["type"] == "text"
    first = model.answer(offered())
    task_id = "ta00000000-0000-4000-8000-000000000000"
    second = model.answer(offered({"role": "user", "content": f"ta11111111-0000-4000-8000-000000000000 {task_id}"}))
    assert first["content"][0]["name"] == "mcp__images__generate_image"
    assert second["content"][0]["input"] == {"task_id": task_id}
    assert not model.ended.is_set()
    assert model.answer(offered())["content"][0]["type"] == "text"
    assert model.ended.is_set()


def test_the_content_that_the_model_is_shown_is_described_in_order() -> None:
    blocks = [
        {"type": "text", "text": "[Resource link: a.png] https://pictures.example/a.png"},
        {"type": "text", "text": '{"task_id":"ta1"}'},
        {"type": "image"},
        {"type": "text", "text": "[Image: source: /tmp/a.png]"},
    ]
    assert report.describe(blocks) == "link, structured content, image, path of a file"


def test_rows_of_an_unavailable_program_give_the_reason_and_do_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise npm.PackageUnavailableError("there is no npm")

    monkeypatch.setattr(host, "program", missing)
    assert [(came, good) for _, came, good in report.rows()] == [("**not run**: there is no npm", False)] * 3
