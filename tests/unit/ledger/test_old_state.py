"""The state of version 0.1 is opened and read completely, in SQLite and in PostgreSQL."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from nano_banana_mcp.generations.models import GeneratedImage, Status
from nano_banana_mcp.ledger.listing import FILE_NAME, open_read_only, recent_rows
from nano_banana_mcp.ledger.postgres import PostgresLedger
from nano_banana_mcp.ledger.postgres_connection import Database
from nano_banana_mcp.ledger.queries import SqlLedger
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from tests.support.generations import new_generation, succeeded
from tests.support.postgres import Cluster

FIXTURES = Path(__file__).parents[2] / "support" / "fixtures" / "state-0.1"
API = "https://api.defapi.org"
OLD_COLUMNS = {
    "intent_id", "task_id", "principal", "request_id", "request_hash", "status", "prompt", "model", "api", "options",
    "images", "credits_consumed", "message", "created_at", "submitted_at", "open_at", "finished_at", "expects_callback",
}  # fmt: skip
SHARED_URL = "https://images.example/5a.png?signature=1"


@pytest.fixture
def state_folder(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURES / "state", tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def old_database(postgres: Cluster, database: str) -> str:
    with postgres.connect(database) as db:
        db.execute((FIXTURES / "postgres.sql").read_bytes())
    return database


def check_every_row(ledger: SqlLedger) -> None:
    history = ledger.history()
    assert {generation.public_id: (generation.status, generation.principal) for generation in history} == {
        "in-00000000-0000-4000-8000-000000000001": (Status.UNKNOWN, ""),
        "in-00000000-0000-4000-8000-000000000002": (Status.UNKNOWN, ""),
        "ta-pending": (Status.PENDING, ""),
        "ta-progress": (Status.IN_PROGRESS, ""),
        "ta-success-url": (Status.SUCCESS, ""),
        "ta-success-data": (Status.SUCCESS, ""),
        "ta-failed": (Status.FAILED, ""),
        "ta-alice": (Status.SUCCESS, "alice"),
        "ta-sandbox": (Status.SUCCESS, "bob"),
    }
    finished = ledger.find("ta-success-url")
    assert finished is not None
    assert finished.images == (
        GeneratedImage(SHARED_URL, "image/png"),
        GeneratedImage("https://images.example/5b.png?signature=2", "image/png"),
    )
    assert (finished.prompt, finished.model, finished.options) == ("a cat 5", "google/gempix2", "16:9, 2 references")
    assert (finished.credits_consumed, finished.request_hash) == ("0.500000", "hash-5")
    assert ledger.find_request("r-1", API) == finished
    for_alice = ledger.find("ta-alice")
    assert ledger.find_request("r-1", API, "alice") == for_alice
    assert ledger.find_image(SHARED_URL) == finished
    assert ledger.find_image(SHARED_URL, "alice") == for_alice
    unknown = ledger.find_request("r-unknown", API)
    assert unknown is not None
    assert unknown.message == "No whole answer arrived."
    assert [generation.task_id for generation in ledger.open_tasks(0.0)] == ["ta-pending", "ta-progress"]


def test_a_state_folder_of_version_0_1_is_read_and_written(state_folder: Path) -> None:
    ledger = SqliteLedger(state_folder)
    check_every_row(ledger)
    ledger.begin(new_generation())
    assert len(ledger.history()) == 10
    ledger.close()
    with sqlite3.connect(state_folder / FILE_NAME) as db:
        columns = {row[1] for row in db.execute("PRAGMA table_info(generations)")}
    db.close()
    assert columns >= OLD_COLUMNS
    assert len(list((state_folder / "pictures").iterdir())) == 1
    assert len(list((state_folder / "cache" / "pictures").iterdir())) == 2


def test_the_newest_rows_are_read_without_the_rest_of_the_server(state_folder: Path) -> None:
    connection = open_read_only(state_folder)
    rows = recent_rows(connection, 2)
    assert [(row["task_id"], row["status"]) for row in rows] == [
        ("ta-failed", "failed"),
        ("ta-success-data", "success"),
    ]
    assert [row["task_id"] for row in recent_rows(connection, 5, "alice")] == ["ta-alice"]
    connection.close()


def test_a_database_of_version_0_1_is_read_and_written(postgres: Cluster, old_database: str) -> None:
    ledger = PostgresLedger(Database(old_database))
    check_every_row(ledger)
    image = ledger.load_image("in-00000000-0000-4000-8000-000000000006", 0)
    assert image is not None
    assert image.mime_type == "image/png"
    assert ledger.known_secret("callback-key") == "secret-of-all-replicas"
    pending = ledger.find("ta-pending")
    assert pending is not None
    ledger.save(succeeded(pending))  # an old replica has its lease
    assert ledger.find("ta-pending") == succeeded(pending)
    ledger.close()
    with postgres.connect(old_database) as db:
        names = {
            name
            for (name,) in db.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name='generations'"
            )
        }
    assert names == OLD_COLUMNS | {"batch_id", "save_as", "ended_at", "is_sandbox", "lease_holder", "lease_fence"}
