"""Several images in one answer: a limit for all, and one that fails hinders no other."""

from __future__ import annotations

import anyio
import pytest

from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.media.previews import view
from tests.support.fake_internet import answer
from tests.support.image_samples import drawn
from tests.support.image_stores import Stores

pytestmark = pytest.mark.slow

JPEG = EncodedImage(drawn("JPEG"), "image/jpeg")


def generation(*urls: str | None) -> Generation:
    images = tuple(GeneratedImage(url, "image/png") for url in urls)
    return Generation("in-1", status=Status.SUCCESS, images=images)


async def test_images_beyond_the_limit_of_an_answer_are_left_out_by_number(stores: Stores) -> None:
    store = stores.open()
    for number in range(10):
        await store.put("in-1", number, JPEG)
    views = await view(store, generation(*[None] * 10), range(10), max_side=1024)
    assert [item.number for item in views] == list(range(10))
    assert [item.shown is not None for item in views] == [True] * 8 + [False] * 2
    assert "limit" in (views[9].trouble or "")
    [last] = await view(store, generation(*[None] * 10), [9], max_side=1024)
    assert last.shown is not None


async def test_an_image_that_cannot_be_shown_says_why_and_hides_no_other(stores: Stores) -> None:
    store = stores.open()
    await store.put("in-1", 0, JPEG)
    views = await view(store, generation(None, None, stores.url()), range(3), max_side=1024)
    assert [item.shown is not None for item in views] == [True, False, False]
    assert "does not have it" in (views[1].trouble or "")
    assert "404" in (views[2].trouble or "")


async def test_a_host_that_does_not_answer_takes_no_more_than_the_time_of_the_answer(stores: Stores) -> None:
    async def hang(_: object) -> None:
        await anyio.sleep_forever()

    stores.host.answers |= {"/a.png": hang, "/b.png": answer(JPEG.data)}
    views = await view(
        stores.open(), generation(stores.url(), stores.url("/b.png")), range(2), max_side=64, max_seconds=3
    )
    assert "within 3 s" in (views[0].trouble or "")
    assert views[1].shown is not None
