"""Queries that users wait for in ledgers of 100, 10,000 and 1,000,000 requests, in SQLite and in PostgreSQL."""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import psycopg

from nano_banana_mcp.generations.models import Generation, new_generation_id
from nano_banana_mcp.generations.quotas import Limits, Quotas, month_start
from nano_banana_mcp.ledger.listing import MAX_LISTED_GENERATIONS, list_resources, open_read_only
from nano_banana_mcp.ledger.notifications import SharedLedger
from nano_banana_mcp.ledger.postgres import PostgresLedger
from nano_banana_mcp.ledger.postgres_connection import Database
from nano_banana_mcp.ledger.queries import SqlLedger
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from tests.lab.benchmarks.figures import Row
from tests.support.postgres import NoPostgres, running

SIZES = (100, 10_000, 1_000_000)
TARGET_MILLISECONDS = 200
ROUNDS = 5
API = "https://api.defapi.org"
MODELS = ("google/gempix2", "google/nano-banana-2", "google/nano-banana-pro")
SPAN_SECONDS = 365 * 86_400
"""The requests of a ledger are spread over a year."""

_ENGLISH = """a watercolor painting of quiet harbour at dawn red kettle on wooden table cat dog city street rain neon
poster logo portrait studio light macro flower forest mountain river bridge train retro comic ink sketch oil canvas"""
_KOREAN = """수채화 고양이 강아지 바다 노을 도시 야경 로고 포스터 인물 사진 조명 숲 산 다리 기차 복고풍 만화 잉크
스케치 유화 파란 금빛 오래된 책 표지 아이콘 평면 방 창문 비 눈 봄 가을 한복 김치 한옥 골목"""

COLUMNS = (
    "intent_id", "task_id", "principal", "status", "prompt", "model", "api", "options", "images", "credits_consumed",
    "created_at", "submitted_at", "open_at", "finished_at", "expects_callback", "ended_at",
)  # fmt: skip


def rows_of(number: int, now: float) -> list[tuple[Any, ...]]:
    """Finished requests with English and Korean prompts, the same in every run; one in twenty failed."""
    choice = random.Random(1)
    english, korean = _ENGLISH.split(), _KOREAN.split()
    made = []
    for index in range(number):
        words = choice.choices(korean if index % 2 else english, k=choice.randint(4, 14))
        at = now - SPAN_SECONDS * (number - index) / number
        generation, task = (str(uuid.UUID(int=choice.getrandbits(128))) for _ in range(2))
        images = json.dumps([{"url": f"https://images.example/{task}.png", "mime_type": "image/png"}])
        is_failed = index % 20 == 0
        made.append((
            f"in-{generation}", f"ta{task}", "", "failed" if is_failed else "success", f"{' '.join(words)} {index}",
            choice.choice(MODELS), API, "1:1", "[]" if is_failed else images, None if is_failed else "0.500000",
            at, at + 1, at + 20, at + 30, False, at + 29,
        ))  # fmt: skip
    return sorted(made)  # by their primary key: SQLite stores them in this order


def fill_sqlite(folder: Path, number: int, now: float) -> SqliteLedger:
    """A ledger with that number of rows, as after an upgrade from a version without indexes."""
    ledger = SqliteLedger(folder)
    ledger._fetch("PRAGMA cache_size = -1000000")
    ledger._fetch("UPDATE builds SET built_to = -9e999")
    with ledger._transaction():
        ledger._db.executemany(
            f"INSERT INTO generations ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})",
            rows_of(number, now),
        )
    ledger.close()
    return SqliteLedger(folder)


def fill_postgres(url: str, number: int, now: float) -> PostgresLedger:
    """As :func:`fill_sqlite`."""
    ledger = PostgresLedger(Database(url))
    ledger._fetch("UPDATE builds SET built_to = '-infinity'")
    with (
        psycopg.connect(url, autocommit=True, options="-c search_path=nano_banana") as db,
        db.cursor().copy(f"COPY generations ({', '.join(COLUMNS)}) FROM STDIN".encode()) as copying,
    ):
        for row in rows_of(number, now):
            copying.write_row(row)
    return ledger


def build_sqlite(ledger: SqliteLedger) -> float:
    """Build all indexes without a pause. Returns the longest step, in seconds."""
    longest = 0.0
    for step in (ledger.build_sums, ledger.build_search):
        more = True
        while more:
            began = time.perf_counter()
            more = step()
            longest = max(longest, time.perf_counter() - began)
    return longest


