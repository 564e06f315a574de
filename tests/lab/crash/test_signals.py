"""SIGTERM under submits and waits, in both eras of the protocol. `make crash` sends twenty to each."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.support.signals import answers_at_a_signal

SIGNALS = 20 if "CRASH_ROUNDS" in os.environ else 1
CALLS = 7


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGTERM to handle")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_every_call_is_answered_whenever_the_server_is_stopped(mode: Any) -> None:
    for _ in range(SIGNALS):
        answers = await answers_at_a_signal(mode, CALLS)
        assert len(answers) == 2 * CALLS
        assert all(answer["task_id"] in answer["next_step"] for answer in answers)
        assert not any(answer["finished"] for answer in answers)
