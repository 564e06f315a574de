"""Submit, crash, restart, callback, replay, query, cancel, in any order: nothing charged is ever unaccounted for."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from pydantic import SecretStr

from nano_banana_mcp.app import compose_service
from nano_banana_mcp.defapi import retry
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import DefapiError
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.quotas import Check
from nano_banana_mcp.ledger.async_ledger import DurableLedger
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.service.submission import RequestIdTaken
from nano_banana_mcp.settings import load_settings
from nano_banana_sandbox.sandbox import Sandbox
from tests.support.sandbox import plain_sandbox

FAULTS = ["", "503*1", "400", "reset-before", "reset-after", "html", "truncated", "flat"]
POINTS = ["before the record", "after the record", "before the id", "after the id"]


class Killed(BaseException):
    """Stands for a process that is gone; the real thing is in rounds.py."""


class DyingLedger(DurableLedger):
    """Dies at one point of a submit."""

    def __init__(self, folder: Path, point: str | None) -> None:
        super().__init__(folder)
        self._point = point

    async def begin(self, generation: Generation, check: Check | None = None) -> Generation:
        self._die("before the record")
        recorded = await super().begin(generation, check)
        self._die("after the record")
        return recorded

    async def save(self, generation: Generation) -> Generation:
        self._die("before the id")
        recorded = await super().save(generation)
        self._die("after the id")
        return recorded

    def _die(self, point: str) -> None:
        if self._point == point:
            raise Killed


class Machine(RuleBasedStateMachine):
    """Every step is a server of its own: it starts, does one thing, and ends or dies."""

    sandbox: Sandbox
    number = 0

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nano-banana-test-"))
        self.prompts: set[str] = set()
        self.ends: dict[str, Status] = {}

    def serve(self, use: Callable[[GenerationService], Awaitable[Any]], point: str | None = None) -> Any:
        async def main() -> Any:
            client = DefapiClient(self.sandbox.url, SecretStr("dk-state"))
            settings = load_settings(state_dir=self.folder)
            ledger = DyingLedger(self.folder, point)
            async with compose_service(settings, client, ledger, api=self.sandbox.url) as service:
                return await use(service)

        try:
            return anyio.run(main)
        except BaseExceptionGroup as group:
            unexpected = group.split((DefapiError, RequestIdTaken, Killed))[1]
            if unexpected is not None:
                raise unexpected from None
            return None

    def new_prompt(self, fault: str) -> str:
        Machine.number += 1
        words = f" sandbox:submit={fault}" if fault else ""
        prompt = f"picture {Machine.number} sandbox:seconds=0{words}"
        self.prompts.add(prompt)
        return prompt

    @rule(fault=st.sampled_from(FAULTS))
    def submit(self, fault: str) -> None:
        request = SubmitRequest(model="m", prompt=self.new_prompt(fault))
        self.serve(lambda service: service.generate(request))

    @rule(request_id=st.sampled_from(["one", "two"]), fault=st.sampled_from(["", "reset-after"]))
    def submit_again_under_a_request_id(self, request_id: str, fault: str) -> None:
        words = f" sandbox:submit={fault}" if fault else ""
        prompt = f"{self.folder.name} {request_id} sandbox:seconds=0{words}"
        self.prompts.add(prompt)
        request = SubmitRequest(model="m", prompt=prompt)
        self.serve(lambda service: service.generate(request, request_id=request_id))

    @rule(point=st.sampled_from(POINTS))
    def submit_and_die(self, point: str) -> None:
        request = SubmitRequest(model="m", prompt=self.new_prompt(""))
        self.serve(lambda service: service.generate(request), point)

    @rule(patience=st.floats(0, 0.02))
    def submit_and_leave(self, patience: float) -> None:
        request = SubmitRequest(model="m", prompt=self.new_prompt(""))

        async def leave(service: GenerationService) -> None:
            with anyio.move_on_after(patience):
                await service.generate(request)

        self.serve(leave)

    # Which rows there are depends on how fast a submit was: what hypothesis draws must not depend on them.
    @rule(number=st.integers(0, 99))
    def look(self, number: int) -> None:
        generations = self.ledger()
        if generations:
            public_id = generations[number % len(generations)].public_id
            self.serve(lambda service: service.get(public_id))

    @rule(number=st.integers(0, 99))
    def a_callback_comes_perhaps_again(self, number: int) -> None:
        charged = self.charged()
        generations = [item for item in self.ledger() if item.prompt in charged]
        if generations:
            item = generations[number % len(generations)]
            task_id = charged[item.prompt or ""]

            async def call_back(service: GenerationService) -> Generation | None:
                assert await service.refresher.called_back(item.generation_id, task_id)
                with anyio.fail_after(60):
                    while (generation := await service.ledger.find(task_id)) is None:
                        await anyio.sleep(0.01)
                return generation

            settled = self.serve(call_back)
            assert settled.task_id == task_id

    @invariant()
    def nothing_that_was_charged_is_unaccounted_for(self) -> None:
        if not hasattr(self, "folder"):
            return
        generations = self.ledger()
        by_prompt = {item.prompt: item for item in generations}
        for prompt, task_id in self.charged().items():
            assert prompt in by_prompt, f"{prompt} was charged and is lost"
            assert by_prompt[prompt].task_id in (task_id, None)
        assert len(by_prompt) == len(generations), "two rows for one generation"

    @invariant()
    def no_generation_has_two_submits_that_may_have_arrived(self) -> None:
        if not hasattr(self, "folder"):
            return
        posts = self.sandbox.stats.submits_by_prompt
        for prompt in self.prompts:
            assert posts.get(prompt, 0) <= (2 if "503*1" in prompt else 1), prompt

    @invariant()
    def an_end_never_changes(self) -> None:
        if not hasattr(self, "folder"):
            return
        for item in self.ledger():
            if item.finished:
                assert self.ends.setdefault(item.generation_id, item.status) is item.status

    def ledger(self) -> list[Generation]:
        ledger = SqliteLedger(self.folder)
        try:
            return ledger.recent(1_000)
        finally:
            ledger.close()

    def charged(self) -> dict[str, str]:
        return {task.prompt: task.id for task in self.sandbox.tasks if task.prompt in self.prompts}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(plain_sandbox()) as sandbox:
        yield sandbox


def test_nothing_is_lost_or_paid_twice_in_any_order_of_events(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "MIN_CEILING_SECONDS", 0.0)
    monkeypatch.setattr("nano_banana_mcp.service.submission.FOREIGN_SUBMIT_SECONDS", 0.0)
    Machine.sandbox = sandbox
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=10, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
