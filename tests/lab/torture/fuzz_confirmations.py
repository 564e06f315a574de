"""Paid calls that a person must confirm: every way to answer, not to answer, and to answer wrongly, in both eras.

A case is a call with a prompt of its own. The sandbox counts what was submitted with it: exactly what was approved.
"""

from __future__ import annotations

import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from nano_banana_sandbox.sandbox import Sandbox
from tests.lab.torture.accounts import account
from tests.lab.torture.fuzz_requests import Request, bad_answer, over_http, over_stdio
from tests.lab.torture.processes import PATIENCE_SECONDS, WITH_FORMS, Gone, Http, Server, Stdio, api, sandbox
from tests.lab.torture.search import search
from tests.lab.torture.tally import Tally
from tests.lab.torture.values import ANYTHING, TEXTS

APPROVE: dict[str, Any] = {"action": "accept"}

HANDSHAKE_WAYS = ("once", "twice", "to another question", "error", "not", "after a cancellation", "no message")
"""Ways to answer a question that came as a request of the server."""

STATE_WAYS = (
    *("once", "twice", "at once", "approval afterwards", "not", "under another name"),
    *("without the state", "with a changed state", "with another call's state", "with other arguments"),
)
"""Ways to answer a question that came as the answer of the call."""

_PROMPT = re.compile(r"^Prompt: (.*)$", re.MULTILINE)
_NO_MESSAGES: tuple[dict[str, Any], ...] = ({}, {"result": None}, {"result": []}, {"result": {}, "error": 3})


@dataclass(frozen=True)
class Case:
    """One paid call and the person's answer.

    Attributes:
        count: Images that the call asks for.
        way: Of :data:`HANDSHAKE_WAYS` or :data:`STATE_WAYS`.
        answer: What the person answers, perhaps malformed.
        approved: Images that the answer approves.
        has_request_id: Whether the call has one.
    """

    count: int
    way: str
    answer: Any
    approved: int
    has_request_id: bool

    def arguments(self, prompt: str) -> dict[str, Any]:
        """Of the call."""
        request_id = {"request_id": prompt.replace(" ", "-")} if self.has_request_id else {}
        return {"prompt": prompt, "count": self.count, **request_id}


@st.composite
def cases(draw: st.DrawFn, ways: tuple[str, ...]) -> Case:
    """Calls with right, refusing and malformed answers."""
    count = draw(st.integers(1, 4))
    chosen = draw(st.integers(1, count))
    extra = draw(st.dictionaries(TEXTS.filter(lambda text: text != "count"), st.text(max_size=5), max_size=2))
    unusable: SearchStrategy[Any] = st.sampled_from([0, count + 1, -1, 1.5, "many", True, ["1"], {"count": 1}, 10**400])
    odd: SearchStrategy[Any] = st.one_of(
        st.dictionaries(TEXTS, ANYTHING, max_size=2),
        st.builds(lambda action: {"action": action}, ANYTHING.filter(lambda action: action != "accept")),
        st.sampled_from([{"action": "Accept"}, {"action": ["accept"]}, {"action": "accept", "content": "x"}]),
        st.sampled_from([{"content": {"count": 1}}, {"action": "decline", "content": {"count": 1}}]),
    )
    answer, approved = draw(
        st.one_of(
            st.just((APPROVE, count)),
            st.just(({**APPROVE, "content": extra}, count)),
            st.just(({**APPROVE, "content": {**extra, "count": chosen}}, chosen)),
            st.just(({**APPROVE, "content": {"count": str(chosen)}}, chosen)),
            st.sampled_from([({"action": "decline"}, 0), ({"action": "cancel"}, 0)]),
            unusable.map(lambda number: ({**APPROVE, "content": {"count": number}}, 0)),
            odd.map(lambda value: (value, 0)),
        ).filter(lambda drawn: _is_json(drawn[0]))
    )
    return Case(count, draw(st.sampled_from(ways)), answer, approved, draw(st.booleans()))


