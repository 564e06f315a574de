"""Whole requests with odd contents: every tool from its own schema, and every other method, in both eras."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_tools.results import MEMBERS_META
from tests.lab.torture.accounts import account, compare_answers
from tests.lab.torture.processes import META, NEW, PATIENCE_SECONDS, Gone, Http, Server, Stdio, api, sandbox, text_of
from tests.lab.torture.search import search
from tests.lab.torture.tally import Tally
from tests.lab.torture.values import ANYTHING, TEXTS, by, spoiled, tried

Request = tuple[str, Any]

# What unhandled exceptions become on the wire.
_INTERNAL = {-32603, 0}
_BARE = re.compile(r"Error executing tool|Traceback|Error: |Exception")
_ABOUT_MONEY = re.compile(
    r"[Nn]othing was (sent|charged)|[Nn]ot charged|may have been charged|charged twice|was charged|costs nothing"
)
MAX_TEXT_CHARACTERS = 5_000

STOCK = ("a cat", "four sandbox:result=many", "kept sandbox:result=data-uri", "none sandbox:result=text")
"""Prompts of the images that exist before the first case."""


def tool_calls(schemas: dict[str, dict[str, Any]], task_ids: list[str]) -> SearchStrategy[Request]:
    """Calls of every tool, from its own schema. The pictures of ``task_ids`` are there."""
    ours = st.sampled_from(task_ids)
    uris = ours.map(lambda task_id: f"nanobanana://tasks/{task_id}/images/0")
    by_name: dict[str, SearchStrategy[Any]] = {
        "task_id": ours,
        "prompt": st.one_of(TEXTS, st.text(min_size=1, max_size=300)),
        "number": st.integers(0, 3),
        "images": st.one_of(
            uris, st.sampled_from(["https://pictures.invalid/a.png", "data:image/png;base64,iVBORw0KGgo="])
        ),
        "aspect_ratio": st.sampled_from(["1:1", "16:9", "auto", ""]),
        "image_size": st.sampled_from(["1k", "2K", "4k", ""]),
        "model": st.sampled_from(["google/gempix2", "google/nano-banana-pro", ""]),
        "callback_url": st.sampled_from(["https://hooks.example.com/x", ""]),
        "request_id": st.text("abc", min_size=1, max_size=8),
        "timeout_seconds": st.sampled_from([1, 1.5, 240]),
        "wait_seconds": st.sampled_from([0, 0.001, 0.3]),
        # Of a picture that is looked at, the size is what starts a process: few sizes, so that most are kept already.
        "max_side": st.sampled_from([64, 1024, 2048]),
    }

    def of(name: str) -> SearchStrategy[Request]:
        return tried(by(schemas[name], by_name)).map(
            lambda arguments: ("tools/call", {"name": name, "arguments": arguments})
        )

    # view_image and read_picture may start a process each: the others are tried more often.
    often = [name for name in schemas if name not in ("view_image", "read_picture")]
    strange = st.tuples(
        st.just("tools/call"),
        tried(
            st.fixed_dictionaries({"name": st.one_of(TEXTS, st.sampled_from(sorted(schemas))), "arguments": ANYTHING})
        ),
    )
    return st.one_of(*(of(name) for name in [*often * 12, *schemas]), strange)


def other_requests(task_ids: list[str], prompts: dict[str, list[str]]) -> SearchStrategy[Request]:
    """Every other method, known and unknown, with right and wrong parameters."""
    ours = st.sampled_from(task_ids)
    uris = st.one_of(
        TEXTS,
        st.just("nanobanana://tasks"),
        ours.map("nanobanana://tasks/{}".format),
        st.builds(
            "nanobanana://tasks/{}/images/{}".format, st.one_of(ours, TEXTS), st.one_of(st.integers(-1, 4), TEXTS)
        ),
        st.builds("nanobanana://{}/{}".format, TEXTS, TEXTS),
        st.builds("{}://{}".format, st.sampled_from(["http", "https", "file", "data", "ui", "NANOBANANA", ""]), TEXTS),
    )
    name = st.one_of(st.sampled_from(sorted(prompts)), TEXTS)
    argument = st.one_of(st.sampled_from(sorted({item for names in prompts.values() for item in names})), TEXTS)
    words = st.one_of(TEXTS, ours, ours.map("nanobanana://tasks/{}/images/0, ".format))
    filled = st.dictionaries(argument, words, max_size=6)
    reference = st.one_of(
        st.builds(lambda given: {"type": "ref/prompt", "name": given}, name),
        st.sampled_from(
            [
                {"type": "ref/resource", "uri": "nanobanana://tasks/{task_id}"},
                {"type": "ref/resource", "uri": "nanobanana://tasks/{task_id}/images/{n}"},
            ]
        ),
        st.builds(lambda uri: {"type": "ref/resource", "uri": uri}, uris),
        ANYTHING,
    )
    argument_values = st.builds(
        lambda item, value: {"name": item, "value": value},
        st.one_of(argument, st.sampled_from(["task_id", "n"])),
        words,
    )
    context = st.builds(
        lambda given: {"arguments": given}, st.one_of(filled, st.builds(lambda task_id: {"task_id": task_id}, ours))
    )
    only_uri = st.fixed_dictionaries({"uri": uris})
    cursor: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({}, optional={"cursor": TEXTS})
    shapes: list[tuple[str, SearchStrategy[dict[str, Any]]]] = [
        ("resources/read", only_uri),
        ("resources/read", only_uri),
        ("resources/read", only_uri),
        ("resources/subscribe", only_uri),
        ("resources/unsubscribe", only_uri),
        ("prompts/get", st.fixed_dictionaries({"name": name}, optional={"arguments": filled})),
        ("prompts/get", st.fixed_dictionaries({"name": name}, optional={"arguments": filled})),
        (
            "completion/complete",
            st.fixed_dictionaries({"ref": reference, "argument": argument_values}, optional={"context": context}),
        ),
        (
            "completion/complete",
            st.fixed_dictionaries({"ref": reference, "argument": argument_values}, optional={"context": context}),
        ),
        ("tools/list", cursor),
        ("prompts/list", cursor),
        ("resources/list", cursor),
        ("resources/templates/list", cursor),
        ("ping", st.just({})),
        ("server/discover", st.just({})),
        (
            "logging/setLevel",
            st.fixed_dictionaries({"level": st.one_of(st.sampled_from(["debug", "emergency"]), TEXTS)}),
        ),
    ]
    by_name = [st.tuples(st.just(method), params) for method, params in shapes]
    wrong = [st.tuples(st.just(method), st.one_of(spoiled(params), ANYTHING)) for method, params in shapes]
    unknown = st.tuples(
        st.one_of(TEXTS, st.sampled_from(["tasks/get", "sampling/createMessage", "initialise", "rpc.discover"])),
        ANYTHING,
    )
    return st.one_of(*by_name, *wrong, unknown)


def bad_answer(request: Request, answer: dict[str, Any]) -> str | None:
    """What is wrong with an answer, whatever was asked."""
    method, params = request
    if ("result" in answer) == ("error" in answer):
        return f"neither an answer nor an error: {answer}"
    if "error" in answer:
        error = answer["error"]
        if not isinstance(error.get("message"), str) or not isinstance(error.get("code"), int):
            return f"an error of another shape: {error}"
        return f"an internal error: {error}" if error["code"] in _INTERNAL else None
    if method != "tools/call":
        return None
    result, text = answer["result"], text_of(answer["result"])
    if len(text) > MAX_TEXT_CHARACTERS:
        return f"a text of {len(text)} characters"
    if result.get("isError"):
        if not text or _BARE.search(text):
            return f"an error without words: {text!r}"
        if isinstance(params, dict) and params.get("name") == "generate_image" and not _ABOUT_MONEY.search(text):
            return f"an error that does not say whether credits may be gone: {text!r}"
    return None


class Asker:
    """Sends requests to a server, which is started again after it has ended.

    Attributes:
        submitted: Task ids that ``generate_image`` returned.
        tasks: Ids of the MCP tasks that it returned in their place.
        unclear: Answers of ``generate_image`` that say that the image may have been charged.
        has_gaps: Whether the server ended while answers were missing.
    """

    def __init__(
        self, start: Callable[[], Any], ask: Callable[[Any, list[Request]], list[tuple[Request, dict[str, Any]]]]
    ) -> None:
        self._start = start
        self._ask = ask
        self.server: Any = None
        self.submitted: set[str] = set()
        self.tasks: set[str] = set()
        self.unclear = 0
        self.has_gaps = False

    def __call__(self, batch: list[Request]) -> str | None:
        why = None
        try:
            for request, answer in self._ask(self._running(), batch):
                self._note(request, answer)
                why = why or self.problem(request, answer)
            why = why or self.server.unforeseen
        except Gone as error:
            self.has_gaps = True
            why = self.server.describe(error)
        if why is not None:
            self.close()
        return why

    def problem(self, request: Request, answer: dict[str, Any]) -> str | None:
        """What is wrong with an answer."""
        return bad_answer(request, answer)

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send one valid request and return its result."""
        request = (method, params)
        [(_, answer)] = self._ask(self._running(), [request])
        self._note(request, answer)
        result: dict[str, Any] = answer["result"]
        return result

    def tool(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool with valid arguments and return its result."""
        return self.request("tools/call", {"name": name, "arguments": arguments})

    def account(self, tally: Tally, sandbox: Sandbox) -> None:
        """Compare the answers of ``generate_image`` with the tasks that were charged."""
        charged = {task.id for task in sandbox.tasks}
        for task_id in self.submitted - charged:
            tally.wrong += 1
            tally.note(f"task {task_id}: answered, never charged")
        silent = charged - self.submitted
        if not self.has_gaps and len(silent) > self.unclear:
            tally.wrong += len(silent) - self.unclear
            tally.note(f"charged without an answer that says so: {sorted(silent)}")

    def close(self) -> None:
        """End the server."""
        if self.server is not None:
            self.server.__exit__()
            self.server = None

    def _running(self) -> Any:
        if self.server is None:
            self.server = self._start()
        return self.server

    def _note(self, request: Request, answer: dict[str, Any]) -> None:
        method, params = request
        if method != "tools/call" or not isinstance(params, dict) or params.get("name") != "generate_image":
            return
        result = answer.get("result", {})
        if "task_id" in (facts := result.get("structuredContent") or {}):
            generations = result.get("_meta", {}).get(MEMBERS_META, [facts])  # of a batch, each is a task
            self.submitted.update(generation["task_id"] for generation in generations)
        elif result.get("resultType") == "task":
            self.tasks.add(result["taskId"])
        elif "may have been charged" in text_of(result):
            self.unclear += 1


def over_stdio(server: Stdio, batch: list[Request]) -> list[tuple[Request, dict[str, Any]]]:
    """All at once, and then the answers, in whatever order they come."""
    numbered = {server.number(): request for request in batch}
    server.send(
        {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        for number, (method, params) in numbered.items()
    )
    answers = server.answers(numbered)
    return [(request, answers[number]) for number, request in numbered.items()]


def over_http(http: httpx.Client, url: str, request: Request) -> dict[str, Any]:
    """One request of the newer era, which has no session, and the last message of its answer."""
    method, params = request
    named = {**params, "_meta": META} if isinstance(params, dict) and "_meta" not in params else params
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": named}).encode()
    headers = {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": NEW,
        "Mcp-Method": _in_header(method),
    }
    if isinstance(params, dict) and isinstance(
        name := params.get("name", params.get("uri", params.get("taskId"))), str
    ):
        headers["Mcp-Name"] = _in_header(name)
    try:
        answer = http.post(url, content=body, headers=headers)
    except httpx.HTTPError as error:
        raise Gone(f"no answer over HTTP: {error!r}") from error
    if answer.status_code >= 500:
        return {"error": {"code": -32603, "message": f"HTTP {answer.status_code}: {answer.text[:500]}"}}
    text = answer.text
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        text = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")][-1]
    try:
        message: dict[str, Any] = json.loads(text)
    except ValueError:
        raise Gone(f"no JSON over HTTP: {answer.status_code} {text[:300]!r}") from None
    return message


def _in_header(text: str) -> str:
    """As it would be for a plain name; the server has to bear whatever differs from the body."""
    return "".join(letter for letter in text if letter.isascii() and letter.isprintable()).strip()[:500]


def fuzz(folder: Path, counts: dict[str, int], seed: int) -> Iterator[Tally]:
    """Fuzz both protocol eras: the older over stdio, the newer over HTTP.

    Args:
        counts: Cases by part: "tools over stdio", "methods over HTTP" and so on.
    """
    for era in ("stdio", "HTTP"):
        parts = {part: count for part, count in counts.items() if part.endswith(f" over {era}")}
        yield from _fuzz_era(folder / era, era, parts, seed)


def _fuzz_era(folder: Path, era: str, counts: dict[str, int], seed: int) -> Iterator[Tally]:
    """Run the parts of one era against one server; the last tally holds the comparison with the API."""
    with sandbox(seconds=0) as served, httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS) as http:
        environment = api(served.url)

        def start() -> Server:
            return Stdio(folder=folder, **environment) if era == "stdio" else Http(folder=folder, **environment)

        def ask_over_http(server: Any, batch: list[Request]) -> list[tuple[Request, dict[str, Any]]]:
            return [(request, over_http(http, f"{server.root}/mcp", request)) for request in batch]

        asker = Asker(start, over_stdio if era == "stdio" else ask_over_http)
        try:
            schemas = {tool["name"]: tool["inputSchema"] for tool in asker.request("tools/list", {})["tools"]}
            prompts = {
                prompt["name"]: [argument["name"] for argument in prompt["arguments"]]
                for prompt in asker.request("prompts/list", {})["prompts"]
            }
            task_ids = [asker.tool("generate_image", prompt=prompt)["structuredContent"]["task_id"] for prompt in STOCK]
            for part, count in counts.items():
                tally = Tally(f"fuzz: {part}")
                is_tools = part.startswith("tools")
                cases = tool_calls(schemas, task_ids) if is_tools else other_requests(task_ids, prompts)
                search(tally, cases, count, seed, asker)
                if part == list(counts)[-1]:
                    compare_answers(tally, served, folder, asker.tool)
                    asker.account(tally, served)
                    account(tally, served, folder)
                yield tally
        finally:
            asker.close()
