"""Leases: which of several processes asks the API about a task.

A lease is the holder's name in the task's row, and is worth as much as the holder's own sign of life, one row for all
its leases: a heartbeat costs the same for one task as for a thousand, and a process that dies frees all of them. Each
take-over makes the row's fence grow, by which a write of a holder that was only asleep is told.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

LEASE_SECONDS = 10.0
HEARTBEAT_SECONDS = 3.0
MAX_FENCES = 10_000

ALIVE = (
    "INSERT INTO replicas (holder, alive_until) VALUES (:holder, now() + make_interval(secs => :seconds)) "
    "ON CONFLICT (holder) DO UPDATE SET alive_until = excluded.alive_until"
)
STILL_HELD = (
    "SELECT intent_id FROM generations WHERE intent_id = ANY(:held) AND lease_holder = :holder AND finished_at IS NULL"
)
TAKE = (
    "UPDATE generations SET lease_holder = :holder, lease_fence = lease_fence + 1 "
    "WHERE intent_id = :intent_id AND finished_at IS NULL AND (lease_holder IS NULL OR lease_holder = :holder "
    "OR lease_holder NOT IN (SELECT holder FROM replicas WHERE alive_until > now())) RETURNING lease_fence"
)
RELEASE = "UPDATE generations SET lease_holder = NULL WHERE intent_id = :intent_id AND lease_holder = :holder"
LEAVE = "DELETE FROM replicas WHERE holder = :holder OR alive_until < now() - interval '1 hour'"

Fetch = Callable[[str, dict[str, Any]], list[Any]]


class Leases:
    """The leases of this process, as far as it knows. Every method takes what runs a statement."""

    def __init__(self) -> None:
        self.holder = secrets.token_hex(8)
        self._held: set[str] = set()
        self._fences: dict[str, int] = {}
        self._alive_until = float("-inf")

    @property
    def alive(self) -> bool:
        """Whether the others take this process for alive."""
        return time.monotonic() < self._alive_until

    def holds(self, generation_id: str) -> bool:
        """Whether this process surely has the lease."""
        return self.alive and generation_id in self._held

    def fence(self, generation_id: str) -> int | None:
        """The fence of the lease that this process has, or had; None where it never had one."""
        return self._fences.get(generation_id)

    def take(self, fetch: Fetch, generation_id: str) -> bool:
        """Take the lease if it is free, its holder is gone, or it is ours."""
        if not self.alive:
            self.renew(fetch)
        taken = fetch(TAKE, {"intent_id": generation_id, "holder": self.holder})
        if not taken:
            return False
        if len(self._fences) > MAX_FENCES:
            self._fences = {kept: fence for kept, fence in self._fences.items() if kept in self._held}
        self._held.add(generation_id)
        self._fences[generation_id] = taken[0]["lease_fence"]
        return True

    def renew(self, fetch: Fetch) -> None:
        """Give a sign of life, and see which leases others have taken meanwhile."""
        began = time.monotonic()
        fetch(ALIVE, {"holder": self.holder, "seconds": LEASE_SECONDS})
        if self._held:
            rows = fetch(STILL_HELD, {"held": list(self._held), "holder": self.holder})
            self._held &= {row["intent_id"] for row in rows}
        self._alive_until = began + LEASE_SECONDS

    def release(self, fetch: Fetch, generation_id: str) -> None:
        """Let others take it."""
        if generation_id in self._held:
            self._held.discard(generation_id)
            fetch(RELEASE, {"intent_id": generation_id, "holder": self.holder})

    def leave(self, fetch: Fetch) -> None:
        """Let others take all of them."""
        self._held.clear()
        self._alive_until = float("-inf")
        fetch(LEAVE, {"holder": self.holder})

    def ended(self, generation_id: str) -> None:
        """Nobody needs to ask about it any more."""
        self._held.discard(generation_id)
        self._fences.pop(generation_id, None)
