"""The fast queries of a large ledger give the same answers as reading every row, in SQLite and in PostgreSQL."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.ledger import sqlite_search
from nano_banana_mcp.ledger.async_ledger import DurableLedger
from nano_banana_mcp.ledger.listing import FILE_NAME
from nano_banana_mcp.ledger.notifications import SharedLedger
from nano_banana_mcp.ledger.queries import MAX_SCANNED_ROWS, Filters, SqlLedger
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from nano_banana_mcp.storage import open_database
from tests.support.generations import new_generation, succeeded
from tests.support.settings import settings_from

pytestmark = pytest.mark.slow

DAY = 86_400.0
NOW = 1_790_000_000.0

PROMPTS = [
    "수채화 고양이, 창문 옆", "한옥과 고양이 두 마리", "김치찌개 사진", "A cat ON a roof", "a cat on A ROOF at night",
    'say "hello" to the cat', "100% wet dog", "under_score AND (near) OR NOT", "Ärger im Café", "ärger im café",
    "ÄRGER", "emoji 🐱🐶 cats", "nul\0byte after it", "ab", "", "a" * 300, "tabs\tand\nlines", "back\\slash", "it's",
    "cafe\u0301",
]  # fmt: skip
TERMS = [
    "고양이", "고양이 두", "수채화 고양이, 창문 옆", "찌개", "한옥", "CAT", "cat on a roof", '"hello"', "100%", "%",
    "_", "AND (near)", "NOT", "ärger", "ÄRGER", "CAFÉ", "🐱🐶 ", "🐱", "byte after", "l\0b", "ab", "a" * 120,
    "\tand\nl", "k\\s", "t's", "fe\u0301", "zebra", "   ", "***", "ta-7", "none of them",
]  # fmt: skip


@pytest.fixture(params=["file", "PostgreSQL"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    place = {"NANO_BANANA_STATE_DIR": str(tmp_path)}
    if request.param == "PostgreSQL":
        place["NANO_BANANA_LEDGER_URL"] = request.getfixturevalue("database")
    return place


@pytest.fixture
def ledger(where: dict[str, Any]) -> Iterator[SqlLedger]:
    with closing(open_database(settings_from(where))) as opened:
        yield opened


def build(where: dict[str, Any]) -> None:
    """Build all indexes, as a server does in the background."""

    async def once() -> None:
        url = where.get("NANO_BANANA_LEDGER_URL")
        built = DurableLedger(Path(where["NANO_BANANA_STATE_DIR"])) if url is None else SharedLedger(url)
        await built.build_once()
        await built.aclose()

    anyio.run(once)


def forget_indexes(ledger: SqlLedger) -> None:
    """The state after an upgrade of a ledger that has rows."""
    for table in ("sums", "owners", "documents", "unindexed"):
        if isinstance(ledger, SqliteLedger) or table == "sums":
            ledger._fetch(f"DELETE FROM {table}")
    ledger._fetch("UPDATE builds SET built_to = :before", {"before": float("-inf")})


def by_reading_all(ledger: SqlLedger, query: Callable[[], Any]) -> Any:
    """The answer while nothing is built."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(ledger), "is_built", lambda self, name: False)
        return query()


def every_sum(ledger: SqlLedger) -> dict[str, Any]:
    """What sums are used for."""
    day_3 = NOW - 3 * DAY
    filters: list[Filters] = [
        {}, {"model": "m"}, {"status": "success"}, {"status": "pending"}, {"principal": "bob"}, {"since": day_3},
        {"until": day_3}, {"since": day_3, "until": day_3 + 5}, {"since": day_3 - DAY, "until": NOW - 100},
    ]  # fmt: skip
    return {
        "tallies": [ledger.tally(**chosen) for chosen in filters],
        "totals": sorted(map(repr, ledger.totals())),
        "models": ledger.models(),
        "usage": [ledger.usage(who, "a", NOW, since) for who in (None, "", "bob") for since in (None, NOW - 20 * DAY)],
        "by model": [ledger.model_usage(who, "a") for who in ("", "bob")],
    }


