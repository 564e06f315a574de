"""An exception of a background task is logged without its message and cancels no other task."""

from __future__ import annotations

import logging

import anyio
import pytest
import trio
import trio.testing

from nano_banana_mcp.common.supervise import PAUSE_SECONDS, log_exceptions, supervise
from nano_banana_mcp.defapi.errors import KeyMissing

PROMPT = "a secret lighthouse"


def test_failed_work_is_started_again_after_a_pause_until_it_is_cancelled() -> None:
    starts: list[float] = []

    async def work() -> None:
        starts.append(anyio.current_time())
        raise ValueError(PROMPT)

    async def run() -> bool:
        with anyio.move_on_after(3.5 * PAUSE_SECONDS) as scope:
            await supervise("the work", work, restarts=True)
        return scope.cancelled_caught

    assert trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [start - starts[0] for start in starts] == pytest.approx([PAUSE_SECONDS * count for count in range(4)])


async def test_work_that_returns_is_not_started_again() -> None:
    starts = 0

    async def work() -> None:
        nonlocal starts
        starts += 1

    await supervise("the work", work, restarts=True)
    assert starts == 1


async def test_a_failed_task_cancels_no_other_task_of_its_group() -> None:
    finished = anyio.Event()

    async def fail() -> None:
        raise ValueError(PROMPT)

    async def other() -> None:
        await anyio.wait_all_tasks_blocked()
        finished.set()

    async with anyio.create_task_group() as group:
        group.start_soon(supervise, "the failing work", fail)
        group.start_soon(other)
    assert finished.is_set()


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (OSError(PROMPT), "OSError at test_supervise.py:"),
        (ExceptionGroup(PROMPT, [ValueError(PROMPT), KeyError(PROMPT)]), "ValueError, KeyError"),
        (KeyMissing(PROMPT), "KeyMissing(status=None)"),
    ],
)
def test_the_log_names_the_class_and_the_line_of_an_error_but_never_its_message(
    error: Exception, description: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), log_exceptions("the work"):
        raise error
    assert f"the work failed: {description}" in caplog.text
    assert PROMPT not in caplog.text
