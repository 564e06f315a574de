"""Requests for uploads, uploads and their pieces, in every ledger."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from nano_banana_mcp.generations.uploads import (
    GRANT,
    GRANT_SECONDS,
    Upload,
    UploadRequest,
    new_reference_id,
    new_upload_request,
)
from nano_banana_mcp.ledger.base import Ledger
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from nano_banana_mcp.ledger.upload_queries import KEEP_REQUEST_SECONDS
from tests.support.ledgers import memory_ledger

NOW = 1_790_000_000.0


def upload_for(request: UploadRequest) -> Upload:
    return Upload(new_reference_id(), request.upload_id, request.principal, "image/png", 3, 2, NOW)


async def add(ledger: Ledger, upload: Upload, now: float = NOW, limit: int = 9) -> bool:
    def check(number: int) -> None:
        if number >= limit:
            raise OverflowError(number)

    return await ledger.add_upload(upload, b"bytes", now, check, NOW - 1)


def test_a_request_for_uploads_has_ids_and_a_grant_that_cannot_be_guessed() -> None:
    request = new_upload_request("alice", "a portrait", 2, NOW)
    assert request == UploadRequest(
        request.upload_id, request.grant, "alice", "a portrait", 2, NOW, NOW + GRANT_SECONDS
    )
    assert re.fullmatch("up-[0-9a-f]{24}", request.upload_id)
    assert GRANT.fullmatch(request.grant)
    assert re.fullmatch("ref-[0-9a-f]{24}", new_reference_id())


async def test_a_request_is_found_by_its_id_and_owner_and_by_its_grant(ledger: Ledger) -> None:
    request = new_upload_request("alice", "a portrait", 2, NOW)
    await ledger.save_upload_request(request)
    assert await ledger.find_upload_request(request.upload_id, "alice") == request
    assert await ledger.find_upload_request(request.upload_id, "bob") is None
    assert await ledger.find_grant(request.grant) == request
    assert await ledger.find_grant(f"{request.grant}x") is None


async def test_a_grant_takes_as_many_uploads_as_were_asked_for(ledger: Ledger) -> None:
    request = new_upload_request("alice", None, 2, NOW)
    await ledger.save_upload_request(request)
    uploads = [upload_for(request) for _ in range(3)]
    assert [await add(ledger, upload) for upload in uploads] == [True, True, False]
    assert {upload.reference_id for upload in await ledger.uploads_for(request.upload_id)} == {
        upload.reference_id for upload in uploads[:2]
    }
    assert await ledger.find_upload(uploads[0].reference_id) == uploads[0]
    assert await ledger.find_upload(uploads[2].reference_id) is None
    assert await ledger.find_grant(request.grant) == replace(request, used=2)
    assert await ledger.count_uploads("alice", NOW - 1) == 2
    assert await ledger.count_uploads("bob", NOW - 1) == 0
    assert await ledger.count_uploads("alice", NOW + 1) == 0


async def test_an_expired_grant_takes_nothing(ledger: Ledger) -> None:
    request = new_upload_request("", None, 1, NOW)
    await ledger.save_upload_request(request)
    assert not await add(ledger, upload_for(request), NOW + GRANT_SECONDS)
    assert await ledger.uploads_for(request.upload_id) == []


async def test_uploads_at_the_same_time_use_a_grant_once(ledger: Ledger) -> None:
    request = new_upload_request("", None, 1, NOW)
    await ledger.save_upload_request(request)
    taken = []

    async def attempt() -> None:
        taken.append(await add(ledger, upload_for(request)))

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(attempt)
    assert sorted(taken) == [False] * 5 + [True]


async def test_a_refusing_check_records_nothing() -> None:
    ledger = memory_ledger()
    request = new_upload_request("", None, 2, NOW)
    await ledger.save_upload_request(request)
    assert await add(ledger, upload_for(request), limit=1)
    with pytest.raises(OverflowError):
        await add(ledger, upload_for(request), limit=1)
    assert await ledger.find_grant(request.grant) == replace(request, used=1)
    await ledger.aclose()


async def test_pieces_are_taken_once_and_the_last_write_of_each_counts(ledger: Ledger) -> None:
    request = new_upload_request("", None, 1, NOW)
    await ledger.save_upload_request(request)
    for piece, data in ((1, b"b"), (0, b"?"), (0, b"a\0")):
        assert await ledger.save_piece(request.upload_id, 0, piece, data, 99)
    assert await ledger.save_piece(request.upload_id, 1, 0, b"other", 99)
    assert await ledger.take_pieces(request.upload_id, 0) == {0: b"a\0", 1: b"b"}
    assert await ledger.take_pieces(request.upload_id, 0) == {}
    assert await ledger.take_pieces(request.upload_id, 1) == {0: b"other"}


async def test_the_pieces_of_one_owner_are_bounded_over_all_requests(ledger: Ledger) -> None:
    first, second, other = (new_upload_request(name, None, 1, NOW) for name in ("alice", "alice", "bob"))
    for request in (first, second, other):
        await ledger.save_upload_request(request)
    assert await ledger.save_piece(first.upload_id, 0, 0, b"12345", 9)
    assert not await ledger.save_piece(second.upload_id, 0, 0, b"12345", 9)
    assert await ledger.save_piece(other.upload_id, 0, 0, b"12345", 9)
    assert await ledger.save_piece(second.upload_id, 0, 0, b"1234", 9)


async def test_old_requests_go_and_their_uploads_stay(ledger: Ledger) -> None:
    request = new_upload_request("", None, 1, NOW)
    await ledger.save_upload_request(request)
    assert await ledger.save_piece(request.upload_id, 0, 0, b"half", 99)
    upload = upload_for(request)
    assert await add(ledger, upload)
    await ledger.save_upload_request(new_upload_request("", None, 1, NOW + GRANT_SECONDS + 1))
    assert await ledger.find_upload_request(request.upload_id, "") is not None
    assert await ledger.take_pieces(request.upload_id, 0) == {}
    await ledger.save_upload_request(new_upload_request("", None, 1, NOW + GRANT_SECONDS + KEEP_REQUEST_SECONDS + 1))
    assert await ledger.find_upload_request(request.upload_id, "") is None
    assert await ledger.find_upload(upload.reference_id) == upload


def test_uploads_are_pruned_at_their_age(tmp_path: Path) -> None:
    database = SqliteLedger(tmp_path)
    request = new_upload_request("", None, 2, NOW)
    database.save_upload_request(request)
    older, newer = upload_for(request), replace(upload_for(request), created_at=NOW + 60)
    for upload in (older, newer):
        assert database.add_upload(upload, b"bytes", NOW, lambda number: None, NOW)
    database.prune(older_than=NOW + 30, now=NOW + 90)
    assert (database.find_upload(older.reference_id), database.find_upload(newer.reference_id)) == (None, newer)
    assert database.recent_uploads(9) == [newer]
    database.close()
