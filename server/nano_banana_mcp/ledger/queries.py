"""The queries of a ledger in SQL, the same for every database.

Synchronous; :mod:`nano_banana_mcp.ledger.async_ledger` runs them in threads.
"""

from __future__ import annotations

import contextlib
import statistics
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, ClassVar, Literal, Protocol, TypedDict, Unpack

from nano_banana_mcp.generations.batches import MAX_COUNT, callers_request_id, child_request_id
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.quotas import (
    DEFAULT_PRICE_CREDITS,
    MAY_BE_CHARGED,
    OPEN_SECONDS,
    Check,
    Usage,
    day_start,
    month_start,
    usable_amount,
)
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.base import ModelMedians, ModelUsage
from nano_banana_mcp.ledger.errors import LedgerError
from nano_banana_mcp.ledger.listing import IS_LISTED, PRUNED_IMAGES
from nano_banana_mcp.ledger.rows import GENERATION_COLUMNS, UPSERT, from_row, to_row
from nano_banana_mcp.ledger.sums import COLUMNS, OPEN, SECONDS_PER_DAY, Sum, source, values_of
from nano_banana_mcp.ledger.upload_queries import UploadQueries

Values = Mapping[str, Any]

MAX_MEDIAN_ROWS = 50
"""Newest successes of a model that its medians are taken over."""

MAX_MODELS = 20
"""Most models that :meth:`SqlLedger.model_usage` returns."""

MAX_SUCCEEDED_ROWS = 1_000
"""Most successes that :meth:`SqlLedger.succeeded_since` returns."""

SKELETON_SECONDS = 30 * 86_400.0
"""Minimum time after its end during which a generation is found by its ids, and its request is not submitted again."""

MIN_INDEXED_LETTERS = 3
"""Shortest text that an index of trigrams finds."""

NEWEST_ROWS = 1_000
"""Newest generations that are searched before others: a common text is in many of them."""

MAX_SCANNED_ROWS = 20_000
"""Newest generations in which a shorter text is searched."""

SHORT_SEARCH = f"A text of one or two characters is searched for in the newest {MAX_SCANNED_ROWS:,} requests only."
"""What is said to the caller then."""

STEP_ROWS = 2_000
"""Most generations that one step of a build reads, so that it blocks others only for a moment."""

PRUNED_MESSAGE = "The details were removed after the time set by NANO_BANANA_KEEP_DAYS."


Order = Literal["newest", "oldest", "prompt"]

_ORDERS: Mapping[Order, str] = {
    "newest": "created_at DESC, intent_id",
    "oldest": "created_at, intent_id",
    "prompt": "lower(prompt), created_at DESC, intent_id",
}


class Filters(TypedDict, total=False):
    """Which generations to return: those that match every filter given.

    ``search`` is text in the prompt, where the case of ASCII letters does not matter, or the id of a task or batch.
    ``since`` (inclusive) and ``until`` (exclusive) are Unix times. ``favorite`` is True for favorites only.
    """

    status: str | None
    model: str | None
    search: str | None
    since: float | None
    until: float | None
    principal: str | None
    favorite: bool | None


@dataclass(frozen=True, slots=True)
class Totals:
    """Number of generations, and the credits that the API says they consumed; the sandbox's cost nothing."""

    number: int
    credits: Decimal


class Cursor(Protocol):
    """What a database returns for a statement."""

    @property
    def description(self) -> Sequence[Any] | None:
        """The columns; None for a statement without rows."""

    def fetchall(self) -> list[Any]:
        """Return the rows, which are read by the names of their columns."""


