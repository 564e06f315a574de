"""Requests of a client that declares the extension Tasks: its calls become tasks, and ``tasks/*`` are odd."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from nano_banana_tools.results import MEMBERS_META
from nano_banana_tools.tasks.generation_tasks import TASK_TOOLS
from tests.lab.torture.accounts import MAX_COMPARED, account, compare_answers
from tests.lab.torture.fuzz_requests import STOCK, Asker, Request, bad_answer, over_http, over_stdio, tool_calls
from tests.lab.torture.processes import META, PATIENCE_SECONDS, WITH_TASKS, Http, Server, Stdio, api, sandbox
from tests.lab.torture.search import search
from tests.lab.torture.tally import Tally
from tests.lab.torture.values import ANYTHING, TEXTS, tried

POLL_SECONDS = 0.2


def task_requests(schemas: dict[str, dict[str, Any]], task_ids: list[str]) -> SearchStrategy[Request]:
    """Calls of the tools with tasks, and ``tasks/*``. The tasks ``task_ids`` are there."""
    task_id = st.one_of(st.sampled_from(task_ids), st.sampled_from(task_ids), TEXTS)
    only_id = st.fixed_dictionaries({"taskId": task_id})
    answers = st.one_of(st.dictionaries(TEXTS, ANYTHING, max_size=2), st.just({"confirmation": {"action": "accept"}}))
    update = st.fixed_dictionaries({"taskId": task_id, "inputResponses": answers})
    undeclared = st.builds(lambda params: {**params, "_meta": META}, only_id)
    odd_meta = st.builds(lambda params, value: {**params, "_meta": value}, only_id, ANYTHING)
    method = st.sampled_from(["tasks/get", "tasks/update", "tasks/cancel", "tasks/list", "tasks/result"])
    calls = tool_calls({name: schemas[name] for name in TASK_TOOLS}, task_ids)
    return st.one_of(
        calls,
        st.tuples(st.just("tasks/get"), only_id),
        st.tuples(st.just("tasks/cancel"), only_id),
        st.tuples(st.just("tasks/update"), tried(update)),
        st.tuples(method, st.one_of(tried(only_id), undeclared, odd_meta)),
    )


def bad_task_answer(request: Request, answer: dict[str, Any], task_ids: list[str]) -> str | None:
    """What is wrong with an answer to a client that declares tasks."""
    if why := bad_answer(request, answer):
        return why
    method, params = request
    result = answer.get("result", {})
    if method == "tools/call" and result.get("resultType") == "task" and params["name"] not in TASK_TOOLS:
        return f"wrong: {params['name']} became a task: {result}"
    if method not in ("tasks/get", "tasks/cancel") or params not in (
        {"taskId": task_id, "_meta": WITH_TASKS} for task_id in task_ids
    ):
        return None
    if "error" in answer:
        return f"wrong: a task that exists is refused: {answer}"
    if method == "tasks/get" and result["status"] == "completed":
        named = result["result"]["structuredContent"]["task_id"]
        return None if named == params["taskId"] else f"wrong: task {params['taskId']} has the result of {named}"
    return None if method == "tasks/cancel" or result["status"] == "working" else f"wrong: its state is {result}"


class TaskAsker(Asker):
    """An :class:`Asker` whose requests declare the extension, unless they have a ``_meta`` of their own."""

    def __init__(self, start: Callable[[], Any], ask: Callable[[Any, list[Request]], Any]) -> None:
        def ask_with_meta(server: Any, batch: list[Request]) -> Any:
            return ask(server, [(method, _declared(params)) for method, params in batch])

        super().__init__(start, ask_with_meta)
        self.task_ids: list[str] = []

    def problem(self, request: Request, answer: dict[str, Any]) -> str | None:
        """See the base class."""
        return bad_task_answer(request, answer, self.task_ids)

    def ended(self, task_id: str) -> dict[str, Any]:
        """Poll a task until it is completed, for at most :data:`PATIENCE_SECONDS`. Returns its last state."""
        until = time.monotonic() + PATIENCE_SECONDS
        while (task := self.request("tasks/get", {"taskId": task_id}))["status"] == "working":
            if time.monotonic() > until:
                break
            time.sleep(POLL_SECONDS)
        return task


def _declared(params: Any) -> Any:
    return {"_meta": WITH_TASKS, **params} if isinstance(params, dict) else params


def fuzz_tasks(folder: Path, counts: dict[str, int], seed: int) -> Iterator[Tally]:
    """Fuzz tasks over both transports.

    Args:
        counts: Cases by transport: "stdio", "HTTP".
    """
    for transport, count in counts.items():
        tally = Tally(f"fuzz: tasks over {transport}")
        with sandbox(seconds=0) as served, httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS) as http:
            environment = {"folder": folder / transport, **api(served.url)}

            def start(transport: str = transport, environment: dict[str, Any] = environment) -> Server:
                return Stdio(handshake=False, **environment) if transport == "stdio" else Http(**environment)

            def ask_over_http(
                server: Any, batch: list[Request], http: httpx.Client = http
            ) -> list[tuple[Request, dict[str, Any]]]:
                return [(request, over_http(http, f"{server.root}/mcp", request)) for request in batch]

            asker = TaskAsker(start, over_stdio if transport == "stdio" else ask_over_http)
            try:
                schemas = {tool["name"]: tool["inputSchema"] for tool in asker.request("tools/list", {})["tools"]}
                stock = [asker.tool("generate_image", prompt=prompt) for prompt in STOCK]
                stock.append(asker.tool("generate_image", prompt="a batch", count=3))
                asker.task_ids = [task["taskId"] for task in stock]
                search(tally, task_requests(schemas, asker.task_ids), count, seed, asker)
                _compare_tasks(tally, asker)
                compare_answers(tally, served, folder / transport, asker.tool)
                asker.account(tally, served)
                account(tally, served, folder / transport)
            finally:
                asker.close()
        yield tally


def _compare_tasks(tally: Tally, asker: TaskAsker) -> None:
    """Every task has a generation, and those that are polled end with the answer that ``get_task`` gives."""
    tasks = sorted(asker.tasks)
    for number, task_id in enumerate(tasks):
        if number % max(1, len(tasks) // MAX_COMPARED) == 0:
            task = asker.ended(task_id)
            answers = [item.get("structuredContent", {}) for item in (task.get("result", {}), _now(asker, task_id))]
            states = [{key: answer.get(key) for key in ("task_id", "status", "images")} for answer in answers]
            if states[0] != states[1]:
                tally.wrong += 1
                tally.note(f"task {task_id} ends with {task}, get_task answers {states[1]}")
        answer = _now(asker, task_id)
        members = answer["_meta"].get(MEMBERS_META, [answer["structuredContent"]])
        asker.submitted.update(member["task_id"] for member in members)
    tally.figures["tasks"] = len(tasks)


def _now(asker: TaskAsker, task_id: str) -> dict[str, Any]:
    return asker.tool("get_task", task_id=task_id)