def live(ledger: SqlLedger, number: int) -> list[Generation]:
    """Generations in every state, over some days, of two callers."""
    made = []
    for index in range(number):
        choice = random.Random(index)
        generation = new_generation(
            api=choice.choice(["a", "sandbox"]), model=choice.choice(["m", "other", None]), prompt=f"cat {index}",
            principal=choice.choice(["", "bob"]), created_at=NOW - choice.random() * 6 * DAY,
        )  # fmt: skip
        ledger.begin(generation)
        made.append(generation)
        if index % 7 == 0:
            continue
        made[-1] = ledger.save(generation.accepted(f"ta-{index}", generation.created_at + 1))
        if index % 5 == 0:
            continue
        ended = replace(succeeded(made[-1]), credits_consumed=choice.choice(["0.5", "0.25", None, "?"]))
        ended = replace(ended, finished_at=generation.created_at + 30)
        if index % 6 == 0:
            ended = replace(ended, status=Status.FAILED, images=(), message="It may have been charged.")
        made[-1] = ledger.save(ended)
    return made


def test_sums_are_those_of_all_rows_whatever_happens_to_them(ledger: SqlLedger) -> None:
    made = live(ledger, 120)
    assert every_sum(ledger) == by_reading_all(ledger, lambda: every_sum(ledger))
    failed = next(item for item in made if item.status is Status.FAILED)
    ledger.amend(replace(failed, status=Status.SUCCESS, images=succeeded(failed).images))
    for generation in made[::4]:
        ledger.delete(generation.generation_id, unfinished=True)
    assert ledger.prune(older_than=NOW - 2 * DAY, now=NOW) > 0
    assert ledger.is_built("sums")
    assert every_sum(ledger) == by_reading_all(ledger, lambda: every_sum(ledger))


def test_a_ledger_that_changes_while_it_is_built_has_the_right_sums_at_every_step(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = live(ledger, 60)
    forget_indexes(ledger)
    monkeypatch.setattr("nano_banana_mcp.ledger.queries.STEP_ROWS", 7)
    steps = 0
    while ledger.build_sums():
        steps += 1
        if steps <= 6:
            live_one = new_generation(api="a", created_at=NOW - steps * DAY)
            ledger.save(succeeded(ledger.save(ledger.begin(live_one).accepted(f"ta-x{steps}", NOW))))
            ledger.delete(made[steps * 8].generation_id, unfinished=True)
        assert every_sum(ledger) == by_reading_all(ledger, lambda: every_sum(ledger))
    assert steps > 6
    assert ledger.is_built("sums")
    assert every_sum(ledger) == by_reading_all(ledger, lambda: every_sum(ledger))
    assert ledger.recent(100, "bob") == by_reading_all(ledger, lambda: ledger.recent(100, "bob"))
    assert ledger.recent(5, "nobody") == []


def searches(ledger: SqlLedger) -> list[Any]:
    answers: list[Any] = []
    for term in TERMS:
        answers += [
            ledger.history(search=term, limit=3),
            ledger.history(search=term, limit=3, offset=2),
            ledger.history(search=term, limit=5, principal="bob"),
            ledger.history(search=term, order="oldest"),
            ledger.tally(search=term),
        ]
    return answers


def fill_with_prompts(ledger: SqlLedger) -> None:
    for index, prompt in enumerate(PROMPTS * 3):
        name = "ba-7" if index == 7 else None
        generation = new_generation(prompt=prompt, principal="bob" if index % 2 else "", batch_id=name)
        ledger.begin(replace(generation, task_id=f"ta-{index}", created_at=NOW + index))


@pytest.mark.parametrize("built", ["after an upgrade", "from waiting prompts"])
def test_an_index_finds_what_reading_all_prompts_finds(
    where: dict[str, Any], ledger: SqlLedger, built: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_search, "MIN_WAITING_ROWS", 1)
    monkeypatch.setattr(sqlite_search, "STEP_ROWS", 5)  # every owner has more
    fill_with_prompts(ledger)
    if built == "after an upgrade":
        forget_indexes(ledger)
    build(where)
    assert ledger.is_built("search")
    expected = by_reading_all(ledger, lambda: searches(ledger))
    assert searches(ledger) == expected
    fresh = ledger.begin(new_generation(prompt="고양이 세 마리", created_at=NOW + 1_000))
    assert ledger.recent(1, search="고양이 세") == [fresh]
    assert sum(bool(answer) for answer in expected) > len(TERMS)


def test_a_deleted_or_pruned_prompt_leaves_nothing_in_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_search, "MIN_WAITING_ROWS", 1)
    with closing(SqliteLedger(tmp_path)) as ledger:
        remaining, deleted, pruned = (
            ledger.save(
                replace(succeeded(new_generation(prompt=prompt).accepted(f"ta{age}", 1.0)), finished_at=NOW - age)
            )
            for prompt, age in (("a kept kettle", 1), ("a secret harbour", 2), ("비밀 편지 한 통", 40 * DAY))
        )
        build({"NANO_BANANA_STATE_DIR": str(tmp_path)})
        ledger.delete(deleted.generation_id)
        assert ledger.prune(older_than=NOW - 30 * DAY, now=NOW) == 1
        assert ledger.recent(9, search="secret") == ledger.recent(9, search="비밀 편지") == []
        while ledger.build_search():
            pass
        assert ledger.is_built("search")
        assert ledger.recent(9, search="kept kettle") == [remaining]
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        db.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, prompts, row)")
        terms = {term for (term,) in db.execute("SELECT term FROM terms")}
        blocks = b"".join(block for (block,) in db.execute("SELECT block FROM prompts_data"))
    assert "ket" in terms
    assert not terms & {"sec", "har", "비밀 ", "편지 "}
    assert "비밀".encode() not in blocks
    with closing(SqliteLedger(tmp_path)) as ledger:
        assert pruned.generation_id not in {item.generation_id for item in ledger.history()}


