"""The queries of history and gallery: pages, sums and deletion, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.queries import SqlLedger, Totals
from nano_banana_mcp.storage import open_database
from tests.support.generations import IMAGE_URL, new_generation, succeeded
from tests.support.settings import settings_from

PNG = EncodedImage(b"\x89PNG\r\n\x1a\n" + b"x" * 1_000, "image/png")


@pytest.fixture(params=["file", pytest.param("PostgreSQL", marks=pytest.mark.slow)])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlLedger]:
    where: dict[str, Any] = {"NANO_BANANA_STATE_DIR": str(tmp_path)}
    if request.param == "PostgreSQL":
        where["NANO_BANANA_LEDGER_URL"] = request.getfixturevalue("database")
    opened = open_database(settings_from(where))
    yield opened
    opened.close()


def test_pages_hold_each_generation_once_even_with_equal_times(ledger: SqlLedger) -> None:
    for _ in range(25):
        ledger.begin(new_generation())
    pages = [ledger.history(limit=10, offset=offset) for offset in (0, 10, 20)]
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [generation for page in pages for generation in page] == ledger.history()


def test_a_tally_is_exact_and_counts_no_credits_of_the_sandbox(ledger: SqlLedger) -> None:
    assert ledger.tally() == Totals(0, Decimal(0))
    for number in range(10):
        generation = succeeded(new_generation(api="a", prompt=f"cat {number}").accepted(f"ta{number}", 1.0))
        ledger.save(replace(generation, credits_consumed="0.1"))
    ledger.save(succeeded(new_generation(prompt="cat").accepted("ta-sandbox", 1.0)))
    ledger.save(succeeded(new_generation(api="http://box:8765", is_sandbox=True).accepted("ta-alone", 1.0)))
    ledger.begin(new_generation(api=None, model="other"))
    assert ledger.tally() == Totals(13, Decimal(1))
    assert ledger.tally(search="CAT 1", model="m") == Totals(1, Decimal("0.1"))
    assert ledger.models() == ["m", "other"]


def test_a_deleted_generation_takes_its_images_and_urls_with_it(ledger: SqlLedger) -> None:
    deleted, other = (succeeded(new_generation().accepted(f"ta{n}", 1.0)) for n in range(2))
    for generation in (deleted, other):
        ledger.save(generation)
        if ledger.stores_images:
            ledger.save_image(generation.generation_id, 1, PNG)
    assert ledger.delete(deleted.generation_id) == deleted
    assert ledger.delete(deleted.generation_id) is None
    assert ledger.history() == [other]
    assert ledger.load_image(deleted.generation_id, 1) is None
    assert ledger.load_image(other.generation_id, 1) == (PNG if ledger.stores_images else None)
    assert ledger.find_image(IMAGE_URL) == other


def test_an_unfinished_generation_is_deleted_only_on_demand(ledger: SqlLedger) -> None:
    unknown = ledger.begin(new_generation())
    waiting = ledger.save(new_generation().accepted("ta1", 1.0))
    for generation in (unknown, waiting):
        assert ledger.delete(generation.generation_id) is None
        assert ledger.find(generation.generation_id) == generation
        assert ledger.delete(generation.generation_id, unfinished=True) == generation
    assert ledger.history() == []
