"""Full-text and per-owner search indexes in SQLite.

The index is an FTS5 table of trigrams without positions: it names the generations that may have a text, and the prompt
decides. It is built in steps, and new prompts wait in the table ``unindexed`` until enough have come together. Other
processes may have an SQLite library without FTS5, so triggers note what such a process changed, and the index is built
again where a prompt in it was changed or deleted.
"""

from __future__ import annotations

import functools
import logging
import sqlite3
from typing import Any, Literal

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.ledger.errors import LedgerBusy, LedgerError
from nano_banana_mcp.ledger.queries import (
    MAX_SCANNED_ROWS,
    MIN_INDEXED_LETTERS,
    NEWEST_ROWS,
    STEP_ROWS,
    Filters,
    SqlLedger,
    Values,
    is_short,
)
from nano_banana_mcp.ledger.sums import Sum

logger = logging.getLogger(__name__)

MIN_WAITING_ROWS = 1_000
"""New prompts that are searched one by one before they are indexed together."""

MAX_TRIGRAMS = 32
"""Most trigrams of a text that are looked up; the prompt decides anyway."""

MERGE_PAGES = 500
"""Pages that one step of merging the index writes."""

IDS_PER_MILLISECOND = 1_000_000
"""Ids of the index are in the order of the requests: their time in milliseconds, and a number within it."""

_CREATE_INDEX = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS prompts "
    "USING fts5(text, content='', columnsize=0, detail='none', tokenize='trigram')"
)


_LIMIT = {"rows": STEP_ROWS}


@functools.lru_cache(maxsize=1)
def has_trigrams() -> bool:
    """Whether this SQLite library can index trigrams."""
    db = sqlite3.connect(":memory:")
    try:
        db.execute(_CREATE_INDEX)
    except sqlite3.Error:
        return False
    finally:
        db.close()
    return True


