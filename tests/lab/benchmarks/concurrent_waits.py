"""Lags of a hundred waits at once on a virtual clock, by the server's own waiter and callback tracker.

The API is in memory: it ends each task after its latency, and calls back at once, or never.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import cast

import anyio
import trio
import trio.testing

from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.tracking.callbacks import CallbackTracker
from nano_banana_mcp.tracking.refresh import TaskRefresher
from nano_banana_mcp.tracking.waiter import TaskWaiter

SIGMA = 0.5
ROUND_TRIP = 0.25
IMAGES = 100


@dataclass
class Api:
    """A refresher whose queries take :data:`ROUND_TRIP` and find what is true in its middle.

    Attributes:
        latencies: Seconds from time 0 to the end of each task, by generation id.
    """

    latencies: dict[str, float]
    callbacks: CallbackTracker
    queried_at: dict[str, float] = field(default_factory=dict)

    async def refresh(self, generation: Generation) -> Generation:
        """As :class:`TaskRefresher`."""
        await anyio.sleep(ROUND_TRIP / 2)
        has_ended = anyio.current_time() >= self.latencies[generation.generation_id]
        await anyio.sleep(ROUND_TRIP / 2)
        self.queried_at[generation.generation_id] = anyio.current_time()
        if not has_ended:
            return generation
        ended = replace(generation, status=Status.SUCCESS)
        self.callbacks.on_end(ended)
        return ended

    def seconds_since_query(self, generation: Generation) -> float | None:
        """As :class:`TaskRefresher`."""
        queried_at = self.queried_at.get(generation.generation_id)
        return None if queried_at is None else anyio.current_time() - queried_at


def lags_of_concurrent_waits(median: float, *, lost: int, seed: int) -> list[float]:
    """Wait for :data:`IMAGES` images that are submitted at the same time to a fresh server with callbacks.

    Args:
        median: Of the images' lognormal latencies, in seconds.
        lost: One callback in ``lost`` does not arrive; 0 if all arrive.

    Returns:
        Seconds from the end of each image until its wait returns.
    """
    dice = random.Random(seed)
    latencies = {f"in-{number}": median * math.exp(dice.gauss(0, SIGMA)) for number in range(IMAGES)}
    arrives = {name: lost == 0 or dice.randrange(lost) > 0 for name in latencies}
    lags: list[float] = []

    async def run() -> None:
        callbacks = CallbackTracker(lambda generation_id: generation_id)
        api = Api(latencies, callbacks)
        async with _waiter(api) as waiter, anyio.create_task_group() as group:

            async def wait(generation: Generation) -> None:
                result = await waiter.wait(generation, 100 * median)
                assert result.generation.finished
                lags.append(anyio.current_time() - latencies[generation.generation_id])

            async def call_back(generation: Generation) -> None:
                await anyio.sleep(latencies[generation.generation_id])
                pause = callbacks.received(generation)
                if pause is not None:
                    await anyio.sleep(pause)
                    waiter.on_change(await api.refresh(generation))

            for name, has_callback in arrives.items():
                generation = Generation(name, name, Status.PENDING, submitted_at=0.0, expects_callback=True)
                group.start_soon(wait, generation)
                if has_callback:
                    group.start_soon(call_back, generation)

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    return lags


@asynccontextmanager
async def _waiter(api: Api) -> AsyncIterator[TaskWaiter]:
    async with anyio.create_task_group() as tasks:
        yield TaskWaiter(cast(TaskRefresher, api), api.callbacks, tasks, anyio.current_time)
        tasks.cancel_scope.cancel()
