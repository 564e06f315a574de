"""A ledger in a dictionary, for tests on a virtual clock, where threads and files have no place."""

from __future__ import annotations

import anyio

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.quotas import Check


class DictLedger:
    """Keeps generations as the real ledgers do: an end, and a task id, are never overwritten."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.generations: dict[str, Generation] = {}

    async def begin(self, generation: Generation, check: Check | None = None) -> Generation:
        earlier = await self.find_request(generation.request_id or "", generation.api, generation.principal)
        if earlier is not None:
            return earlier
        await self.save(generation)
        return generation

    async def save(self, generation: Generation) -> Generation:
        earlier = self.generations.get(generation.generation_id)
        if earlier is None or generation.may_replace(earlier):
            self.generations[generation.generation_id] = generation
        return self.generations[generation.generation_id]

    async def amend(self, generation: Generation) -> None:
        self.generations[generation.generation_id] = generation

    async def forget(self, generation_id: str) -> None:
        self.generations.pop(generation_id, None)

    async def find(self, public_id: str, principal: str | None = None) -> Generation | None:
        matches = [
            generation
            for generation in self.generations.values()
            if public_id in (generation.generation_id, generation.task_id)
        ]
        matches.sort(key=lambda generation: principal is not None and generation.principal != principal)
        return matches[0] if matches else None

    async def find_request(self, request_id: str, api: str | None, principal: str = "") -> Generation | None:
        for generation in self.generations.values():
            if (generation.request_id, generation.api, generation.principal) == (request_id, api, principal):
                return generation
        return None

    async def find_batch(self, batch_id: str) -> list[Generation]:
        return [generation for generation in self.generations.values() if generation.batch_id == batch_id]

    async def open_tasks(self, since: float) -> list[Generation]:
        return [
            generation
            for generation in self.generations.values()
            if not generation.finished and generation.task_id and (generation.submitted_at or 0.0) > since
        ]

    async def build_indexes(self) -> None:
        await anyio.sleep_forever()

    async def acquire_sweep_lock(self) -> bool:
        return True

    async def probe(self) -> str | None:
        return self.problem

    async def tidy(self) -> None:
        """Nothing to tidy."""

    async def aclose(self) -> None:
        """Nothing to close."""
