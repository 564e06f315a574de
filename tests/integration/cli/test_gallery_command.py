"""`gallery`: access, contents, downloads and deletion, on both kinds of ledger."""

from __future__ import annotations

import io
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zipfile import ZipFile

import anyio
import httpx
import pytest
from PIL import Image

from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.storage import open_database
from tests.support.clients import KEY, client_at, facts, spawned
from tests.support.command_line import run_here as run
from tests.support.gallery import NOW, Opened, drawn, gallery, save_with_image
from tests.support.posix import posix_only
from tests.support.sandbox import plain_sandbox
from tests.support.settings import settings_from
from tests.support.uploads import save_upload


def png(side: int = 900) -> EncodedImage:
    file = io.BytesIO()
    Image.effect_noise((side, side), 60).save(file, "PNG")
    return EncodedImage(file.getvalue(), "image/png")


BYTES = png()
KEPT = drawn("a cat on a roof, 등대", 60, url=None)
GONE = drawn("a dog", 50, count=3)
FAILED = drawn("a castle", 40, status=Status.FAILED, images=(), message="<b>refused</b>", credits_consumed="0.1")
PLAYED = drawn("sand", 30, api="sandbox", model="other")
WAITING = drawn("a slow one", 20, status=Status.IN_PROGRESS, images=(), finished_at=None, credits_consumed=None)
LOST = Generation("in-lost", prompt="a lost one", model="google/gempix2", api="https://api.invalid", created_at=NOW)
ALL = [LOST, WAITING, PLAYED, FAILED, GONE, KEPT]
"""Newest first."""


