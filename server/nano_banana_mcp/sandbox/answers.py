"""The JSON bodies, word for word as the guide has them."""

from typing import Any

from nano_banana_mcp.sandbox.pictures import Pictures, suffix
from nano_banana_mcp.sandbox.tasks import Task

Body = dict[str, Any]

NOT_FOUND: Body = {"code": 1, "message": "task not found"}
NO_CONTENT = "The model returned empty content. The request is billed all the same."
NO_PICTURE = "The picture could not be generated."
SPOKEN = "I would rather describe it: a picture worth a thousand words, in words."
SPOKEN_TOO = "Here is your picture."

_DETAILS = {
    400: "bad request",
    402: "insufficient credits",
    403: "forbidden",
    429: "rate limit exceeded",
    500: "internal server error",
    503: "service unavailable",
}


def ok(data: Body) -> Body:
    return {"code": 0, "message": "ok", "data": data}


def unwrapped(body: Body) -> Body:
    """The same answer without its `data` wrapper."""
    return {"code": body["code"], "message": body["message"], **body["data"]}


def failed(detail: str) -> Body:
    return {"code": 1, "message": "failed", "detail": detail}


def refusal(status: int, *, query: bool = False) -> Body:
    """The body that goes with an HTTP error status."""
    if status == 401:
        return {"code": 401 if query else 1, "message": "Invalid API key"}
    if status == 404:
        return NOT_FOUND
    return failed(_DETAILS[status])


def picture_url(task: Task, number: int) -> str:
    return f"{task.origin}/files/{task.id}-{number}.{suffix(task)}"


async def result(task: Task, pictures: Pictures) -> Any:
    """What the task ends with."""
    kind = task.directives.result
    fixed: dict[str, Any] = {"failed": None, "null": None, "empty": [], "text": [{"text": SPOKEN}]}
    if kind in fixed:
        return fixed[kind]
    if kind.endswith("data-uri"):
        return [{"image": await pictures.data_uri(task, 0)}]
    urls = [picture_url(task, number) for number in range(task.pictures)]
    items = [{"image": url} for url in urls]
    shaped = {"string-items": urls, "object": items[0], "mixed": [{"text": SPOKEN_TOO}, *items]}
    return shaped.get(kind, items)


async def ending(task: Task, pictures: Pictures) -> Body:
    """The task's end, flat as the callback carries it; true or not yet."""
    return {
        "result": await result(task, pictures),
        "status": task.outcome,
        "task_id": task.id,
        "consumed": _consumed(task),
        "status_reason": {"message": _reason(task)},
    }


async def state(task: Task, pictures: Pictures) -> Body:
    """What a query shows now."""
    if task.finished:
        return {**await ending(task, pictures), "created_at": task.created_at}
    return {
        "task_id": task.id,
        "status": task.status,
        "result": None,
        "status_reason": {"message": None},
        "consumed": None,
        "created_at": task.created_at,
    }


def _consumed(task: Task) -> str | float | None:
    amount = 0.0 if task.outcome == "failed" else 0.5
    shapes: dict[str, str | float | None] = {"string": f"{amount:.6f}", "number": amount, "null": None}
    return shapes[task.directives.consumed]


def _reason(task: Task) -> str | None:
    usual = {"failed": NO_PICTURE, "empty": NO_CONTENT}
    return task.directives.reason or usual.get(task.directives.result)
