"""What a ledger in a database does, whichever database it is.

Synchronous, and to be used from one thread at a time; :mod:`nano_banana_mcp.ledger.async_ledger` sees to both.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, ClassVar, TypedDict, Unpack

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.quotas import Check, Usage, counted_since, usage_of
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.base import MAX_LATENCIES, latency, met_elsewhere
from nano_banana_mcp.ledger.rows import SELECT, UPSERT, from_row, to_row

Values = Mapping[str, Any]


class Filters(TypedDict, total=False):
    """Which generations are meant: those that fit every filter given.

    ``search`` is text in the prompt; upper and lower case are one for ASCII letters, at least. ``since`` is Unix time.
    """

    status: str | None
    model: str | None
    search: str | None
    since: float | None
    principal: str | None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many generations there are, and the credits that the API says they consumed; the sandbox's cost nothing."""

    number: int
    credits: Decimal


class SqlLedger(ABC):
    """One connection to a ledger. Values stand in the SQL as ``:name``.

    Raises:
        LedgerError: the database cannot be used; so do all methods.

    Attributes:
        read_only: Whether it can only be read.
        still_there: Whether what was opened is still where it was.
        lost: Whether the connection broke while it was used: the same work may do better on a new one.
    """

    read_only = False
    lost = False

    _BEGIN: ClassVar[str]
    _POSITION: ClassVar[str]
    """The function that finds a text in another."""

    @property
    def still_there(self) -> bool:
        """See above."""
        return True

    @abstractmethod
    def check(self) -> str:
        """In words, how the database is. Raises where it is spoiled."""

    @abstractmethod
    def probe(self) -> None:
        """Write something that changes nothing. Raises where nothing can be written."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def begin(self, intent: Generation, check: Check | None = None) -> Generation:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        with self._transaction():
            self._serialise(intent, check)
            if intent.request_id is not None:
                earlier = self.find_request(intent.request_id, intent.api, intent.principal)
                if earlier is not None:
                    return earlier
            if check is not None:
                check(lambda principal: self._usage(principal, intent))
            self._write(intent, {})
        return intent

    def save(self, generation: Generation, encoded_images: dict[int, EncodedImage] | None = None) -> Generation:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`. Returns it as it stands beside what was there."""
        with self._transaction():
            kept = self._only_one(generation)
            self._write(kept, encoded_images or {})
            self._run(
                "INSERT INTO images (url, intent_id) VALUES (:url, :intent_id) ON CONFLICT DO NOTHING",
                [{"url": image.url, "intent_id": kept.generation_id} for image in kept.images if image.url is not None],
            )
        return kept

    def forget(self, generation_id: str) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        with self._transaction():
            self._run(
                "DELETE FROM generations WHERE intent_id = :intent_id AND task_id IS NULL",
                [{"intent_id": generation_id}],
            )

    def find(self, public_id: str) -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self._one(
            "WHERE task_id = :handle OR intent_id = :handle ORDER BY submitted_at IS NULL, created_at DESC",
            handle=public_id,
        )

    def find_request(self, request_id: str, api: str | None, principal: str = "") -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self._one(
            f"WHERE request_id = :request_id AND {_is('api', api)} AND principal = :principal",
            request_id=request_id,
            api=api,
            principal=principal,
        )

    def find_image(self, url: str, principal: str = "") -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self._one(
            "WHERE intent_id IN (SELECT intent_id FROM images WHERE url = :url) AND principal = :principal",
            url=url,
            principal=principal,
        )

    @abstractmethod
    def encoded(self, generation_id: str, number: int) -> EncodedImage | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""

    def recent(self, limit: int, principal: str = "", search: str | None = None) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        where, values = self._fitting({"search": search})
        return self._all(
            f"{where} AND principal = :principal ORDER BY created_at DESC LIMIT :limit",
            **values,
            principal=principal,
            limit=limit,
        )

    def open_tasks(self, since: float) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self._all(
            "WHERE finished_at IS NULL AND task_id IS NOT NULL AND submitted_at > :since ORDER BY submitted_at",
            since=since,
        )

    def history(self, *, limit: int | None = None, offset: int = 0, **filters: Unpack[Filters]) -> list[Generation]:
        """All that fit, newest first; where there is a ``limit``, at most so many after the first ``offset``."""
        where, values = self._fitting(filters)
        page = "" if limit is None else " LIMIT :limit OFFSET :offset"
        return self._all(f"{where} ORDER BY created_at DESC, intent_id{page}", **values, limit=limit, offset=offset)

    def tally(self, **filters: Unpack[Filters]) -> Tally:
        """How many fit, and what they cost."""
        where, values = self._fitting(filters)
        rows = self._fetch(
            "SELECT count(*) AS number, api = 'sandbox' AS free, credits_consumed "  # noqa: S608 - our own conditions
            f"FROM generations {where} GROUP BY api = 'sandbox', credits_consumed",
            values,
        )
        paid = (row["number"] * Decimal(row["credits_consumed"] or 0) for row in rows if not row["free"])
        return Tally(sum(row["number"] for row in rows), sum(paid, Decimal(0)))

    def models(self) -> list[str]:
        """The names of all models that were asked, in order."""
        rows = self._fetch("SELECT DISTINCT model FROM generations WHERE model IS NOT NULL ORDER BY model")
        return [row["model"] for row in rows]

    def delete(self, generation_id: str, *, unfinished: bool = False) -> Generation | None:
        """Drop a generation and the pictures kept for it. Returns what went.

        Args:
            unfinished: Whether to drop it, too, if its end is not known: what was paid for may then be found no more.
        """
        with self._transaction():
            known = self._one("WHERE intent_id = :intent_id", intent_id=generation_id)
            if known is None or not (known.finished or unfinished):
                return None
            self._run("DELETE FROM generations WHERE intent_id = :intent_id", [{"intent_id": generation_id}])
        self._pruned([generation_id])
        return known

    def _fitting(self, filters: Filters) -> tuple[str, Values]:
        conditions = {
            "status": "status = :status",
            "model": "model = :model",
            "search": f"{self._POSITION}(lower(prompt), lower(:search)) > 0",
            "since": "created_at >= :since",
            "principal": "principal = :principal",
        }
        given = {name: value for name, value in filters.items() if value is not None}
        return f"WHERE {' AND '.join(['TRUE', *(conditions[name] for name in given)])}", given

    def unfinished(self) -> list[Generation]:
        """All whose end is not known, oldest first."""
        return self._all("WHERE finished_at IS NULL ORDER BY created_at")

    def latencies(self, model: str, api: str | None) -> list[float]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        latest = self._all(
            f"WHERE model = :model AND {_is('api', api)} AND status = 'success' ORDER BY finished_at DESC LIMIT :most",
            model=model,
            api=api,
            most=MAX_LATENCIES,
        )
        return [seconds for known in latest if (seconds := latency(known)) is not None]

    def prune(self, *, older_than: float | None = None, most_bytes: int | None = None) -> int:
        """Drop finished generations that ended before ``older_than`` (Unix time), then the oldest finished ones
        until the ledger's pictures take no more than ``most_bytes``. Returns how many went; none where another
        process is at it."""
        with self._transaction():
            if not self._prunes_alone():
                return 0
            finished = self.ended()
            doomed = [name for name, at in finished.items() if older_than is not None and at < older_than]
            if most_bytes is not None:
                sizes = self._image_sizes()
                total = sum(sizes.values()) - sum(sizes.get(name, 0) for name in doomed)
                for name in list(finished)[len(doomed) :]:
                    if total <= most_bytes:
                        break
                    if name in sizes:
                        doomed.append(name)
                        total -= sizes[name]
            self._run("DELETE FROM generations WHERE intent_id = :intent_id", [{"intent_id": name} for name in doomed])
        self._pruned(doomed)
        return len(doomed)

    def ended(self) -> dict[str, float]:
        """When each finished generation ended (Unix time), by intent id, oldest first."""
        rows = self._fetch(
            "SELECT intent_id, finished_at FROM generations WHERE finished_at IS NOT NULL ORDER BY finished_at"
        )
        return {row["intent_id"]: row["finished_at"] for row in rows}

    def _prunes_alone(self) -> bool:
        """Whether no other process drops anything until the end of this transaction."""
        return True

    @abstractmethod
    def _image_sizes(self) -> dict[str, int]:
        """Bytes taken by each generation's pictures, by intent id."""

    def _pruned(self, doomed: list[str]) -> None:
        """These were dropped."""
        return

    def _serialise(self, intent: Generation, check: Check | None) -> None:
        """See to it that nobody else begins what this transaction looks for, where its own begin does not."""
        return

    def _write(self, generation: Generation, encoded_images: dict[int, EncodedImage]) -> None:
        self._run(UPSERT, [to_row(generation)])

    def _usage(self, principal: str | None, intent: Generation) -> Usage:
        whose = "TRUE" if principal is None else "principal = :principal"
        counted = self._all(
            f"WHERE created_at >= :since AND {whose} AND intent_id <> :intent_id",
            since=counted_since(intent.created_at),
            principal=principal,
            intent_id=intent.generation_id,
        )
        return usage_of(counted, intent.created_at)

    def _only_one(self, generation: Generation) -> Generation:
        """``generation`` as it can stand beside what is there: a task is kept once, a request id stands for one."""
        if generation.task_id is not None:
            # Whoever only met a task gave it an intent id of its own.
            others = "WHERE task_id = :task_id AND intent_id <> :intent_id"
            names = {"task_id": generation.task_id, "intent_id": generation.generation_id}
            own = self._one(others, **names)
            if own is not None and generation.submitted_at is None:
                return met_elsewhere(own, generation)
            if own is not None:
                self._run(f"DELETE FROM generations {others} AND submitted_at IS NULL", [names])  # noqa: S608 - as above
        if generation.request_id is not None:
            other = self.find_request(generation.request_id, generation.api, generation.principal)
            if other is not None and other.generation_id != generation.generation_id:
                # Written while the ledger could not be: both were paid for, both are kept.
                return replace(generation, request_id=None)
        return generation

    def _one(self, where: str, **values: Any) -> Generation | None:
        found = self._all(where + " LIMIT 1", **values)
        return found[0] if found else None

    def _all(self, where: str, **values: Any) -> list[Generation]:
        return [from_row(row) for row in self._fetch(SELECT + where, values)]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._trouble():
            self._fetch(self._BEGIN)
            try:
                yield
                self._fetch("COMMIT")
            except BaseException:
                if self._in_transaction:  # the database may have rolled it back by itself
                    self._fetch("ROLLBACK")
                raise

    @property
    @abstractmethod
    def _in_transaction(self) -> bool: ...

    @abstractmethod
    def _fetch(self, sql: str, values: Values | None = None) -> list[Any]:
        """The rows that a statement leads to."""

    @abstractmethod
    def _run(self, sql: str, many: Iterable[Values]) -> None:
        """Run a statement for each of ``many``."""

    @abstractmethod
    def _trouble(self) -> AbstractContextManager[None]:
        """Turns the database's errors into ours."""


def _is(column: str, value: str | None) -> str:
    """The condition that a column, which may be empty, has this value."""
    return f"{column} IS NULL" if value is None else f"{column} = :{column}"