@pytest.fixture(params=["disk", "PostgreSQL"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    variables = {"NANO_BANANA_STATE_DIR": str(tmp_path)}
    if request.param == "PostgreSQL":
        variables["NANO_BANANA_LEDGER_URL"] = request.getfixturevalue("database")
    save_with_image(settings_from(variables), KEPT, BYTES)
    ledger = open_database(settings_from(variables))
    for generation in (GONE, FAILED, PLAYED, WAITING):
        ledger.save(generation)
    ledger.begin(LOST)
    ledger.close()
    return variables


@pytest.fixture
def on_disk(tmp_path: Path) -> dict[str, str]:
    variables = {"NANO_BANANA_STATE_DIR": str(tmp_path)}
    save_with_image(settings_from(variables), KEPT, BYTES)
    return variables


@pytest.fixture
def shown(settings: dict[str, str]) -> Iterator[Opened]:
    with gallery(settings) as opened:
        yield opened


@contextmanager
def browser(opened: Opened) -> Iterator[httpx.Client]:
    """One that was given the address, and has the cookie."""
    with httpx.Client(base_url=opened.root, trust_env=False, timeout=30) as client:
        assert client.get(opened.url).status_code == 200
        yield client


def prompts(client: httpx.Client, **filters: Any) -> list[str]:
    return [item["prompt"] for item in client.get("/generations", params=filters).json()["generations"]]


def in_ledger(settings: dict[str, str]) -> set[str]:
    ledger = open_database(settings_from(settings))
    generation_ids = {generation.generation_id for generation in ledger.history()}
    ledger.close()
    return generation_ids


def delete(client: httpx.Client, generation: Generation, **more: Any) -> httpx.Response:
    return client.delete(
        f"/generations/{generation.generation_id}", headers={"Origin": str(client.base_url).rstrip("/")}, **more
    )


# ---- who is let in


def test_without_the_token_nothing_is_shown(on_disk: dict[str, str]) -> None:
    with gallery(on_disk) as opened:
        for path in ("/", "/?token=", "/?token=wrong", "/generations", f"/pictures/{KEPT.generation_id}/0", "/other"):
            refused = httpx.get(f"{opened.root}{path}", trust_env=False)
            assert refused.status_code == 403
            assert "set-cookie" not in refused.headers
            assert "cat" not in refused.text


def test_the_token_is_good_for_the_page_alone_and_brings_a_cookie_that_is_another(on_disk: dict[str, str]) -> None:
    with gallery(on_disk) as opened:
        token = opened.url.partition("?")[2]
        for path in ("/generations", f"/pictures/{KEPT.generation_id}/0"):
            assert httpx.get(f"{opened.root}{path}?{token}", trust_env=False).status_code == 403
        page = httpx.get(opened.url, trust_env=False)
        assert page.status_code == 200
        name, _, rest = page.headers["set-cookie"].partition("=")
        assert name.endswith(opened.root.rpartition(":")[2])
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(rest.split("; "))
        assert token.partition("=")[2] not in rest
        assert len(token) > 40
        with browser(opened) as client:
            assert client.get("/").status_code == 200
            assert prompts(client) == [KEPT.prompt]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_another_name_and_another_page_are_refused_even_with_the_cookie(
    headers: dict[str, Any], on_disk: dict[str, str]
) -> None:
    with gallery(on_disk) as opened, browser(opened) as client:
        for path in ("/", "/generations", f"/pictures/{KEPT.generation_id}/0"):
            assert client.get(path, headers=headers).status_code == 403
        if "Sec-Fetch-Site" not in headers:
            assert client.get(opened.url, headers=headers).status_code == 403
        assert client.delete(f"/generations/{KEPT.generation_id}", headers=headers).status_code == 403
        assert client.delete(f"/generations/{KEPT.generation_id}").status_code == 403, "without an origin"
        assert prompts(client) == [KEPT.prompt]


def test_missing_pages_and_invalid_queries_are_refused(on_disk: dict[str, str]) -> None:
    with gallery(on_disk) as opened, browser(opened) as client:
        for path in (
            "/other",
            "/pictures/in-none/0",
            f"/pictures/{KEPT.generation_id}/7",
            f"/pictures/{KEPT.generation_id}/-1",
        ):
            assert client.get(path).status_code == 404
        assert client.get("/generations?offset=x").status_code == 400
        for query in ("status=x", "limit=x", "order=x", "since=x"):
            assert client.get(f"/generations?{query}").status_code == 400
        assert client.get("/generations/in-none").status_code == 404
        assert client.post("/generations", headers={"Origin": opened.root}).status_code == 405


def test_every_answer_is_kept_from_other_pages(on_disk: dict[str, str]) -> None:
    with gallery(on_disk) as opened, browser(opened) as client:
        for path in ("/", "/generations", f"/pictures/{KEPT.generation_id}/0", "/other"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["referrer-policy"] == "no-referrer"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert client.get("/").headers["cache-control"] == "no-store"


def test_it_listens_on_this_machine_alone(on_disk: dict[str, str]) -> None:
    with gallery(on_disk) as opened:
        port = int(opened.root.rpartition(":")[2])
        assert opened.root == f"http://127.0.0.1:{port}"
        with socket.create_server(("127.0.0.2", port)):
            pass  # which would be taken if it listened on every address


# ---- what is shown


def test_it_shows_everything_newest_first_with_exact_sums(shown: Opened) -> None:
    with browser(shown) as client:
        page = client.get("/generations").json()
    assert [item["prompt"] for item in page["generations"]] == [generation.prompt for generation in ALL]
    assert page["number"] == len(ALL)
    assert Decimal(page["credits"]) == Decimal("1.1"), "the sandbox costs nothing"
    assert page["models"] == ["google/gempix2", "other"]
    last_item = page["generations"][-1]
    assert (last_item["task_id"], last_item["status"], last_item["pictures"]) == (KEPT.task_id, "success", 1)
    assert (last_item["credits"], last_item["created_at"], last_item["seconds"]) == ("0.500000", KEPT.created_at, 30)


def test_the_filters_can_be_combined(shown: Opened) -> None:
    with browser(shown) as client:
        assert prompts(client, search="등대") == [KEPT.prompt]
        assert prompts(client, search="A CAT", status="success") == [KEPT.prompt]
        assert prompts(client, search="a ca", status="failed") == [FAILED.prompt]
        assert prompts(client, model="other") == [PLAYED.prompt]
        assert prompts(client, status="unknown") == [LOST.prompt]
        assert prompts(client, search="%") == []
        assert client.get("/generations", params={"search": "대"}).json()["newest_only"] == 20_000
        assert client.get("/generations", params={"search": "등대 "}).json()["newest_only"] is None
        answer = client.get("/generations", params={"search": "a ca"}).json()
        assert (answer["number"], Decimal(answer["credits"])) == (2, Decimal("0.6"))


def test_thousands_are_listed_page_by_page_each_once(on_disk: dict[str, str]) -> None:
    ledger = open_database(settings_from(on_disk))
    for number in range(130):
        ledger.begin(Generation(f"in-{number:03}", prompt=f"{number}", created_at=1.0))  # all at the same moment
    ledger.close()
    with gallery(on_disk) as opened, browser(opened) as client:
        events: list[str] = []
        while page := prompts(client, offset=len(events)):
            assert len(page) <= 50
            events += page
    assert sorted(events) == sorted([str(number) for number in range(130)] + [str(KEPT.prompt)])


def test_an_image_is_shown_small_and_saved_whole_under_a_descriptive_name(shown: Opened) -> None:
    with browser(shown) as client:
        path = f"/pictures/{KEPT.generation_id}/0"
        assert client.get(path).content == BYTES.data
        small = client.get(f"{path}?small")
        assert len(small.content) <= 80_000
        assert max(Image.open(io.BytesIO(small.content)).size) <= 512
        saved = client.get(f"{path}?save")
        assert saved.content == BYTES.data
        assert saved.headers["content-type"] == "image/png"
        assert saved.headers["content-disposition"].startswith("attachment; ")
        assert f"a-cat-on-a-roof-등대_{KEPT.task_id}_0.png" in unquote(saved.headers["content-disposition"])


def test_an_image_whose_url_is_dead_has_a_readable_reason(shown: Opened) -> None:
    with browser(shown) as client:
        for generation, words in ((GONE, "pictures.invalid"), (PLAYED, "came from a sandbox that has ended")):
            refused = client.get(f"/pictures/{generation.generation_id}/0?small")
            assert refused.status_code == 502
            assert words in refused.json()["message"]


def test_a_saved_image_is_shown_though_its_url_is_dead(on_disk: dict[str, str], tmp_path: Path) -> None:
    from nano_banana_mcp.images.saving.output_folder import OutputFolder
    from nano_banana_mcp.media.export import metadata_of

    ledger = open_database(settings_from(on_disk))
    ledger.save(GONE)
    ledger.close()
    folder = OutputFolder(tmp_path / "saved")
    folder.make()
    path = folder.save(BYTES, metadata_of(GONE, 0))
    with gallery({**on_disk, "NANO_BANANA_OUTPUT_DIR": str(tmp_path / "saved")}) as opened, browser(opened) as client:
        assert client.get(f"/pictures/{GONE.generation_id}/0").content == path.read_bytes()
        assert delete(client, GONE).status_code == 204
    assert path.exists(), "what was saved is the person's own"


async def test_a_fetched_image_is_shown_and_its_copy_goes_with_its_entry(tmp_path: Path) -> None:
    from anyio.to_thread import run_sync as in_thread

    state = tmp_path / "state"
    where: dict[str, Any] = {"NANO_BANANA_STATE_DIR": str(state), "DEFAPI_API_KEY": KEY}

    def look(url: str, generation: Generation) -> tuple[bytes, int, list[Path]]:
        with gallery({**where, "DEFAPI_BASE_URL": url}) as opened, browser(opened) as client:
            answer = client.get(f"/pictures/{generation.generation_id}/0").content
            assert list(state.glob("images/index/*/*"))
            return answer, delete(client, generation).status_code, list(state.glob("images/index/*/*"))

    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, state_dir=state) as client,
    ):
        made = facts(await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240}))
        ledger = open_database(settings_from(where))
        generation = ledger.find(made["task_id"])
        ledger.close()
        assert generation is not None
        answer, status, left = await in_thread(look, sandbox.url, generation)
        assert sandbox.stats.submits == 1
    assert answer.startswith(b"\x89PNG")
    assert status == 204
    assert left == []