def test_a_library_without_fts5_searches_and_deletes_and_the_index_is_built_again_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_search, "MIN_WAITING_ROWS", 1)
    place = {"NANO_BANANA_STATE_DIR": str(tmp_path)}
    with closing(SqliteLedger(tmp_path)) as ledger:
        fill_with_prompts(ledger)
        build(place)
        expected = by_reading_all(ledger, lambda: searches(ledger))
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_search, "has_trigrams", lambda: False)
            assert searches(ledger) == expected
            ledger.delete(ledger.recent(1)[0].generation_id, unfinished=True)
            assert not ledger.build_search()
        assert not ledger.is_built("search")
        assert searches(ledger) == by_reading_all(ledger, lambda: searches(ledger)) != expected
        build(place)
        assert ledger.is_built("search")
        assert searches(ledger) == by_reading_all(ledger, lambda: searches(ledger))


def test_a_damaged_index_is_not_used_and_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_search, "MIN_WAITING_ROWS", 1)
    with closing(SqliteLedger(tmp_path)) as ledger:
        fill_with_prompts(ledger)
        build({"NANO_BANANA_STATE_DIR": str(tmp_path)})
        expected = by_reading_all(ledger, lambda: searches(ledger))
        ledger._fetch("UPDATE prompts_data SET block = x'00' WHERE id > 10")
        assert searches(ledger) == expected
        while ledger.build_search():
            pass
        assert ledger.is_built("search")
        assert searches(ledger) == expected


def fill_quickly(ledger: SqlLedger, number: int) -> None:
    """Insert many rows past the service: one request a minute, each with a prompt of its own."""
    series = (
        "(WITH RECURSIVE series(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM series WHERE n < :number - 1) "
        "SELECT n FROM series)"
    )
    pad = "substr('000000' || n, -6)" if isinstance(ledger, SqliteLedger) else "lpad(CAST(n AS text), 6, '0')"
    no = "0" if isinstance(ledger, SqliteLedger) else "false"
    with ledger._transaction():
        ledger._fetch(
            "INSERT INTO generations (intent_id, task_id, principal, status, prompt, model, api, images, created_at, "
            "submitted_at, finished_at, expects_callback, credits_consumed) "
            f"SELECT 'in-' || {pad}, 'ta-' || {pad}, '', 'success', 'row ' || n || ' 고양이', 'm', 'a', '[]', "
            "CAST(:now + n * 60 AS double precision), CAST(:now + n * 60 AS double precision), "
            f"CAST(:now + n * 60 + 20 AS double precision), {no}, '0.5' "
            f"FROM {series} AS numbers",
            {"number": number, "now": NOW},
        )


