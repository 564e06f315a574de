"""A call that is repeated under its ``request_id`` after a crash, on a virtual clock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import anyio
import pytest
import trio
import trio.testing

from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import OutcomeUnknown
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.models import Status
from nano_banana_mcp.ledger.base import MemoryLedger
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.service.submission import OTHERS_SUBMIT_SECONDS


class _Api:
    """Takes every submit and never says so."""

    submits = 0

    async def submit(self, request: SubmitRequest, journal: Any, *, key: Any = None) -> str:
        await journal.before()
        self.submits += 1
        raise OutcomeUnknown("no answer")

    async def settled(self) -> None:
        """As the client's."""

    async def aclose(self) -> None:
        """As the client's."""


@pytest.mark.parametrize("off", [-3_600.0, 0.0, 3_600.0])
def test_a_repeated_call_learns_of_an_unknown_outcome_though_the_clock_was_put_back_or_forward(off: float) -> None:
    ledger, api, request = MemoryLedger(), _Api(), SubmitRequest(model="m", prompt="p")

    async def run() -> None:
        # The process of before ended amid its submit: there is neither an id nor a word about it.
        async with GenerationService.open(
            cast(DefapiClient, api), ledger, default_model="m", api="a", now=anyio.current_time
        ) as service:
            made = (await service.generate(request, request_id="r-1")).generation
        await ledger.save(replace(made, message=None))
        async with GenerationService.open(
            cast(DefapiClient, api), ledger, default_model="m", api="a", now=lambda: anyio.current_time() + off
        ) as service:
            with anyio.fail_after(2 * OTHERS_SUBMIT_SECONDS):
                again = (await service.generate(request, request_id="r-1")).generation
        assert again.generation_id == made.generation_id
        assert again.status is Status.UNKNOWN

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    assert api.submits == 1