def test_an_image_of_a_sandbox_is_shown_after_the_sandbox_has_ended(tmp_path: Path) -> None:
    settings: dict[str, str] = {"NANO_BANANA_STATE_DIR": str(tmp_path / "state"), "NANO_BANANA_SANDBOX_SECONDS": "0"}
    made = run("--sandbox", "generate", "a cat", "--output", tmp_path / "out", settings=settings)
    assert made.returncode == 0
    with gallery(settings) as opened, browser(opened) as client:
        [item] = client.get("/generations").json()["generations"]
        assert item["urls"] == [None], "it leads nowhere any more"
        assert client.get(f"/pictures/{item['id']}/0").content.startswith(b"\x89PNG")
        assert client.get(f"/pictures/{item['id']}/0?small").status_code == 200


def test_an_unreadable_folder_of_saved_images_hides_no_stored_image(on_disk: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with gallery({**on_disk, "NANO_BANANA_OUTPUT_DIR": str(tmp_path / "file")}) as opened, browser(opened) as client:
        assert client.get(f"/pictures/{KEPT.generation_id}/0").content == BYTES.data


def test_the_detail_has_the_file_of_each_image(on_disk: dict[str, str]) -> None:
    with gallery(on_disk) as opened, browser(opened) as client:
        detail = client.get(f"/generations/{KEPT.generation_id}").json()
    assert Path(detail["files"][0]).read_bytes() == BYTES.data
    assert detail["urls"] == [None]


def test_orders_dates_and_favorites_work_on_both_ledgers(shown: Opened) -> None:
    newest = [generation.prompt for generation in ALL]
    favorite = f"/favorites/{GONE.generation_id}"
    with browser(shown) as client:
        own_page = {"Origin": shown.root}
        assert prompts(client, order="oldest") == newest[::-1]
        assert prompts(client, order="prompt") == sorted(newest, key=str)
        assert prompts(client, since=int(NOW - 40), until=int(NOW - 20)) == [PLAYED.prompt, FAILED.prompt]
        assert client.put(favorite).status_code == 403, "without an origin"
        for _ in range(2):
            assert client.put(favorite, headers=own_page).status_code == 204
        assert client.put("/favorites/in-none", headers=own_page).status_code == 204
        assert prompts(client, favorite="yes") == [GONE.prompt]
        page = client.get("/generations").json()["generations"]
        assert [item["prompt"] for item in page if item["favorite"]] == [GONE.prompt]
        assert client.delete(favorite, headers=own_page).status_code == 204
        assert prompts(client, favorite="yes") == []


def test_an_unchanged_page_is_not_sent_again(on_disk: dict[str, str]) -> None:
    with gallery(on_disk) as opened, browser(opened) as client:
        first = client.get("/generations")
        generation = {"If-None-Match": first.headers["etag"]}
        assert client.get("/generations", headers=generation).status_code == 304
        client.put(f"/favorites/{KEPT.generation_id}", headers={"Origin": opened.root})
        assert client.get("/generations", headers=generation).status_code == 200


def test_an_archive_has_the_exact_bytes_and_names_missing_images(shown: Opened) -> None:
    ids = [KEPT.generation_id, GONE.generation_id, FAILED.generation_id, "in-none"]
    with browser(shown) as client:
        answer = client.get("/archive", params={"ids": ",".join(ids)})
        assert answer.headers["content-type"] == "application/zip"
        assert answer.headers["content-disposition"].startswith("attachment; ")
        with ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            image, missing = archive.namelist()
            assert f"a-cat-on-a-roof-등대_{KEPT.task_id}_0.png" in image
            assert archive.read(image) == BYTES.data
            lines = archive.read(missing).decode().splitlines()
        assert [line.split(",")[0] for line in lines] == [GONE.task_id] * 3
        assert client.get("/archive", params={"ids": FAILED.generation_id}).status_code == 404
        assert client.get("/archive").status_code == 404
        assert client.get("/archive", params={"ids": "x," * 500}).status_code == 400


# ---- deleting


def test_a_deleted_generation_is_removed_with_its_stored_image(settings: dict[str, str], shown: Opened) -> None:
    with browser(shown) as client:
        assert delete(client, KEPT).status_code == 204
        assert delete(client, KEPT).status_code == 404
        assert client.get(f"/pictures/{KEPT.generation_id}/0").status_code == 404
        assert KEPT.prompt not in prompts(client)
    assert in_ledger(settings) == {generation.generation_id for generation in ALL} - {KEPT.generation_id}
    if "NANO_BANANA_LEDGER_URL" in settings:
        ledger = open_database(settings_from(settings))
        assert ledger.load_image(KEPT.generation_id, 0) is None
        ledger.close()
    assert list(Path(settings["NANO_BANANA_STATE_DIR"]).glob("images/index/*/*")) == []


@pytest.mark.parametrize("generation", [LOST, WAITING], ids=["of unknown outcome", "not finished"])
def test_an_unfinished_generation_is_deleted_only_if_the_request_says_so(
    generation: Generation, settings: dict[str, str], shown: Opened
) -> None:
    with browser(shown) as client:
        refused = delete(client, generation)
        assert refused.status_code == 409
        assert "not known" in refused.json()["message"]
        assert generation.generation_id in in_ledger(settings)
        assert delete(client, generation, params={"unfinished": "yes"}).status_code == 204
    assert generation.generation_id not in in_ledger(settings)


def test_a_task_id_deletes_nothing(settings: dict[str, str], shown: Opened) -> None:
    """It may stand for two entries; the page names the entry."""
    with browser(shown) as client:
        gone = client.delete(f"/generations/{KEPT.task_id}", headers={"Origin": shown.root})
        assert gone.status_code == 404
    assert KEPT.generation_id in in_ledger(settings)


# ---- uploads


def test_uploads_are_listed_shown_and_deleted_with_their_bytes(settings: dict[str, str], shown: Opened) -> None:
    older, newer = (anyio.run(save_upload, settings, png(side).data) for side in (900, 600))
    with browser(shown) as client:
        listed = client.get("/uploads").json()["uploads"]
        assert [(upload["id"], upload["width"], upload["height"]) for upload in listed] == [
            (newer, 600, 600),
            (older, 900, 900),
        ]
        assert listed[0]["resource_uri"] == f"nanobanana://uploads/{newer}"
        assert Image.open(io.BytesIO(client.get(f"/uploads/{older}").content)).size == (900, 900)
        assert Image.open(io.BytesIO(client.get(f"/uploads/{older}?small").content)).width <= 512
        archived = client.get("/archive", params={"ids": f"{newer},{KEPT.generation_id},{older}"})
        with ZipFile(io.BytesIO(archived.content)) as archive:
            names = archive.namelist()
            assert [name.rpartition("_")[0].rpartition("_")[2] for name in names] == [newer, KEPT.task_id, older]
            assert archive.read(names[0]) == client.get(f"/uploads/{newer}").content
        assert client.delete(f"/uploads/{older}").status_code == 403
        own = {"Origin": shown.root}
        assert client.delete(f"/uploads/{older}", headers=own).status_code == 204
        assert client.delete(f"/uploads/{older}", headers=own).status_code == 404
        assert client.get(f"/uploads/{older}").status_code == 404
        assert [upload["id"] for upload in client.get("/uploads").json()["uploads"]] == [newer]
        assert [upload["id"] for upload in client.get("/generations").json()["uploads"]] == [newer]
    assert list(Path(settings["NANO_BANANA_STATE_DIR"]).glob(f"images/index/*/{older}*")) == []


def test_a_marked_copy_belongs_to_the_owner_of_its_image_and_is_checked(on_disk: dict[str, str]) -> None:
    owned = drawn("of alice", principal="alice")
    save_with_image(settings_from(on_disk), owned, BYTES)
    with gallery(on_disk) as opened, browser(opened) as client:
        own, path = {"Origin": opened.root}, f"/uploads?marks={owned.generation_id}"
        assert client.post(path, content=BYTES.data).status_code == 403, "without an origin"
        assert client.post("/uploads?marks=in-none", content=BYTES.data, headers=own).status_code == 404
        for data in (b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"", b"x" * (20 * 1024 * 1024 + 1)):
            assert client.post(path, content=data, headers=own).status_code == 415
        marked = client.post(path, content=BYTES.data, headers=own)
        assert marked.status_code == 201
        assert marked.json()["principal"] == "alice"
        assert client.get(f"/uploads/{marked.json()['id']}").status_code == 200


# ---- the process


def test_it_needs_no_key_and_sends_nothing_to_the_api(on_disk: dict[str, str]) -> None:
    with gallery({**on_disk, "DEFAPI_BASE_URL": "http://127.0.0.1:9"}) as opened, browser(opened) as client:
        assert prompts(client) == [KEPT.prompt]


def test_a_taken_port_and_a_corrupt_ledger_are_reported_with_a_message(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run("gallery", "--no-browser", "--port", port, NANO_BANANA_STATE_DIR=str(tmp_path))
        assert ended.returncode == 1
        assert port in ended.stderr
        assert "Traceback" not in ended.stderr
    (tmp_path / "ledger.sqlite3").write_bytes(b"garbage " * 1_000)
    ended = run("gallery", "--no-browser", NANO_BANANA_STATE_DIR=str(tmp_path))
    assert ended.returncode == 1
    assert "not a database" in ended.stderr
    assert "Traceback" not in ended.stderr


@posix_only
def test_the_browser_is_opened_with_the_address_and_a_signal_ends_the_gallery_without_an_error(
    on_disk: dict[str, str], tmp_path: Path
) -> None:
    opener, events = tmp_path / "opener", tmp_path / "told"
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > {events}.part && mv {events}.part {events}\n')
    opener.chmod(0o755)

    with spawned("gallery", **on_disk, BROWSER=f"{opener} %s") as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("Your pictures: ").strip()
        try:
            # The page is asked for until the opener, another process, has written the address down.
            while not events.exists():
                httpx.get(url, trust_env=False)
            assert events.read_text() == url
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert stderr == ""


def test_any_prompt_is_shown_and_cannot_break_the_name_of_a_file(on_disk: dict[str, str]) -> None:
    generation = drawn("\u202e \0 \"'<script>\r\nSet-Cookie: a=b;", url=None)
    save_with_image(settings_from(on_disk), generation, BYTES)
    with gallery(on_disk) as opened, browser(opened) as client:
        assert generation.prompt in prompts(client)
        saved = client.get(f"/pictures/{generation.generation_id}/0?save")
        assert saved.content == BYTES.data
        assert "set-cookie" not in saved.headers
