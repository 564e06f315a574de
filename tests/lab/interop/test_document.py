"""docs/interop.md is what the generator gives. If not: make interop"""

from __future__ import annotations

from tests.lab.interop.catalog import CLIENTS, TASK_CLIENTS
from tests.lab.interop.table import COLUMNS, NO, NOT_RUN, document, parsed
from tests.support.paths import ROOT

DOCUMENT = (ROOT / "docs" / "interop.md").read_text(encoding="utf-8")


def test_the_document_is_as_the_generator_makes_it() -> None:
    """If not: make interop"""
    assert document(*parsed(DOCUMENT)) == DOCUMENT


def test_the_document_has_every_client_over_both_transports_and_nothing_that_failed() -> None:
    rows, besides, *_ = parsed(DOCUMENT)
    assert [(row[0], row[2]) for row in rows] == [
        (client.name, over) for client in CLIENTS for over in client.transports
    ]
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert NO not in DOCUMENT
    assert NOT_RUN not in DOCUMENT
    # Besides the clients of tasks: the suite three times, the lint, Claude Code three times.
    assert len(besides) == 7 + sum(len(client.transports) for client in TASK_CLIENTS)
