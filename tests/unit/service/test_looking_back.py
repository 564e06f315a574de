"""What a person asks of the ledger's database: pages, sums, and to drop something; in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.queries import SqlLedger, Tally
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import open_database
from tests.unit.ledger.test_ledger import URL, intent, succeeded

PNG = EncodedImage(b"\x89PNG\r\n\x1a\n" + b"x" * 1_000, "image/png")


@pytest.fixture(params=["disk", "PostgreSQL"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlLedger]:
    where: dict[str, Any] = {"NANO_BANANA_STATE_DIR": str(tmp_path)}
    if request.param == "PostgreSQL":
        where["NANO_BANANA_LEDGER_URL"] = request.getfixturevalue("database")
    opened = open_database(Settings(**where))
    yield opened
    opened.close()


def test_pages_hold_everything_once_though_all_was_asked_for_at_the_same_moment(ledger: SqlLedger) -> None:
    for _ in range(25):
        ledger.begin(intent())
    pages = [ledger.history(limit=10, offset=offset) for offset in (0, 10, 20)]
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [known for page in pages for known in page] == ledger.history()


def test_a_tally_is_exact_and_counts_no_credits_of_the_sandbox(ledger: SqlLedger) -> None:
    assert ledger.tally() == Tally(0, Decimal(0))
    for number in range(10):
        known = succeeded(intent(api="a", prompt=f"cat {number}").accepted(f"ta{number}", 1.0))
        ledger.save(replace(known, credits_consumed="0.1"))
    ledger.save(succeeded(intent(prompt="cat").accepted("ta-sandbox", 1.0)))
    ledger.begin(intent(api=None, model="other"))
    assert ledger.tally() == Tally(12, Decimal(1))
    assert ledger.tally(search="CAT 1", model="m") == Tally(1, Decimal("0.1"))
    assert ledger.models() == ["m", "other"]


def test_what_is_deleted_goes_with_its_images_and_urls_and_nothing_else_does(ledger: SqlLedger) -> None:
    gone, stays = (succeeded(intent().accepted(f"ta{n}", 1.0)) for n in range(2))
    for known in (gone, stays):
        ledger.save(known, {1: PNG})
    assert ledger.delete(gone.generation_id) == gone
    assert ledger.delete(gone.generation_id) is None
    assert ledger.history() == [stays]
    assert ledger.encoded(gone.generation_id, 1) is None
    assert ledger.encoded(stays.generation_id, 1) == PNG
    assert ledger.find_image(URL) == stays


def test_what_is_not_finished_is_deleted_only_if_that_is_meant(ledger: SqlLedger) -> None:
    unknown = ledger.begin(intent())
    waiting = ledger.save(intent().accepted("ta1", 1.0))
    for known in (unknown, waiting):
        assert ledger.delete(known.generation_id) is None
        assert ledger.find(known.generation_id) == known
        assert ledger.delete(known.generation_id, unfinished=True) == known
    assert ledger.history() == []
