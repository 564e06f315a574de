import io
import re

import httpx
import pytest
from PIL import Image, ImageFont

from nano_banana_sandbox import drawing
from tests.support.sandbox_driver import BROWSER, KEY, Serve

pytestmark = pytest.mark.slow


def opened(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200
    image = Image.open(io.BytesIO(response.content))
    image.load()
    return image


@pytest.mark.parametrize(
    ("image", "ending", "claimed", "really"),
    [
        ("png", "png", "image/png", "PNG"),
        ("jpeg", "jpg", "image/jpeg", "JPEG"),
        ("webp", "webp", "image/webp", "WEBP"),
        ("gif", "gif", "image/gif", "GIF"),
        ("mislabelled", "png", "image/png", "JPEG"),
    ],
)
async def test_the_image_has_the_wanted_format(
    serve: Serve, image: str, ending: str, claimed: str, really: str
) -> None:
    async with serve() as api:
        response = await api.image(f"a hill sandbox:picture={image}")
        assert response.url.path.endswith(f".{ending}")
        assert response.headers["content-type"] == claimed
        assert opened(response).format == really
        assert opened(response).size == (1024, 1024)


@pytest.mark.parametrize(
    ("ratio", "size", "pixels"),
    [
        ("16:9", "1k", (1024, 576)),
        ("9:16", "2k", (1152, 2048)),
        ("auto", "1k", (1024, 1024)),
        ("21:9", "4k", (4096, 1755)),
        ("4:1", "512", (512, 128)),
    ],
)
async def test_the_image_has_the_wanted_size(serve: Serve, ratio: str, size: str, pixels: tuple[int, int]) -> None:
    async with serve() as api:
        response = await api.image("a hill", aspect_ratio=ratio, image_size=size, model="google/nano-banana-pro")
        assert opened(response).size == pixels


@pytest.mark.parametrize(
    ("ratio", "size", "pixels"), [("16:9", "1k", (1024, 576)), ("4:1", "512", (512, 128)), ("9:16", "512", (288, 512))]
)
def test_a_drawing_has_the_wanted_size(ratio: str, size: str, pixels: tuple[int, int]) -> None:
    assert drawing.draw("a hill", aspect_ratio=ratio, image_size=size).size == pixels


WIDE = "google/nano-banana"
"""A model that applies a format."""


async def test_a_model_that_is_not_known_to_apply_a_format_or_size_ignores_it(serve: Serve) -> None:
    async with serve() as api:
        for model, pixels in (("google/gempix2", (1024, 1024)), ("google/nano-banana", (1024, 576))):
            response = await api.image("a hill", aspect_ratio="16:9", image_size="4k", model=model)
            assert opened(response).size == pixels


async def test_the_images_of_one_task_differ_and_each_is_drawn_once(serve: Serve) -> None:
    async with serve(art="scenery") as api:
        data = await api.ending("a hill sandbox:result=many sandbox:picture=jpeg")
        urls = [item["image"] for item in data["result"]]
        contents = [(await api.client.get(url, headers=BROWSER)).content for url in urls * 2]
        assert len(urls) == 4
        assert len(set(contents)) == 4
        assert contents[:4] == contents[4:]


def draw(words: str, **more: int) -> bytes:
    return drawing.draw(words, aspect_ratio="4:1", image_size="1k", **more).tobytes()  # a quarter of the work of 1:1


def test_the_same_words_draw_the_same_image() -> None:
    first = draw("a hill")
    assert first == draw("a hill")
    assert first != draw("a hill", references=1)
    assert first != draw("a hill", number=1)


@pytest.mark.parametrize(
    "words",
    ["", "🍌🍌🍌", "\ud800", "다람쥐", "x" * 500, "숲 forest", "a\u202eb\0c", "sea cat", "city night", "snow", "dunes"],
)
def test_any_words_can_be_drawn(words: str) -> None:
    assert draw(words)


def test_a_caption_keeps_only_what_its_font_can_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_fonts", lambda size: [ImageFont.load_default(size=size)])
    assert drawing.font_for("바다의 cat 고양이, blue", 20)[1] == "cat , blue"
    assert drawing.font_for("바다, 고양이!", 20)[1] == ""


def test_the_ribbon_can_be_drawn_in_full() -> None:
    assert drawing.drawable(drawing.RIBBON, ImageFont.load_default(size=20)) == drawing.RIBBON


def test_a_caption_takes_three_lines_at_most() -> None:
    lines = drawing._wrap("a banana " * 100, ImageFont.load_default(size=20), 400)
    assert len(lines) == 3
    assert lines[-1].endswith("…")


@pytest.mark.parametrize("agent", ["", "python-httpx/0.28.1", "python-requests/2.32", "Python-urllib/3.11"])
async def test_the_file_host_refuses_http_libraries(serve: Serve, agent: str) -> None:
    async with serve() as api:
        url = (await api.ending("a hill"))["result"][0]["image"]
        response = await api.client.get(url, headers={"User-Agent": agent})
        assert (response.status_code, response.text) == (403, "error code: 1010")


@pytest.mark.parametrize(
    ("fault", "status", "content"),
    [
        ("403", 403, "^error code: 1010$"),
        ("404", 404, "^Not Found$"),
        ("html", 200, "^<!DOCTYPE html>"),
        ("redirect", 302, "^$"),
    ],
)
async def test_the_file_host_can_fail(serve: Serve, fault: str, status: int, content: str) -> None:
    async with serve() as api:
        response = await api.image(f"a hill sandbox:file={fault}")
        assert response.status_code == status
        assert re.search(content, response.text)


async def test_a_redirect_leads_to_the_image(serve: Serve) -> None:
    async with serve() as api:
        api.client.follow_redirects = True
        response = await api.image("a hill sandbox:file=redirect")
        assert len(response.history) == 1
        assert opened(response).size == (1024, 1024)


async def test_a_file_that_hangs_answers_nothing(serve: Serve) -> None:
    async with serve() as api:
        url = (await api.ending("a hill sandbox:file=hang"))["result"][0]["image"]
        with pytest.raises(httpx.ReadTimeout):
            await api.client.get(url, headers=BROWSER, timeout=0.2)


async def test_a_huge_file_outgrows_any_limit_without_saying_so(serve: Serve) -> None:
    async with serve() as api:
        url = (await api.ending("a hill sandbox:file=huge"))["result"][0]["image"]
        async with api.client.stream("GET", url, headers=BROWSER) as response:
            assert "content-length" not in response.headers
            seen = 0
            async for chunk in response.aiter_raw():
                seen += len(chunk)
                if seen > 30_000_000:
                    break
        assert seen > 30_000_000


async def test_a_counted_file_fault_ends(serve: Serve) -> None:
    async with serve() as api:
        url = (await api.ending("a hill sandbox:file=404*1"))["result"][0]["image"]
        assert [(await api.client.get(url, headers=BROWSER)).status_code for _ in range(2)] == [404, 200]


async def test_there_is_no_image_before_the_end_nor_under_another_name(serve: Serve) -> None:
    async with serve() as api:
        working, done = await api.task_id("a hill"), await api.task_id("a hill sandbox:seconds=0")
        for name in (
            f"{working}-0.png",
            f"{done}-1.png",
            f"{done}-0.jpg",
            f"{done}-00.png",
            f"{done}.png",
            "x",
            "-.png",
        ):
            assert (await api.client.get(f"/files/{name}", headers=BROWSER)).status_code == 404


async def test_a_key_that_is_sent_to_the_file_host_is_noticed(serve: Serve) -> None:
    async with serve() as api:
        await api.client.get("/files/x", headers=BROWSER)
        assert (api.sandbox.stats.files, api.sandbox.stats.files_with_key) == (1, 0)
        await api.client.get("/files/x", headers=BROWSER | KEY)
        assert (api.sandbox.stats.files, api.sandbox.stats.files_with_key) == (2, 1)


async def test_plain_art_is_one_colour_of_the_right_size_and_differs_with_the_words(serve: Serve) -> None:
    async with serve() as driver:
        first, second = [
            Image.open(io.BytesIO((await driver.image(words, aspect_ratio="16:9", model=WIDE)).content)).convert("RGB")
            for words in ("a hill", "a lake")
        ]
    assert first.size == (1024, 576)
    assert first.getcolors() == [(1024 * 576, first.getpixel((0, 0)))]
    assert first.getpixel((0, 0)) != second.getpixel((0, 0))
