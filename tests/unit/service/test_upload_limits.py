"""Hundreds of uploads of one caller: the accepted ones, the refusals, and their cost for this server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from nano_banana_mcp.generations.quotas import LimitReached
from nano_banana_mcp.images.resizing import reference
from nano_banana_mcp.images.resizing.worker import shrink_in_worker
from nano_banana_mcp.service import uploads as service_uploads
from nano_banana_mcp.service.uploads import MAX_PIECES
from tests.support.image_samples import drawn
from tests.support.uploads import form, upload_page

pytestmark = pytest.mark.slow

ATTEMPTS = 500
OVER_HTTP = 100
"""Of them, of which each takes a form and an HTTP request."""
PIECES = 5_000
"""Of 1,000 bytes: more than may be stored, and than may be sent per minute."""
PER_DAY = 3
IMAGE = drawn("PNG")


limited = partial(upload_page, NANO_BANANA_UPLOADS_PER_DAY=str(PER_DAY))


async def answer_of(posting: Awaitable[httpx.Response]) -> tuple[int, Any]:
    answer = await posting
    return answer.status_code, answer.json().get("message")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes in bytes of the images for which a process was started."""
    sizes: list[int] = []

    async def shrink(image: Any, **options: Any) -> Any:
        sizes.append(len(image.data))
        return await shrink_in_worker(image, **options)

    monkeypatch.setattr(reference, "shrink_in_worker", shrink)
    return sizes


async def test_of_many_uploads_with_one_grant_those_that_were_asked_for_get_in(
    tmp_path: Path, decoded: list[int]
) -> None:
    async with limited(tmp_path) as (uploads, send):
        request = await uploads.ask("alice", count=2)
        answers = Counter([await answer_of(send(request, form(IMAGE))) for _ in range(OVER_HTTP)])
        gone = "This upload link is invalid, used or expired. Ask the assistant for a new one."
        assert answers == {(200, None): 2, (404, gone): OVER_HTTP - 2}
        assert len(await uploads.arrived(request)) == 2
    assert len(decoded) == 2


async def test_of_many_uploads_with_many_grants_those_within_the_days_limit_get_in(
    tmp_path: Path, decoded: list[int]
) -> None:
    """A refused one starts no process, stores nothing and uses nothing up."""
    async with limited(tmp_path) as (uploads, send):
        requests = [await uploads.ask("alice", count=4) for _ in range(50)]
        others = await uploads.ask("bob")
        limit = f"Your limit of {PER_DAY} uploads per day is reached. It is renewed at 00:00 UTC. "
        limit += "The operator of this server can raise it (NANO_BANANA_UPLOADS_PER_DAY)."
        answers = Counter(
            [await answer_of(send(requests[number % len(requests)], form(IMAGE))) for number in range(OVER_HTTP)]
        )
        assert answers == {(200, None): PER_DAY, (429, limit): OVER_HTTP - PER_DAY}
        for number in range(ATTEMPTS - OVER_HTTP):
            with pytest.raises(LimitReached, match="3 uploads per day is reached"):
                await uploads.receive(requests[number % len(requests)], IMAGE)
        arrived = [upload for request in requests for upload in await uploads.arrived(request)]
        assert len(arrived) == PER_DAY
        assert await answer_of(send(others, form(IMAGE))) == (200, None)
    assert len(decoded) == PER_DAY + 1
    assert len(list(tmp_path.glob("images/index/*/*"))) == PER_DAY + 1


async def test_of_many_pieces_of_incomplete_images_a_bounded_number_of_bytes_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_uploads, "MAX_STORED_PIECES_BYTES", 100_000)
    async with limited(tmp_path) as (uploads, _):
        requests = [await uploads.ask("alice", count=4) for _ in range(50)]
        stored: set[tuple[str, int]] = set()
        refusals = set()
        for number in range(PIECES):
            request, piece = requests[number % len(requests)], number // len(requests)
            try:
                assert await uploads.receive_piece(request, 0, piece, MAX_PIECES, bytes(1_000)) is None
                stored.add((request.upload_id, piece))
            except LimitReached as error:
                refusals.add((error.message, error.hint.split()[0]))
        assert len(stored) == 100
        assert refusals == {
            ("Too many images are being uploaded.", "Those"),
            (f"Rate limit exceeded: {service_uploads.PIECES_PER_MINUTE} pieces per minute.", "Wait"),
        }