class SqlLedger(UploadQueries):
    """A ledger in a database. Values are ``:name`` in the SQL.

    Raises:
        LedgerError: The database cannot be used; every method raises it.

    Attributes:
        read_only: Whether it can only be read.
        in_memory: Whether its rows are gone when it is closed.
        still_there: Whether the file that was opened still has its name.
        stores_images: Whether the bytes of images are stored in the database.
    """

    read_only = False
    in_memory = False
    stores_images: ClassVar[bool] = False

    _execute: Callable[[str, Values], Cursor]
    _ERRORS: ClassVar[Any]
    """The exceptions of the database: a tuple."""

    _BEGIN: ClassVar[str]
    _POSITION: ClassVar[str]
    """The SQL function that finds a text in another."""

    _DAY: ClassVar[str]
    """The day of a row in SQL, see :mod:`nano_banana_mcp.ledger.sums`."""

    _ADD_SUMS: ClassVar[str] = ""
    """What ends an INSERT into the sums."""

    @property
    def still_there(self) -> bool:
        """See the class."""
        return True

    @abstractmethod
    def check(self) -> str:
        """Describe the state of the database. Raises :class:`LedgerError` where it is damaged."""

    @abstractmethod
    def probe(self) -> None:
        """Write something that changes nothing."""

    @abstractmethod
    def close(self) -> None:
        """Close the database."""

    def begin(self, generation: Generation, check: Check | None = None) -> Generation:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self.begin_batch([generation], check)[0]

    def begin_batch(self, generations: Sequence[Generation], check: Check | None = None) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        first = generations[0]
        with self._transaction():
            self._lock_begin(first, check)
            if first.request_id is not None:
                earlier = self._find_earlier(generations) or self._find_by_id(first.generation_id)
                if earlier is not None:
                    return [earlier] if earlier.batch_id is None else self.find_batch(earlier.batch_id)
            if check is not None:
                check(lambda principal: self.usage(principal, first.api, first.created_at, excluded=first))
            for generation in generations:
                self._write(generation)
        return list(generations)

    def claim(self, generation: Generation) -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        claimed = replace(generation, status=Status.UNKNOWN, message=None)
        return claimed if self._replace_unsent(claimed) else None

    def cancel_unsent(self, generation: Generation) -> bool:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self._replace_unsent(generation)

    def _replace_unsent(self, generation: Generation) -> bool:
        with self._transaction():
            self._lock_begin(generation, None)
            stored = self._find_by_id(generation.generation_id)
            if stored is None or not stored.is_unsent:
                return False
            self._write(generation)
        return True

    def save(self, generation: Generation) -> Generation:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`. Returns the recorded generation."""
        with self._transaction():
            generation = self._reconciled(generation)
            stored = self._find_by_id(generation.generation_id)
            if stored is not None and (_is_same(stored, generation) or not generation.may_replace(stored)):
                return stored
            self._write(generation)
            self._write_urls(generation)
        return generation

    def amend(self, generation: Generation) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        row = to_row(generation)
        with self._transaction():
            self._fetch(
                "UPDATE generations SET status = :status, images = :images, message = :message "
                "WHERE intent_id = :intent_id AND finished_at IS NOT NULL",
                {name: row[name] for name in ("status", "images", "message", "intent_id")},
            )
            self._write_urls(generation)

    def forget(self, generation_id: str) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        with self._transaction():
            self._delete("intent_id = :intent_id AND task_id IS NULL", {"intent_id": generation_id})

    def forget_batch(self, generations: Sequence[Generation]) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        first = generations[0]
        with self._transaction():
            self._lock_begin(first, None)
            recorded = self.find_batch(first.batch_id or "")
            if all(stored.task_id is None and stored.status is not Status.UNKNOWN for stored in recorded):
                self._delete("batch_id = :batch_id", {"batch_id": first.batch_id})

    def find(self, public_id: str, principal: str | None = None) -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        preferred = "" if principal is None else "principal <> :principal, "
        return self._one(
            "WHERE task_id = :public_id OR intent_id = :public_id "
            f"ORDER BY {preferred}submitted_at IS NULL, created_at DESC",
            public_id=public_id,
            principal=principal,
        )

    def find_by_prefix(self, prefix: str, limit: int) -> list[Generation]:
        """Return the generations whose task id or generation id begins with ``prefix``, newest first."""
        return self._all(
            "WHERE substr(task_id, 1, :letters) = :prefix OR substr(intent_id, 1, :letters) = :prefix "
            "ORDER BY created_at DESC LIMIT :limit",
            prefix=prefix,
            letters=len(prefix),
            limit=limit,
        )

    def find_batches_by_prefix(self, prefix: str, limit: int) -> list[str]:
        """Return the ids of batches that begin with ``prefix``, in order."""
        rows = self._fetch(
            "SELECT DISTINCT batch_id FROM generations WHERE substr(batch_id, 1, :letters) = :prefix "
            "ORDER BY batch_id LIMIT :limit",
            {"prefix": prefix, "letters": len(prefix), "limit": limit},
        )
        return [row["batch_id"] for row in rows]

    def find_request(self, request_id: str, api: str | None, principal: str = "") -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        children = [child_request_id(request_id, number) for number in range(1, MAX_COUNT + 1)]
        return self._find_named([request_id], api, principal) or self._find_named(
            children, api, principal, " AND batch_id IS NOT NULL"
        )

    def find_batch(self, batch_id: str, principal: str | None = None) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        owner = "" if principal is None else " AND principal = :principal"
        return self._all(
            f"WHERE batch_id = :batch_id{owner} ORDER BY intent_id", batch_id=batch_id, principal=principal
        )

    def find_image(self, url: str, principal: str = "") -> Generation | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self._one(
            "WHERE intent_id IN (SELECT intent_id FROM images WHERE url = :url) AND principal = :principal "
            "ORDER BY created_at DESC",
            url=url,
            principal=principal,
        )

    def recent(self, limit: int, principal: str = "", search: str | None = None) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self.history(limit=limit, principal=principal, search=search)

    def open_tasks(self, since: float) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self._all(
            "WHERE finished_at IS NULL AND task_id IS NOT NULL AND submitted_at > :since ORDER BY submitted_at",
            since=since,
        )

    def succeeded_since(self, since: float) -> list[Generation]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self._all(
            "WHERE status = 'success' AND finished_at > :since ORDER BY finished_at DESC LIMIT :limit",
            since=since,
            limit=MAX_SUCCEEDED_ROWS,
        )

    def medians(self, model: str, api: str | None, principal: str | None = None) -> ModelMedians:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`.

        Args:
            principal: Owner of the successes that count; None for all owners.
        """
        owner = "" if principal is None else " AND principal = :principal"
        rows = self._fetch(
            "SELECT credits_consumed, created_at, finished_at FROM generations "  # noqa: S608 - our own conditions
            f"WHERE model = :model AND {_is('api', api)} AND status = 'success' AND finished_at IS NOT NULL{owner} "
            "ORDER BY finished_at DESC LIMIT :limit",
            {"model": model, "api": api, "principal": principal, "limit": MAX_MEDIAN_ROWS},
        )
        amounts = [amount for row in rows if (amount := usable_amount(row["credits_consumed"])) is not None]
        seconds = [max(0.0, row["finished_at"] - row["created_at"]) for row in rows]
        return ModelMedians(
            statistics.median(amounts) if amounts else None, statistics.median(seconds) if seconds else None
        )

    def model_usage(self, principal: str, api: str | None) -> list[ModelUsage]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        usage: dict[str, dict[str, Any]] = {}
        for part in self._sums(
            "model, status, images, max(day) AS day",
            {"principal": principal},
            f"model <> '' AND {_is_api(api)}",
            api=api,
        ):
            model = usage.setdefault(part.model, {"images": 0, "successes": 0, "failures": 0, "day": 0})
            model["images"] += part.number * part.images
            model["successes"] += part.number * (part.status == Status.SUCCESS)
            model["failures"] += part.number * (part.status == Status.FAILED)
            model["day"] = max(model["day"], part.day)
        for name, model in usage.items():
            model["last_used"] = self._last_used(name, principal, api, model.pop("day"))
        models = sorted(usage, key=lambda name: (-usage[name]["images"], -usage[name]["last_used"]))[:MAX_MODELS]
        return [ModelUsage(name, **usage[name], medians=self.medians(name, api, principal)) for name in models]

    def _last_used(self, model: str, principal: str, api: str | None, day: int) -> float:
        """Time of the newest request of a day (since 1970) for a model."""
        rows = self._fetch(
            "SELECT created_at FROM generations WHERE created_at >= :since AND created_at < :until "  # noqa: S608 - our own conditions
            f"AND model = :model AND {_is('api', api)} AND principal = :principal ORDER BY created_at DESC LIMIT 1",
            {
                "since": day * SECONDS_PER_DAY,
                "until": (day + 1) * SECONDS_PER_DAY,
                "model": model,
                "api": api,
                "principal": principal,
            },
        )
        return float(rows[0]["created_at"]) if rows else float(day * SECONDS_PER_DAY)

    def save_image(self, generation_id: str, number: int, image: EncodedImage) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        raise NotImplementedError

    def load_image(self, generation_id: str, number: int) -> EncodedImage | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return None

    def history(
        self, *, limit: int | None = None, offset: int = 0, order: Order = "newest", **filters: Unpack[Filters]
    ) -> list[Generation]:
        """Return the generations that match.

        Args:
            limit: Maximum number, after the first ``offset``; None for all.
        """
        if order == "newest" and limit is not None:
            return self._newest(limit, offset, filters)
        where, values = self._conditions(filters)
        page = "" if limit is None else " LIMIT :limit OFFSET :offset"
        return self._all(f"{where} ORDER BY {_ORDERS[order]}{page}", **values, limit=limit, offset=offset)

    def _newest(self, limit: int, offset: int, filters: Filters) -> list[Generation]:
        """The newest generations that match, newest first."""
        where, values = self._conditions(filters)
        return self._all(
            f"{where} ORDER BY {_ORDERS['newest']} LIMIT :limit OFFSET :offset", **values, limit=limit, offset=offset
        )

    def tally(self, **filters: Unpack[Filters]) -> Totals:
        """Count the generations that match, and add up their credits."""
        parts = self._sums("api, credits", filters, "listed = 1")
        return Totals(sum(part.number for part in parts), sum((part.paid for part in parts), Decimal(0)))

    def totals(self, **filters: Unpack[Filters]) -> list[Sum]:
        """Count the generations that match by day, model, API, principal and credits."""
        return self._sums("day, model, api, principal, credits", filters, "listed = 1")

    def models(self) -> list[str]:
        """Return the names of all models that were requested, in order."""
        return sorted(part.model for part in self._sums("model", {}, "model <> ''"))

    def _sums(self, groups: str, filters: Filters, condition: str, **values: Any) -> list[Sum]:
        """Count the generations that match, by ``groups``: columns of the sums.

        Args:
            condition: SQL on the columns of the sums, with ``values``.
        """
        columns = self._columns_of_sums()
        needs_rows = filters.get("status") not in (None, Status.SUCCESS, Status.FAILED) or not {
            name for name, value in filters.items() if value is not None
        }.isdisjoint({"search", "favorite"})
        if needs_rows or not self.is_built("sums"):
            where, of_filters = self._conditions(filters)
            where = where.replace(IS_LISTED, "TRUE", 1)  # `condition` says whether that matters
            counted = (
                f"SELECT {COLUMNS}, 1 AS number FROM (SELECT {columns} FROM generations AS single {where}) AS rows"  # noqa: S608 - our own names
            )
        else:
            of_filters = {name: value for name, value in filters.items() if value is not None}
            matching = [f"{name} = :{name}" for name in of_filters if name in ("status", "model", "principal")]
            scanned = (
                f"SELECT {COLUMNS}, 1 AS number FROM (SELECT {columns}, created_at FROM generations AS single) AS rows"  # noqa: S608 - our own names
            )
            counted, extra = source(scanned, matching, of_filters)
            of_filters = {**of_filters, **extra}
        names = [name for name in groups.split(", ") if " AS " not in name]
        rows = self._fetch(
            f"SELECT {groups}, sum(number) AS number FROM ({counted}) AS counted WHERE {condition} "  # noqa: S608 - our own names
            f"GROUP BY {', '.join(names)} HAVING sum(number) > 0",
            {**of_filters, **values},
        )
        parts = [Sum(**dict(row)) for row in rows]
        apis = {part.api for part in parts if part.api}  # empty where the groups do not name it
        sandboxes = {api for api in apis if self._is_sandbox(api)}
        return [replace(part, api="sandbox") if part.api in sandboxes else part for part in parts]

    def _is_sandbox(self, api: str) -> bool:
        query = "SELECT 1 FROM generations WHERE api = :api AND is_sandbox LIMIT 1"
        return bool(self._fetch(query, {"api": api}))

    def _columns_of_sums(self) -> str:
        """The columns of the sums for a row named ``single``."""
        return ", ".join(f"{sql} AS {name}" for name, sql in values_of("single", self._DAY, self._POSITION).items())

    def is_built(self, name: Literal["sums", "search"]) -> bool:
        """Whether the sums, or the index of prompts, include all generations."""
        rows = self._fetch("SELECT built_to FROM builds WHERE name = :name", {"name": name})
        return bool(rows) and rows[0]["built_to"] == float("inf")

    def build_sums(self) -> bool:
        """Add the next generations to the sums, a bounded number. Returns whether there may be more."""
        with self._transaction():
            self._lock_generations()
            [row] = self._fetch("SELECT built_to FROM builds WHERE name = 'sums'")
            built_to = row["built_to"]
            if built_to == float("inf"):
                return False
            end = self._end_of_step(built_to)
            columns = self._columns_of_sums()
            values = {"after": built_to, "end": end}
            self._fetch(
                f"INSERT INTO sums ({COLUMNS}, number) SELECT {COLUMNS}, count(*) FROM "  # noqa: S608 - our own names
                f"(SELECT {columns} FROM generations AS single WHERE created_at > :after AND created_at <= :end) "
                f"AS rows WHERE TRUE GROUP BY {COLUMNS} {self._ADD_SUMS}",
                values,
            )
            self._list_owners(values)
            self._fetch("UPDATE builds SET built_to = :end WHERE name = 'sums'", {"end": end})
        return end != float("inf")

    def _end_of_step(self, built_to: float) -> float:
        """The time up to which a step of a build goes; infinite for the last."""
        rows = self._fetch(
            "SELECT created_at FROM generations WHERE created_at > :built_to ORDER BY created_at LIMIT 1 OFFSET :rows",
            {"built_to": built_to, "rows": STEP_ROWS - 1},
        )
        return float(rows[0]["created_at"]) if rows else float("inf")

    def _lock_generations(self) -> None:
        """Keep others from changing generations until the end of this transaction, where its BEGIN does not."""
        return

    def _list_owners(self, values: Values) -> None:
        """List the generations of a step by their owners, where that needs a table of its own."""
        return

    def build_search(self) -> bool:
        """Add the next prompts to the index, a bounded number. Returns whether there may be more."""
        return False

    def favorites(self) -> set[str]:
        """Return the generation ids of all favorites."""
        return {row["intent_id"] for row in self._fetch("SELECT intent_id FROM favorites")}

    def set_favorite(self, generation_id: str, *, is_favorite: bool) -> None:
        """Make a recorded generation a favorite, or no favorite any more."""
        sql = (
            "INSERT INTO favorites (intent_id) SELECT intent_id FROM generations WHERE intent_id = :intent_id "
            "ON CONFLICT DO NOTHING"
            if is_favorite
            else "DELETE FROM favorites WHERE intent_id = :intent_id"
        )
        self._fetch(sql, {"intent_id": generation_id})

    def delete(self, generation_id: str, *, unfinished: bool = False) -> Generation | None:
        """Delete a generation. Returns it, or None if it does not exist or may not be deleted.

        Args:
            unfinished: Whether it may be unfinished: an image that was paid for may then not be found again.
        """
        with self._transaction():
            generation = self._find_by_id(generation_id)
            if generation is None or not (generation.finished or unfinished):
                return None
            self._delete("intent_id = :intent_id", {"intent_id": generation_id})
        return generation

    def unfinished(self) -> list[Generation]:
        """Return all unfinished generations, oldest first."""
        return self._all("WHERE finished_at IS NULL ORDER BY created_at")

    def prune(self, *, older_than: float, now: float) -> int:
        """Reduce generations that ended before ``older_than`` to what prevents a second payment.

        The skeleton (ids, ``request_id``, hash, amount, end) stays for :data:`SKELETON_SECONDS` after the end and
        for the running month: it is found by id and ``request_id`` and counts for budgets, but lists do not show it.

        Args:
            older_than: Unix time in seconds.
            now: Unix time in seconds.

        Returns:
            How many generations left the lists; 0 while another process is pruning.
        """
        ended = "finished_at IS NOT NULL AND finished_at < :older_than"
        values = {
            "older_than": older_than,
            "delete_before": min(older_than, now - SKELETON_SECONDS),
            "month": month_start(now),
            "pruned": PRUNED_IMAGES,
            "message": PRUNED_MESSAGE,
            "message_if_charged": f"{PRUNED_MESSAGE} It {MAY_BE_CHARGED}.",
            "may_be_charged": MAY_BE_CHARGED,
        }
        with self._transaction():
            if not self._lock_prune():
                return 0
            doomed = self._fetch(f"SELECT intent_id FROM generations WHERE {ended} AND {IS_LISTED}", values)  # noqa: S608 - our own names
            for table in self._DETAIL_TABLES:
                self._fetch(
                    f"DELETE FROM {table} WHERE intent_id IN (SELECT intent_id FROM generations WHERE {ended})",  # noqa: S608 - our own names
                    values,
                )
            self._forget_prompts(f"{ended} AND {IS_LISTED}", values)
            self._fetch(
                "UPDATE generations SET images = :pruned, prompt = NULL, options = NULL, message = CASE "  # noqa: S608 - our own names
                f"WHEN {self._POSITION}(message, :may_be_charged) > 0 THEN :message_if_charged ELSE :message END "
                f"WHERE {ended} AND {IS_LISTED}",
                values,
            )
            self._delete("finished_at < :delete_before AND created_at < :month", values)
            self._prune_uploads(older_than)
        return len(doomed)

    _DETAIL_TABLES: ClassVar[tuple[str, ...]] = ("images",)
    """Tables from which the rows of a pruned generation are deleted."""

    def _lock_prune(self) -> bool:
        """Whether no other process prunes until the end of this transaction."""
        return True

    def _lock_begin(self, generation: Generation, check: Check | None) -> None:
        """Keep other processes from beginning what this transaction looks for, where its BEGIN does not."""
        return

    def _delete(self, condition: str, values: Values) -> None:
        self._forget_prompts(condition, values)
        self._fetch(f"DELETE FROM generations WHERE {condition}", values)  # noqa: S608 - our own conditions

    def _forget_prompts(self, condition: str, values: Values) -> None:
        """Remove the prompts of generations from the index before they change, where the database does not."""
        return

    def _write(self, generation: Generation) -> None:
        self._fetch(UPSERT, to_row(generation))

    def _write_urls(self, generation: Generation) -> None:
        for image in generation.images:
            if image.url is not None:
                self._fetch(
                    "INSERT INTO images (url, intent_id) VALUES (:url, :intent_id) ON CONFLICT DO NOTHING",
                    {"url": image.url, "intent_id": generation.generation_id},
                )

    def usage(
        self,
        principal: str | None,
        api: str | None,
        now: float,
        since: float | None = None,
        *,
        excluded: Generation | None = None,
    ) -> Usage:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`.

        Args:
            excluded: The next generation, which is not recorded yet: its model sets the price.
        """
        since = day_start(now) if since is None else since
        rows = self._fetch(
            "SELECT count(*) AS number FROM generations WHERE created_at >= :open_since AND finished_at IS NULL "  # noqa: S608 - our own names
            f"AND {_is('api', api)} AND intent_id <> :intent_id "
            f"AND {'TRUE' if principal is None else 'principal = :principal'}",
            {
                "open_since": now - OPEN_SECONDS,
                "api": api,
                "intent_id": "" if excluded is None else excluded.generation_id,
                "principal": principal,
            },
        )
        open_tasks = int(rows[0]["number"])
        prices: dict[str | None, Decimal] = {}

        def usual_price(model: str | None) -> Decimal:
            if model not in prices:
                median = None if model is None else self.medians(model, api).credits
                prices[model] = DEFAULT_PRICE_CREDITS if median is None else median
            return prices[model]

        spent, reserved = Decimal(0), Decimal(0)
        filters = Filters(principal=principal, since=since)
        for part in self._sums("model, status, credits, may_be_charged", filters, _is_api(api), api=api):
            if part.status == OPEN:
                reserved += part.number * usual_price(part.model or None)
            elif usable_amount(part.credits) is not None:
                spent += part.consumed
            elif part.status == Status.SUCCESS or part.may_be_charged:
                spent += part.number * usual_price(part.model or None)
        return Usage(open_tasks, spent, reserved, usual_price(None if excluded is None else excluded.model))

    def _find_earlier(self, generations: Sequence[Generation]) -> Generation | None:
        """What the ``request_id`` of new generations led to before, or what has the name of one of them by itself."""
        first = generations[0]
        request_id = callers_request_id(first)
        assert request_id is not None
        names = [generation.request_id for generation in generations if generation.request_id is not None]
        return self.find_request(request_id, first.api, first.principal) or self._find_named(
            names, first.api, first.principal
        )

    def _find_by_id(self, generation_id: str) -> Generation | None:
        return self._one("WHERE intent_id = :intent_id", intent_id=generation_id)

    def _find_named(
        self, request_ids: Sequence[str], api: str | None, principal: str, condition: str = ""
    ) -> Generation | None:
        names = {f"request_id_{number}": request_id for number, request_id in enumerate(request_ids)}
        return self._one(
            f"WHERE request_id IN ({', '.join(f':{name}' for name in names)}) "
            f"AND {_is('api', api)} AND principal = :principal{condition} ORDER BY intent_id",
            api=api,
            principal=principal,
            **names,
        )

    def _reconciled(self, generation: Generation) -> Generation:
        """``generation`` as it can be recorded beside the other rows.

        A task that its principal looked up by id alone has a row without ``submitted_at``; it is merged with the row
        of the submit. Two submits that were answered with the same task id keep a row each.
        """
        if generation.task_id is not None:
            same_task = (
                f"WHERE task_id = :task_id AND {_is('api', generation.api)} AND principal = :principal "
                "AND intent_id <> :intent_id"
            )
            if generation.submitted_at is None and generation.api is None:
                same_task = "WHERE task_id = :task_id AND principal = :principal AND intent_id <> :intent_id"
            names = {
                "task_id": generation.task_id,
                "api": generation.api,
                "principal": generation.principal,
                "intent_id": generation.generation_id,
            }
            other = self._one(f"{same_task} ORDER BY submitted_at IS NULL, created_at DESC", **names)
            if other is not None and generation.submitted_at is None:
                return _with_outcome(other, generation)
            self._delete(
                "task_id = :task_id AND principal = :principal AND intent_id <> :intent_id AND submitted_at IS NULL",
                names,
            )
        if generation.request_id is not None:
            other = self.find_request(generation.request_id, generation.api, generation.principal)
            if other is not None and other.generation_id != generation.generation_id:
                return replace(generation, request_id=None)  # both were paid for, so both are recorded
        return generation

    def _conditions(self, filters: Filters) -> tuple[str, Values]:
        values = {name: value for name, value in filters.items() if value is not None}
        conditions = {
            "status": "status = :status",
            "model": "model = :model",
            "since": "created_at >= :since",
            "until": "created_at < :until",
            "principal": "principal = :principal",
            "favorite": "intent_id IN (SELECT intent_id FROM favorites)",
        }
        search = filters.get("search")
        if search is not None:
            where = self._newest_rows(filters) if is_short(search) else self._indexed(search, values)
            conditions["search"] = f"{where} AND {self._HAS_TEXT.format(position=self._POSITION)}"
        return (
            f"WHERE {' AND '.join([IS_LISTED, *(conditions[name] for name in values if name in conditions)])}",
            values,
        )

    _HAS_TEXT: ClassVar[str] = (
        "({position}(lower(prompt), lower(:search)) > 0 OR :search IN (task_id, intent_id, batch_id))"
    )

    def _newest_rows(self, filters: Filters, rows: int = MAX_SCANNED_ROWS) -> str:
        """The condition of the newest generations, of one principal where that is a filter."""
        owner = "TRUE" if filters.get("principal") is None else "principal = :principal"
        return (
            f"intent_id IN (SELECT intent_id FROM generations WHERE {owner} "  # noqa: S608 - our own conditions
            f"ORDER BY created_at DESC LIMIT {rows})"
        )

    def _indexed(self, search: str, values: dict[str, Any]) -> str:
        """The condition of the few generations that may have this text, where there is an index of prompts.

        Args:
            values: Takes up what the condition needs.
        """
        return "TRUE"

    def _one(self, where: str, **values: Any) -> Generation | None:
        generations = self._all(where + " LIMIT 1", **values)
        return generations[0] if generations else None

    def _all(self, where: str, **values: Any) -> list[Generation]:
        return self._select(f"FROM generations {where}", values)

    def _select(self, source_and_conditions: str, values: Values) -> list[Generation]:
        return [from_row(row) for row in self._fetch(f"SELECT {GENERATION_COLUMNS} {source_and_conditions}", values)]

    def _fetch(self, sql: str, values: Values | None = None) -> list[Any]:
        """Run a statement, and return its rows."""
        try:
            cursor = self._execute(sql, values or {})
            return cursor.fetchall() if cursor.description else []
        except self._ERRORS as error:
            raise self._translated(error) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._connection():
            self._fetch(self._BEGIN)
            try:
                yield
                self._fetch("COMMIT")
            except BaseException:
                if self._in_transaction:  # the database may have rolled it back by itself
                    self._fetch("ROLLBACK")
                raise

    def _connection(self) -> AbstractContextManager[object]:
        """Keep one connection for the block."""
        return contextlib.nullcontext()

    @property
    @abstractmethod
    def _in_transaction(self) -> bool: ...

    @abstractmethod
    def _translated(self, error: Exception) -> LedgerError:
        """Return the database's error as one of the ledger."""


def _is(column: str, value: str | None) -> str:
    """The condition that a nullable column has this value."""
    return f"{column} IS NULL" if value is None else f"{column} = :{column}"


def is_short(search: str) -> bool:
    """Whether a text is searched for in the newest generations only."""
    return len(search) < MIN_INDEXED_LETTERS


def _is_api(api: str | None) -> str:
    """The condition that sums have this API."""
    return "api = ''" if api is None else "api = :api"


def _is_same(stored: Generation, generation: Generation) -> bool:
    """Whether there is nothing to write. The time of the last query alone is not worth a write."""
    return replace(stored, open_at=None) == replace(generation, open_at=None)


def _with_outcome(generation: Generation, outcome: Generation) -> Generation:
    """``generation`` with the state and the images of ``outcome``, another record of the same task."""
    return replace(
        generation,
        status=outcome.status,
        images=outcome.images,
        credits_consumed=outcome.credits_consumed,
        message=outcome.message,
        open_at=outcome.open_at,
        finished_at=outcome.finished_at,
    )
