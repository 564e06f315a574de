"""The requests of Claude Code at its start, the input of its model and the end of a task: rows of docs/interop.md."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from nano_banana_tools.tasks.extension import TASKS
from tests.lab.interop.claude_code.host import Message, Record, run, version
from tests.support.npm import PackageUnavailableError

IMAGE_SECONDS = 8
POLL_GRACE_SECONDS = 1.0
"""For the query and the messages, beyond one poll interval."""

ACCEPTED_FOR_TWO = (b"2", b"\x1b[B", b"\r")
"""The keys with which a person types a number into the form, goes on to "Accept", and presses it."""

NOTIFICATION = "<task-notification>"

SCRIPT: list[tuple[str, dict[str, Any]]] = [
    ("generate_image", {"prompt": "a lighthouse"}),
    ("wait_for_image", {"task_id": "TASK_ID"}),
    ("get_task", {"task_id": "TASK_ID"}),
    ("view_image", {"task_id": "TASK_ID"}),
    ("browse_images", {}),
]


def rows() -> list[tuple[str, str, bool]]:
    """What, what came of it, and whether it is as it should be."""
    lines = []
    for way, report in (
        ("interactive", report_interactive),
        ("interactive with `NANO_BANANA_CONFIRM`", report_confirmed),
        ("headless (`-p`)", report_headless),
    ):
        what = f"Claude Code {version()}, {way}, stdio"
        try:
            came, problems = report()
        except PackageUnavailableError as reason:
            lines.append((what, f"**not run**: {reason}", False))
        except TimeoutError as error:
            lines.append((what, str(error), False))
        else:
            lines.append((what, "; ".join(problems) or came, not problems))
    return lines


def report_interactive() -> tuple[str, list[str]]:
    """One image as a background task, to its end. Returns what came of it, and what is wrong."""
    record = run(SCRIPT[:1], interactive=True, end=NOTIFICATION, NANO_BANANA_SANDBOX_SECONDS=IMAGE_SECONDS)
    tasks = [task for message in record.wire if (task := _task(message)) is not None]
    shown = _notification(record)
    problems = []
    if not declares_tasks(record):
        problems.append("it declares no tasks")
    if [tool for tool, _ in record.results] != ["generate_image"]:
        problems.append(f"the model called {[tool for tool, _ in record.results]}")
    if tasks[-1]["status"] != "completed":
        problems.append(f"the task is {tasks[-1]['status']}")
    facts = tasks[-1].get("result", {}).get("structuredContent", {"images": [{"url": "?", "resource_uri": "?"}]})
    needed = {"URL": facts["images"][0]["url"], "resource_uri": facts["images"][0]["resource_uri"]}
    needed["structured content"] = json.dumps(facts, separators=(",", ":"))
    problems += [f"the model is not shown the {name}" for name, text in needed.items() if text not in shown]
    late = _late_seconds(tasks)
    if late > tasks[-2]["pollIntervalMs"] / 1_000 + POLL_GRACE_SECONDS:
        problems.append(f"the end was noticed {late:.1f} s late")
    asks = ", ".join(f"`{method}`" for method in requests(record))
    return (
        f"asks {asks}; `generate_image` is a background task, the model calls nothing else, and is woken with the URL, "
        "the `resource_uri` and the structured content within one poll interval of the end",
        problems,
    )


def report_confirmed() -> tuple[str, list[str]]:
    """Four images, of which a person approves two in the host's form. Returns what came of it, and what is wrong."""
    record = run(
        [("generate_image", {"prompt": "a lighthouse", "count": 4})],
        interactive=True,
        end=NOTIFICATION,
        form=ACCEPTED_FOR_TWO,
        NANO_BANANA_SANDBOX_SECONDS=2,
        NANO_BANANA_CONFIRM="always",
    )
    questions = [message for message in record.wire if "inputRequests" in message.body.get("result", {})]
    tasks = [task for message in record.wire if (task := _task(message)) is not None]
    images = tasks[-1].get("result", {}).get("structuredContent", {}).get("images", [])
    problems = [] if len(questions) == 1 else [f"it was asked {len(questions)} questions"]
    problems += [] if len(images) == 2 else [f"the task has {len(images)} images"]
    return "shows the question as a form; two of four images are approved in it, and are one background task", problems


def report_headless() -> tuple[str, list[str]]:
    """All tools without tasks. Returns what the model is shown for each, and what is wrong."""
    record = run(SCRIPT, interactive=False, NANO_BANANA_SANDBOX_SECONDS=2)
    problems = ["it declares tasks"] if declares_tasks(record) else []
    if [tool for tool, _ in record.results] != [tool for tool, _ in SCRIPT]:
        problems.append(f"the model called {[tool for tool, _ in record.results]}")
    shown = {tool: describe(blocks) for tool, blocks in record.results}
    if "structured content" not in shown["wait_for_image"] or "link" not in shown["wait_for_image"]:
        problems.append(f"wait_for_image shows {shown['wait_for_image']}")
    if shown["view_image"] != "text, image, path of a file":
        problems.append(f"view_image shows {shown['view_image']}")
    return "no tasks; shows the model: " + "; ".join(f"`{tool}` {what}" for tool, what in shown.items()), problems


def describe(blocks: list[dict[str, Any]]) -> str:
    """The kinds of content that the model is shown, in order."""
    kinds = []
    for block in blocks:
        text = str(block.get("text", ""))
        if block["type"] != "text":
            kinds.append(block["type"])
        elif text.startswith("{"):
            kinds.append("structured content")
        elif text.startswith("[Resource link:"):
            kinds.append("link")
        else:
            kinds.append("path of a file" if text.startswith("[Image: source: /") else "text")
    return ", ".join(kinds)


def declares_tasks(record: Record) -> bool:
    """Whether the host declares the extension in its first request."""
    meta = record.wire[0].body["params"]["_meta"]
    return TASKS in meta["io.modelcontextprotocol/clientCapabilities"].get("extensions", {})


def requests(record: Record) -> list[str]:
    """The methods of the host's requests before the first call, each once."""
    methods = [message.body["method"] for message in record.wire if message.sender == "host"]
    return list(dict.fromkeys(methods[: methods.index("tools/call")]))


def _task(message: Message) -> dict[str, Any] | None:
    result = message.body.get("result")
    return result if message.sender == "server" and isinstance(result, dict) and "taskId" in result else None


def _notification(record: Record) -> str:
    """The text with which the model is woken."""
    parts = [part for item in record.messages if isinstance(item["content"], list) for part in item["content"]]
    return next(text for part in parts if NOTIFICATION in (text := str(part.get("text", ""))))


def _late_seconds(tasks: list[dict[str, Any]]) -> float:
    """Seconds from the end of the image to the answer that has it, as the server counts them."""
    submitted, noticed = (datetime.fromisoformat(task["lastUpdatedAt"]) for task in (tasks[0], tasks[-1]))
    return (noticed - submitted).total_seconds() - IMAGE_SECONDS