def test_a_text_of_two_letters_is_searched_for_in_the_newest_rows_and_a_longer_one_in_all(
    where: dict[str, Any], ledger: SqlLedger
) -> None:
    ledger.begin(new_generation(prompt="강 zebra", created_at=NOW - 1))
    fill_quickly(ledger, MAX_SCANNED_ROWS)
    build(where)
    assert ledger.recent(3, search="강") == []
    assert [item.prompt for item in ledger.recent(3, search="강 z")] == ["강 zebra"]
    assert [item.prompt for item in ledger.recent(1, search="고양")] == [f"row {MAX_SCANNED_ROWS - 1} 고양이"]
    assert ledger.tally(search="고양").number == MAX_SCANNED_ROWS
    assert [item.prompt for item in ledger.recent(3, search="row 777 ")] == ["row 777 고양이"]


def test_the_pages_of_a_short_search_are_those_of_reading_every_prompt(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_search, "NEWEST_ROWS", 6)
    for index in range(40):  # four at a time, as in a batch
        ledger.begin(new_generation(prompt=f"row {index}", created_at=NOW + index // 4))
    for search in ("1", "w ", "zz"):
        expected = [item.prompt for item in ledger.history() if search in (item.prompt or "")]
        pages = [ledger.history(limit=3, offset=offset, search=search) for offset in range(0, 45, 3)]
        assert [item.prompt for page in pages for item in page] == expected


def plans(ledger: SqlLedger, query: Callable[[], Any]) -> str:
    """The plans of the statements that a query runs."""
    explain = "EXPLAIN QUERY PLAN " if isinstance(ledger, SqliteLedger) else "EXPLAIN "
    execute = ledger._execute
    shown: list[str] = []

    def explained(sql: str, values: Any) -> Any:
        if sql.startswith("SELECT") and "generations" in sql:
            shown.extend(str(dict(row)) for row in execute(explain + sql, values).fetchall())
        return execute(sql, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "_execute", explained)
        query()
    return "\n".join(shown)


@pytest.fixture
def without_scans(where: dict[str, Any]) -> dict[str, Any]:
    """PostgreSQL reads a small table whole; with this it does so only where no index can be used."""
    url = where.get("NANO_BANANA_LEDGER_URL")
    return where if url is None else {**where, "NANO_BANANA_LEDGER_URL": f"{url}&options=-c%20enable_seqscan%3Doff"}


def test_nothing_that_people_wait_for_reads_every_row(without_scans: dict[str, Any]) -> None:
    with closing(open_database(settings_from(without_scans))) as ledger:
        fill_quickly(ledger, 6_000)
        build(without_scans)
        require_indexes(ledger)


def require_indexes(ledger: SqlLedger) -> None:
    end = NOW + 6_000 * 60
    queries: dict[str, Callable[[], Any]] = {
        "newest": lambda: ledger.recent(8),
        "newest of one who has none": lambda: ledger.recent(8, "nobody"),
        "search": lambda: ledger.recent(8, search="zebra crossing"),
        "search, counted": lambda: ledger.tally(search="zebra crossing"),
        "find": lambda: ledger.find("ta-000007"),
        "tally": ledger.tally,
        "totals": lambda: ledger.totals(since=NOW + 10),
        "models": ledger.models,
        "usage": lambda: ledger.usage("", "a", end, end - 2 * DAY),
        "by model": lambda: ledger.model_usage("", "a"),
        "open": lambda: ledger.open_tasks(0.0),
    }
    whole = ["SCAN generations'", "SCAN single'", "SCAN generations ", "SCAN single ", "Seq Scan on generations"]
    allowed = "USING INDEX generations_by_time"
    for name, query in queries.items():
        for line in plans(ledger, query).splitlines():
            assert not any(words in line for words in whole) or allowed in line, f"{name}: {line}"


def test_postgres_combines_the_sums_of_single_changes(where: dict[str, Any], database: str) -> None:
    place = {**where, "NANO_BANANA_LEDGER_URL": database}
    with closing(open_database(settings_from(place))) as ledger:
        live(ledger, 30)
        before = every_sum(ledger)
        build(place)
        assert every_sum(ledger) == before
        rows = [tuple(row.values())[:-1] for row in ledger._fetch("SELECT * FROM sums")]
        assert len(rows) == len(set(rows))
