"""The refresh of one task: its owner, and the bytes that are stored before its end is recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import anyio
import pytest

from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import NoAnswer
from nano_banana_mcp.defapi.schemas import TaskSnapshot, read_snapshot
from nano_banana_mcp.generations.change_bus import ChangeBus
from nano_banana_mcp.generations.instrumentation import NO_INSTRUMENTATION
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.quotas import Callers
from nano_banana_mcp.images.data_uri import to_data_uri
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.base import Ledger, LedgerError
from nano_banana_mcp.ledger.notifications import SharedLedger
from nano_banana_mcp.media.image_store import ImageStore
from nano_banana_mcp.tracking.callbacks import CallbackTracker
from nano_banana_mcp.tracking.refresh import TaskRefresher
from tests.support.dict_ledger import DictLedger
from tests.support.generations import only
from tests.support.image_samples import drawn, png
from tests.support.postgres import Cluster

PNG = EncodedImage(png(), "image/png")


class Client:
    """Answers each query with a finished image as a data URI."""

    base_url = "https://api.example"

    def __init__(self, answer: dict[str, object] | None = None) -> None:
        self.answer = answer

    async def query(self, task_id: str, *, key: object = None) -> TaskSnapshot:
        if self.answer is not None:
            snapshot = read_snapshot(self.answer)
            assert snapshot is not None
            return snapshot
        return TaskSnapshot(task_id=task_id, status="success", image_sources=(to_data_uri(PNG),))


class Images:
    """Records whether the end was recorded when the bytes arrived."""

    def __init__(self, ledger: DictLedger, error: OSError | None = None) -> None:
        self.ledger = ledger
        self.error = error
        self.status_at_put: list[Status] = []
        self.answers: dict[str, bytes] = {}

    async def put(self, generation_id: str, number: int, image: EncodedImage) -> None:
        if self.error is not None:
            raise self.error
        assert image == PNG
        self.status_at_put.append(self.ledger.generations[generation_id].status)

    async def keep_answer(self, generation_id: str, answer: bytes) -> None:
        self.answers[generation_id] = answer

    async def kept_answer(self, generation_id: str) -> bytes | None:
        return self.answers.get(generation_id)


def pending(number: int, principal: str = "") -> Generation:
    return Generation(f"in-{number}", "ta1", Status.PENDING, principal=principal, submitted_at=0.0)


@asynccontextmanager
async def refresher_of(
    ledger: DictLedger | SharedLedger,
    images: Images | ImageStore,
    *,
    authenticated: bool = False,
    client: Client | None = None,
) -> AsyncIterator[TaskRefresher]:
    async with anyio.create_task_group() as tasks:
        yield TaskRefresher(
            cast(DefapiClient, client or Client()),
            cast(Ledger, ledger),
            cast(ImageStore, images),
            Callers(authenticated=authenticated),
            CallbackTracker(None),
            ChangeBus(),
            NO_INSTRUMENTATION,
            tasks,
            lambda: 1.0,
        )


@pytest.mark.parametrize("principal", ["alice", "bob"])
async def test_each_of_two_owners_of_one_task_id_finds_their_own_generation(principal: str) -> None:
    ledger = DictLedger()
    await ledger.save(pending(1, "alice"))
    await ledger.save(pending(2, "bob"))
    async with refresher_of(ledger, Images(ledger), authenticated=True) as refresher:
        assert only(await refresher.find("ta1", principal)).principal == principal


async def test_the_state_of_another_recorded_task_is_not_recorded() -> None:
    ledger = DictLedger()
    await ledger.save(pending(1, "alice"))
    await ledger.save(replace(pending(2, "bob"), task_id="ta2"))
    images = Images(ledger)
    cached = Client({"task_id": "ta2", "status": "success", "result": [{"image": to_data_uri(PNG)}]})
    async with refresher_of(ledger, images, authenticated=True, client=cached) as refresher:
        with pytest.raises(NoAnswer, match="about another task"):
            await refresher.get("ta1", "alice")
        assert images.status_at_put == []
        assert ledger.generations["in-1"] == pending(1, "alice")
        assert only(await refresher.get("ta2", "bob")).status is Status.SUCCESS


async def test_a_task_that_was_looked_up_by_the_other_form_of_its_id_is_the_same_task() -> None:
    ledger = DictLedger()
    await ledger.save(pending(1))
    await ledger.save(Generation("in-2", "ta-another-form", Status.PENDING))
    client = Client({"task_id": "ta-another-form", "status": "failed"})
    async with refresher_of(ledger, Images(ledger), client=client) as refresher:
        assert only(await refresher.get("ta1", "")).status is Status.FAILED


async def test_an_answer_that_spells_the_task_id_in_another_form_is_used() -> None:
    ledger = DictLedger()
    await ledger.save(pending(1))
    client = Client({"task_id": "ta-another-form", "status": "failed"})
    async with refresher_of(ledger, Images(ledger), client=client) as refresher:
        assert only(await refresher.get("ta1", "")).status is Status.FAILED
    assert ledger.generations["in-1"].task_id == "ta1"


async def test_a_wait_for_an_unknown_outcome_reads_the_ledger_at_the_pace_of_queries() -> None:
    ledger = DictLedger()
    await ledger.save(Generation("in-1", None, Status.UNKNOWN))
    async with refresher_of(ledger, Images(ledger)) as refresher:
        generation = only(await refresher.find("in-1", ""))
        assert refresher.seconds_since_query(generation) is None
        await refresher.refresh(generation)
        assert refresher.seconds_since_query(generation) is not None


async def test_bytes_that_came_with_the_answer_are_stored_before_the_end_is_recorded() -> None:
    ledger = DictLedger()
    images = Images(ledger)
    await ledger.save(pending(1))
    async with refresher_of(ledger, images) as refresher:
        assert (await refresher.get("ta1", "")).status is Status.SUCCESS
    assert images.status_at_put == [Status.PENDING]
    assert ledger.generations["in-1"].status is Status.SUCCESS


async def test_a_finished_task_of_another_program_is_recorded_before_its_bytes_which_a_database_requires(
    database: str,
) -> None:
    ledger = SharedLedger(database)
    async with anyio.create_task_group() as tasks:
        images = ImageStore(ledger, None, tasks=tasks, now=lambda: 1.0, opened_at=0.0)
        async with refresher_of(ledger, images) as refresher:
            generation = only(await refresher.get("ta-of-another-program", ""))
        assert generation.status is Status.SUCCESS
        assert await images.open(generation, 0) == PNG
        assert await ledger.recent(10) == [generation]
        await images.aclose()
    await ledger.aclose()


async def test_an_end_whose_bytes_cannot_be_stored_is_not_recorded() -> None:
    ledger = DictLedger()
    await ledger.save(pending(1))
    async with refresher_of(ledger, Images(ledger, OSError(28, "No space left on device"))) as refresher:
        with pytest.raises(LedgerError, match="No space left"):
            await refresher.get("ta1", "")
    assert ledger.generations["in-1"].status is Status.PENDING


async def test_an_answer_that_cannot_be_read_is_kept_and_read_again_by_a_version_that_can() -> None:
    ledger = DictLedger()
    await ledger.save(pending(1))
    images = Images(ledger)
    answer: dict[str, object] = {
        "status": "success",
        "consumed": "0.5",
        "result": [{"image": "data:application/x-new;base64,AAECAwQF"}],
    }
    async with refresher_of(ledger, images, client=Client(answer)) as refresher:
        failed = await refresher.get("ta1", "")
        assert failed.status is Status.FAILED
        assert "6 bytes of data labelled application/x-new" in (failed.message or "")
        assert "is kept" in (failed.message or "")
        assert await refresher.get("ta1", "") == failed
        # A newer version reads the same answer as an image.
        stored = images.answers["in-1"].decode()
        images.answers["in-1"] = stored.replace("AAECAwQF", to_data_uri(PNG).partition(",")[2]).encode()
        generation = only(await refresher.get("ta1", ""))
    assert generation.status is Status.SUCCESS
    assert [image.mime_type for image in generation.images] == ["image/png"]
    assert generation.credits_consumed == "0.5"
    assert ledger.generations["in-1"] == generation


FAILED = Generation("in-1", None, Status.FAILED, message="three errors", expects_callback=True, finished_at=0.5)
UNKNOWN = Generation("in-1", None, Status.UNKNOWN, expects_callback=True)


@pytest.mark.parametrize("generation", [FAILED, UNKNOWN], ids=["failed", "unknown"])
async def test_a_callback_proves_that_a_submit_without_a_task_id_made_one(generation: Generation) -> None:
    ledger = DictLedger()
    await ledger.save(generation)
    async with refresher_of(ledger, Images(ledger)) as refresher:
        assert await refresher.called_back("in-1", "ta-made")
    recorded = ledger.generations["in-1"]
    assert (recorded.task_id, recorded.status, len(recorded.images)) == ("ta-made", Status.SUCCESS, 1)


async def test_a_callback_for_an_image_that_has_ended_leads_to_no_query() -> None:
    ledger = DictLedger()
    failed = replace(pending(1), status=Status.FAILED, finished_at=0.5)
    await ledger.save(failed)
    async with refresher_of(ledger, Images(ledger)) as refresher:
        assert await refresher.called_back("in-1", "ta1")
    assert ledger.generations["in-1"] == failed


async def test_an_image_that_is_only_understood_later_replaces_the_bytes_of_its_number_in_a_database(
    postgres: Cluster, database: str
) -> None:
    ledger = SharedLedger(database)
    jpeg = EncodedImage(drawn("JPEG"), "image/jpeg")
    answer: dict[str, object] = {
        "status": "success",
        "result": [{"image": "data:application/x-new;base64,AAECAwQF"}, {"image": to_data_uri(PNG)}],
    }
    async with anyio.create_task_group() as tasks:
        images = ImageStore(ledger, None, tasks=tasks, now=lambda: 1.0, opened_at=0.0)
        async with refresher_of(ledger, images, client=Client(answer)) as refresher:
            generation = only(await refresher.get("ta1", ""))
            assert await images.open(generation, 0) == PNG
            kept = await images.kept_answer(generation.generation_id) or b""
            understood = kept.replace(b"AAECAwQF", to_data_uri(jpeg).partition(",")[2].encode())
            with postgres.connect(database) as db:  # a newer version reads the same answer as two images
                db.execute("UPDATE pictures SET data = %s WHERE number = -1", [understood])
            generation = only(await refresher.get("ta1", ""))
        assert [await images.open(generation, number) for number in range(2)] == [jpeg, PNG]
        await images.aclose()
    await ledger.aclose()