def _is_json(answer: Any) -> bool:
    """Whether the SDK reads it: it drops a message with half a surrogate pair, as if no person had answered."""
    try:
        json.dumps(answer, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


class Confirmer(ABC):
    """Makes the calls of a list of cases, answers the questions, and compares what was submitted.

    Args:
        start: Starts the server, again after a case that failed.
    """

    def __init__(self, start: Callable[[], Server], api: Sandbox) -> None:
        self._start = start
        self._api = api
        self._numbers = iter(range(1_000_000_000))
        self._server: Any = None
        self.approved = 0

    @abstractmethod
    def _confirm(self, cases: dict[str, Case]) -> tuple[str | None, dict[str, int]]:
        """Run cases, by their prompt. Returns what is wrong with an answer, and how many submits each may have."""

    def __call__(self, batch: list[Case]) -> str | None:
        """Run a list of cases, and return what went wrong."""
        self._server = self._server or self._start()
        by_prompt = {f"confirm {next(self._numbers)}": case for case in batch}
        try:
            why, expected = self._confirm(by_prompt)
            why = self._miscounted(by_prompt, expected) or why or self._server.unforeseen
        except Gone as error:
            why = self._server.describe(error)
        if why is not None:
            self.close()
        return why

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.__exit__()
            self._server = None

    def _miscounted(self, cases: dict[str, Case], expected: dict[str, int]) -> str | None:
        for prompt, case in cases.items():
            submits = self._api.stats.submits_by_prompt[prompt]
            self.approved += submits
            if submits != expected[prompt]:
                kind = "double" if submits > expected[prompt] > 0 else "wrong"
                return f"{kind}: {submits} submits instead of {expected[prompt]} for {case}"
        return None


class HandshakeConfirmer(Confirmer):
    """Over stdio with the handshake of 2025: the server sends its questions as requests of its own."""

    def _confirm(self, cases: dict[str, Case]) -> tuple[str | None, dict[str, int]]:
        server: Stdio = self._server
        calls = {server.number(): prompt for prompt in cases}
        numbers = {prompt: number for number, prompt in calls.items()}
        questioned: set[str] = set()

        def reply(message: dict[str, Any]) -> None:
            if message.get("method") != "elicitation/create":
                return
            match = _PROMPT.search(message["params"]["message"])
            if match is None or (prompt := match[1]) not in cases:
                raise Gone(f"a question about another call: {message}")
            questioned.add(prompt)
            server.send(self._replies(cases[prompt], message["id"], numbers[prompt]))

        server.send(_tool_call(number, cases[prompt].arguments(prompt)) for number, prompt in calls.items())
        answered = {number for number, prompt in calls.items() if _is_answered(cases[prompt])}
        answers = server.answers(answered, reply)
        until = time.monotonic() + PATIENCE_SECONDS
        while questioned != cases.keys():
            if time.monotonic() > until:
                raise Gone(f"no question for {sorted(cases.keys() - questioned)}")
            number = server.number()
            server.send([{"jsonrpc": "2.0", "id": number, "method": "ping"}])
            server.answers([number], reply)
        problems = [bad_answer(("tools/call", {"name": "generate_image"}), answer) for answer in answers.values()]
        expected = {prompt: _handshake_submits(case) for prompt, case in cases.items()}
        return next(filter(None, problems), None), expected

    @staticmethod
    def _replies(case: Case, question: Any, call: int) -> list[dict[str, Any]]:
        answer = {"jsonrpc": "2.0", "id": question, "result": case.answer}
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": call}}
        match case.way:
            case "once":
                return [answer]
            case "twice":
                return [answer, {**answer, "result": APPROVE}]
            case "to another question":
                return [{**answer, "id": 10**9, "result": APPROVE}, {**answer, "id": f"not {question}"}, cancelled]
            case "error":
                return [{"jsonrpc": "2.0", "id": question, "error": {"code": -1, "message": "no person here"}}]
            case "after a cancellation":
                return [cancelled, {**answer, "result": APPROVE}]
            case "no message":
                odd = [{"jsonrpc": "2.0", "id": question, **message} for message in _NO_MESSAGES]
                return [*odd, cancelled]
            case _:
                return [cancelled]


def _is_answered(case: Case) -> bool:
    return case.way in ("once", "twice", "error") and isinstance(case.answer, dict)


def _handshake_submits(case: Case) -> int:
    return case.approved if case.way in ("once", "twice") else 0


class StateConfirmer(Confirmer):
    """With 2026-07-28: the question is the answer of the call, which is repeated with the person's and a state."""

    def __init__(self, start: Callable[[], Server], api: Sandbox, ask: Callable[[Any, list[Request]], Any]) -> None:
        super().__init__(start, api)
        self._ask = ask

    def _confirm(self, cases: dict[str, Case]) -> tuple[str | None, dict[str, int]]:
        stray = f"stray {next(self._numbers)}"
        stray_call = {"prompt": stray, "count": 1}
        calls = [
            _call(arguments) for arguments in (stray_call, *(case.arguments(name) for name, case in cases.items()))
        ]
        questions = [answer.get("result", {}) for _, answer in self._ask(self._server, calls)]
        if unasked := [item for item in questions if item.get("resultType") != "input_required"]:
            return f"wrong: it does not ask: {unasked[0]}", dict.fromkeys(cases, 0)
        other_state, *states = (item["requestState"] for item in questions)
        rounds = [
            self._repeats(case, case.arguments(prompt), state, other_state)
            for (prompt, case), state in zip(cases.items(), states, strict=True)
        ]
        answers: list[tuple[Request, dict[str, Any]]] = []
        for turn in range(3):
            sent = [request for repeats in rounds if turn < len(repeats) for request in repeats[turn]]
            answers += self._ask(self._server, sent) if sent else []
        why = next(filter(None, (bad_answer(request, answer) for request, answer in answers)), None)
        expected = {prompt: _state_submits(case) for prompt, case in cases.items()}
        others = [self._api.stats.submits_by_prompt[prompt] for prompt in (stray, "another prompt")]
        return (f"wrong: {others} submits without an approval" if any(others) else why), expected

    @staticmethod
    def _repeats(case: Case, arguments: dict[str, Any], state: str, other_state: str) -> list[list[Request]]:
        """The repetitions of a call: those of each inner list are sent at once."""
        answered = {"requestState": state, "inputResponses": {"confirmation": case.answer}}
        right = _call(arguments, **answered)
        approval = _call(arguments, requestState=state, inputResponses={"confirmation": APPROVE})
        match case.way:
            case "once":
                return [[right]]
            case "twice":
                return [[right], [right], [right]]
            case "at once":
                return [[right] * 3]
            case "approval afterwards":
                return [[right], [approval], [approval]]
            case "not":
                return [[_call(arguments, requestState=state, inputResponses={})], [_call(arguments)]]
            case "under another name":
                return [[_call(arguments, requestState=state, inputResponses={"upload": APPROVE, "": APPROVE})]]
            case "without the state":
                return [[_call(arguments, inputResponses={"confirmation": APPROVE})]]
            case "with a changed state":
                changed = [state[:-1] + ("A" if state[-1] != "A" else "B"), state[:40], "", json.dumps({"count": 1})]
                return [[_call(arguments, **{**answered, "requestState": item}) for item in changed]]
            case "with another call's state":
                return [[_call(arguments, **{**answered, "requestState": other_state})]]
            case _:
                others = {**arguments, "prompt": "another prompt"}, {**arguments, "count": case.count % 4 + 1}
                return [
                    [_call(other, requestState=state, inputResponses={"confirmation": APPROVE}) for other in others]
                ]


def _state_submits(case: Case) -> int:
    if case.way == "approval afterwards":
        return case.approved or case.count
    return case.approved if case.way in ("once", "twice", "at once") else 0


def _call(arguments: dict[str, Any], **more: Any) -> Request:
    return "tools/call", {"name": "generate_image", "arguments": arguments, "_meta": WITH_FORMS, **more}


def _tool_call(number: int, arguments: dict[str, Any]) -> dict[str, Any]:
    params = {"name": "generate_image", "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def fuzz_confirmations(folder: Path, counts: dict[str, int], seed: int) -> Iterator[Tally]:
    """Fuzz confirmations.

    Args:
        counts: Cases by part: "2025 over stdio", "2026 over stdio", "2026 over HTTP".
    """
    for part, count in counts.items():
        tally = Tally(f"fuzz: confirmation, {part}")
        with sandbox(seconds=0) as served, httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS) as http:
            environment = {"folder": folder / part, **api(served.url, NANO_BANANA_CONFIRM="always")}

            def ask_over_http(server: Any, batch: list[Request], http: httpx.Client = http) -> Any:
                return [(request, over_http(http, f"{server.root}/mcp", request)) for request in batch]

            def start(part: str = part, environment: dict[str, Any] = environment) -> Server:
                if part.endswith("HTTP"):
                    return Http(**environment)
                is_old = part.startswith("2025")
                return Stdio(handshake=is_old, forms=is_old, **environment)

            confirmer: Confirmer
            if part.startswith("2025"):
                confirmer = HandshakeConfirmer(start, served)
                searched = cases(HANDSHAKE_WAYS)
            else:
                confirmer = StateConfirmer(start, served, ask_over_http if part.endswith("HTTP") else over_stdio)
                searched = cases(STATE_WAYS)
            try:
                search(tally, searched, count, seed, confirmer)
                account(tally, served, folder / part)
            finally:
                confirmer.close()
        tally.figures["approved"] = confirmer.approved
        yield tally