def build_postgres(url: str) -> None:
    """Build all indexes, as a server does."""

    async def once() -> None:
        ledger = SharedLedger(url)
        await ledger.build_once()
        await ledger.aclose()

    anyio.run(once)


def queries(ledger: SqlLedger, folder: Path | None, task_id: str, now: float) -> dict[str, Callable[[], object]]:
    """What is measured, by its name."""
    limits = Limits(open_tasks=1_000_000, credits_per_day=Decimal(1_000_000))
    check = Quotas(limits, limits, clock=time.monotonic).check_for("")

    def submit() -> None:
        generation = Generation(new_generation_id(), model=MODELS[0], prompt="고양이", api=API, created_at=now)
        ledger.begin(generation, check)
        ledger.forget(generation.generation_id)

    def account() -> None:
        ledger.usage("", API, now)
        ledger.usage("", API, now, month_start(now))
        ledger.usage(None, API, now)
        ledger.model_usage("", API)

    def resources() -> object:
        if folder is None:
            return ledger.recent(MAX_LISTED_GENERATIONS)
        with closing(open_read_only(folder)) as connection:
            return list_resources(connection)

    return {
        "history": lambda: (ledger.history(limit=50), ledger.totals()),
        "browse": lambda: ledger.recent(8),
        "browse, of a caller without any": lambda: ledger.recent(8, "a new caller"),
        "browse, a common Korean word": lambda: ledger.recent(8, search="고양이"),
        "browse, a rare text": lambda: ledger.recent(8, search=" 77"),
        "browse, a text that is in no prompt": lambda: ledger.recent(8, search="zebra crossing"),
        "browse, one letter": lambda: ledger.recent(8, search="고"),
        "browse, one letter that is in no prompt": lambda: ledger.recent(8, search="Z"),
        "browse, two letters that are in no prompt": lambda: ledger.recent(8, search="퀴즈"),
        "get": lambda: ledger.find(task_id),
        "submit with limits": submit,
        "resources/list": resources,
        "gallery, first page": lambda: (
            ledger.history(limit=48),
            ledger.tally(),
            ledger.models(),
            ledger.favorites(),
            ledger.recent_uploads(200),
        ),
        "get_account": account,
    }


def measured(kind: str, number: int, ledger: SqlLedger, folder: Path | None, now: float) -> Iterator[Row]:
    """The figures of one ledger."""
    [newest] = ledger.recent(1)
    for what, query in queries(ledger, folder, newest.public_id, now).items():
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            query()
            times.append(1_000 * (time.perf_counter() - began))
        yield Row(
            f"{what}: {number:,} requests, {kind}",
            statistics.median(times),
            "ms",
            target=TARGET_MILLISECONDS,
            spread=f"{min(times):.1f}-{max(times):.1f} ms",
        )


def rows(quick: bool) -> Iterator[Row]:
    """All sizes in both databases; a quick run leaves out the largest."""
    sizes = SIZES[:-1] if quick else SIZES
    now = time.time()
    for number in sizes:
        with tempfile.TemporaryDirectory() as name, closing(fill_sqlite(Path(name), number, now)) as ledger:
            began = time.perf_counter()
            longest = build_sqlite(ledger)
            took = time.perf_counter() - began
            yield Row(
                f"longest step of building the indexes: {number:,} requests, SQLite",
                longest,
                "s",
                spread=f"all {took:.1f} s",
            )
            yield from measured("SQLite", number, ledger, Path(name), now)
    try:
        with ExitStack() as stack:
            cluster = stack.enter_context(running())
            for number in sizes:
                url = cluster.create()
                shared = stack.enter_context(closing(fill_postgres(url, number, now)))
                began = time.perf_counter()
                build_postgres(url)
                yield Row(
                    f"building the indexes without locks: {number:,} requests, PostgreSQL",
                    time.perf_counter() - began,
                    "s",
                )
                yield from measured("PostgreSQL", number, shared, None, now)
    except NoPostgres as error:
        yield Row("growth in PostgreSQL", None, spread=str(error))


if __name__ == "__main__":
    for row in rows("--quick" in sys.argv):
        print(row.what, row.shown, row.promised, row.verdict, row.spread, sep="  ", flush=True)