class SqliteSearch(SqlLedger):
    """The part of :class:`~nano_banana_mcp.ledger.sqlite.SqliteLedger` that searches."""

    _is_index_damaged = False

    def is_built(self, name: Literal["sums", "search"]) -> bool:
        """See :class:`~nano_banana_mcp.ledger.queries.SqlLedger`."""
        tables = ("builds", "prompts") if name == "search" else ("builds",)  # a file of an older version has none
        rows = self._fetch("SELECT name FROM sqlite_master WHERE name IN ('builds', 'prompts')")
        if not {row["name"] for row in rows}.issuperset(tables) or not super().is_built(name):
            return False
        if name == "sums":
            return True
        [row] = self._fetch("SELECT is_stale FROM builds WHERE name = 'search'")
        return has_trigrams() and not row["is_stale"] and not self._is_index_damaged

    def build_search(self) -> bool:
        """See :class:`~nano_banana_mcp.ledger.queries.SqlLedger`."""
        if not has_trigrams():
            return False
        with self._transaction():
            [state] = self._fetch("SELECT built_to, is_stale, merging FROM builds WHERE name = 'search'")
            [waiting] = self._fetch("SELECT count(*) AS number FROM (SELECT 1 FROM unindexed LIMIT :rows)", _LIMIT)
            if state["is_stale"] or self._is_index_damaged:
                self._discard_index()
                return True
            if state["built_to"] != float("inf"):
                self._fetch(_CREATE_INDEX)
                end = self._end_of_step(state["built_to"])
                self._add_to_index(
                    "created_at > :after AND created_at <= :end", {"after": state["built_to"], "end": end}
                )
                self._fetch("UPDATE builds SET built_to = :end WHERE name = 'search'", {"end": end})
                return True
            if waiting["number"] >= MIN_WAITING_ROWS:
                self._fetch(_CREATE_INDEX)
                self._fetch("CREATE TEMP TABLE step AS SELECT intent_id FROM unindexed LIMIT :rows", _LIMIT)
                self._add_to_index("intent_id IN (SELECT intent_id FROM step)", {})
                self._fetch("DELETE FROM unindexed WHERE intent_id IN (SELECT intent_id FROM step)")
                self._fetch("DROP TABLE temp.step")
                return True
            if state["merging"]:
                self._merge(is_first=state["merging"] == 1)
                return True
        return False

    def _discard_index(self) -> None:
        self._fetch("DROP TABLE IF EXISTS prompts")
        self._fetch("DELETE FROM documents")
        self._fetch("DELETE FROM unindexed")
        self._fetch("UPDATE builds SET built_to = -9e999, is_stale = 0, merging = 0 WHERE name = 'search'")
        self._is_index_damaged = False

    def _add_to_index(self, condition: str, values: Values) -> None:
        rows = self._fetch(
            "SELECT intent_id, prompt, created_at FROM generations "  # noqa: S608 - our own conditions
            f"WHERE prompt IS NOT NULL AND {condition} AND intent_id NOT IN (SELECT intent_id FROM documents) "
            "ORDER BY created_at, intent_id DESC",
            values,
        )
        last = -1
        for row in rows:
            first = int(row["created_at"] * 1_000) * IDS_PER_MILLISECOND
            if first > last:
                [taken] = self._fetch(
                    "SELECT max(id) AS id FROM documents WHERE id >= :first AND id < :end",
                    {"first": first, "end": first + IDS_PER_MILLISECOND},
                )
                last = first - 1 if taken["id"] is None else taken["id"]
            last += 1
            document = {"id": last, "intent_id": row["intent_id"], "text": _indexable(row["prompt"])}
            self._fetch("INSERT INTO documents VALUES (:id, :intent_id)", document)
            self._fetch("INSERT INTO prompts (rowid, text) VALUES (:id, :text)", document)

    def _merge(self, *, is_first: bool) -> None:
        """Rewrite a part of the index: until all is rewritten, it still has trigrams of deleted prompts."""
        before = self._total_changes()
        pages = -MERGE_PAGES if is_first else MERGE_PAGES
        self._fetch("INSERT INTO prompts (prompts, rank) VALUES ('merge', :pages)", {"pages": pages})
        is_done = not is_first and self._total_changes() - before < 2  # as FTS5's documentation says
        self._fetch("UPDATE builds SET merging = :state WHERE name = 'search'", {"state": 0 if is_done else 2})

    def _total_changes(self) -> int:
        [row] = self._fetch("SELECT total_changes() AS number")
        return int(row["number"])

    def _forget_prompts(self, condition: str, values: Values) -> None:
        if not self._has_index():
            return
        rows = self._fetch(
            "SELECT id, prompt FROM generations JOIN documents USING (intent_id) "  # noqa: S608 - our own conditions
            f"WHERE {condition}",
            values,
        )
        try:
            for row in rows:
                document = {"id": row["id"], "text": _indexable(row["prompt"])}
                self._fetch("INSERT INTO prompts (prompts, rowid, text) VALUES ('delete', :id, :text)", document)
                self._fetch("DELETE FROM documents WHERE id = :id", document)
        except LedgerBusy:
            raise
        except LedgerError as error:  # a trigger notes what is still in the index
            self._distrust(error)
        if rows:
            self._fetch("UPDATE builds SET merging = 1 WHERE name = 'search'")

    def _sums(self, groups: str, filters: Filters, condition: str, **values: Any) -> list[Sum]:
        try:
            return super()._sums(groups, filters, condition, **values)
        except LedgerBusy:
            raise
        except LedgerError as error:
            if filters.get("search") is None or self._is_index_damaged:
                raise
            self._distrust(error)
            return super()._sums(groups, filters, condition, **values)

    def _distrust(self, error: LedgerError) -> None:
        logger.warning("The index of prompts is built again: %s", error.for_operator)
        self._is_index_damaged = True

    def _has_index(self) -> bool:
        return has_trigrams() and bool(self._fetch("SELECT 1 FROM sqlite_master WHERE name = 'prompts'"))

    def _list_owners(self, values: Values) -> None:
        self._fetch(
            "INSERT OR IGNORE INTO owners SELECT principal, created_at, intent_id FROM generations "
            "WHERE created_at > :after AND created_at <= :end",
            values,
        )

    def _newest(self, limit: int, offset: int, filters: Filters) -> list[Generation]:
        search = filters.get("search")
        if search is None or (not is_short(search) and self._owns_few(filters)):
            return self._newest_of_owner(limit, offset, filters)
        match = _match(search)
        if is_short(search) and len(matches := self._of_newest_rows(limit, offset, filters)) == limit:
            return matches
        if match is None or not self.is_built("search"):
            return super()._newest(limit, offset, filters)
        try:
            return self._search(match, limit, offset, filters)
        except LedgerBusy:
            raise
        except LedgerError as error:
            self._distrust(error)
            return super()._newest(limit, offset, filters)

    def _of_newest_rows(self, limit: int, offset: int, filters: Filters) -> list[Generation]:
        where, values = self._conditions({**filters, "search": None})
        return self._all(
            f"{where} AND created_at >= (SELECT min(created_at) FROM "  # noqa: S608 - our own conditions
            f"(SELECT created_at FROM generations ORDER BY created_at DESC LIMIT {NEWEST_ROWS})) "
            f"AND {self._HAS_TEXT.format(position=self._POSITION)} "
            "ORDER BY created_at DESC, intent_id LIMIT :limit OFFSET :offset",
            **{**values, "search": filters["search"], "limit": limit, "offset": offset},
        )

    def _owns_few(self, filters: Filters) -> bool:
        if filters.get("principal") is None or not self.is_built("sums"):
            return False
        sql = "SELECT 1 FROM owners WHERE owner = :principal LIMIT :rows"
        return len(self._fetch(sql, {"principal": filters["principal"], **_LIMIT})) < STEP_ROWS

    def _newest_of_owner(self, limit: int, offset: int, filters: Filters) -> list[Generation]:
        if filters.get("principal") is None or not self.is_built("sums"):
            return super()._newest(limit, offset, filters)
        search = filters.get("search")
        where, values = self._conditions({**filters, "search": None})
        has_text = "TRUE" if search is None else self._HAS_TEXT.format(position=self._POSITION)
        return self._select(
            "FROM owners CROSS JOIN generations ON intent_id = generation "
            f"{where} AND owner = :principal AND {has_text} "
            "ORDER BY requested_at DESC, generation LIMIT :limit OFFSET :offset",
            {**values, "search": search, "limit": limit, "offset": offset},
        )

    def _search(self, match: str, limit: int, offset: int, filters: Filters) -> list[Generation]:
        """The newest generations that match. The index yields the newest first, so that few are read."""
        where, values = self._conditions({**filters, "search": None})
        values = {**values, "search": filters["search"], "match": match, "limit": limit + offset}
        has_text = f"{where} AND {self._HAS_TEXT.format(position=self._POSITION)}"
        order = "ORDER BY created_at DESC, intent_id LIMIT :limit"
        matches = self._select(
            f"FROM prompts CROSS JOIN generations {has_text} AND prompts MATCH :match "  # noqa: S608 - our own conditions
            "AND intent_id = (SELECT intent_id FROM documents WHERE id = prompts.rowid) "
            "ORDER BY prompts.rowid DESC LIMIT :limit",
            values,
        )
        for others in ("SELECT intent_id FROM unindexed", self._WITH_ID):
            matches += self._all(f"{has_text} AND intent_id IN ({others}) {order}", **values)
        newest = {match.generation_id: match for match in matches}.values()
        return sorted(newest, key=lambda match: (-match.created_at, match.generation_id))[offset : offset + limit]

    _WITH_ID = (
        "SELECT :search UNION SELECT intent_id FROM generations WHERE task_id = :search "
        "UNION SELECT intent_id FROM generations WHERE batch_id = :search"
    )

    def _newest_rows(self, filters: Filters, rows: int = MAX_SCANNED_ROWS) -> str:
        if filters.get("principal") is None or not self.is_built("sums"):
            return super()._newest_rows(filters, rows)
        return (
            "intent_id IN (SELECT generation FROM owners WHERE owner = :principal "  # noqa: S608 - our own names
            f"ORDER BY requested_at DESC LIMIT {rows})"
        )

    def _indexed(self, search: str, values: dict[str, Any]) -> str:
        match = _match(search)
        if match is None or not self.is_built("search"):
            return "TRUE"
        values["match"] = match
        return (
            "intent_id IN (SELECT intent_id FROM documents "  # noqa: S608 - our own names
            "WHERE id IN (SELECT rowid FROM prompts WHERE prompts MATCH :match) "
            f"UNION SELECT intent_id FROM unindexed UNION {self._WITH_ID})"
        )


def _indexable(prompt: str) -> str:
    """FTS5 reads a text up to its first NUL."""
    return prompt.replace("\0", " ")


def _match(search: str) -> str | None:
    """The FTS5 query of the prompts that may have this text; None where trigrams cannot find them."""
    if is_short(search) or "\0" in search:
        return None
    starts = range(len(search) - MIN_INDEXED_LETTERS + 1)
    trigrams = dict.fromkeys(search[start : start + MIN_INDEXED_LETTERS] for start in starts)
    quoted = ('"' + trigram.replace('"', '""') + '"' for trigram in trigrams)
    return " AND ".join(list(quoted)[:MAX_TRIGRAMS])
