"""The image store: the stored bytes, their readers, and the order of deletion."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import anyio
import pytest

from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status
from nano_banana_mcp.generations.uploads import Upload, new_reference_id
from nano_banana_mcp.images.errors import ImageUnavailable
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.media.image_store import ImageStore, NoSuchImage
from tests.support.fake_internet import answer
from tests.support.image_ledger import ImageLedger
from tests.support.image_samples import drawn, large_png, png
from tests.support.image_stores import Stores

PNG = EncodedImage(png(), "image/png")


def generation(*urls: str | None, generation_id: str = "in-1", **fields: object) -> Generation:
    images = tuple(GeneratedImage(url, "image/png") for url in urls)
    finished = Generation(generation_id, task_id="ta-1", status=Status.SUCCESS, images=images)
    for name, value in fields.items():
        object.__setattr__(finished, name, value)
    return finished


async def stored(store: ImageStore, finished: Generation) -> None:
    store.on_end(finished)
    with anyio.fail_after(60):
        await store.wait_until_settled()


async def test_an_image_is_stored_when_its_end_is_known_and_outlives_its_url_and_the_process(stores: Stores) -> None:
    finished = generation(stores.url())
    stores.host.answers["/a.png"] = answer(PNG.data)
    await stored(stores.open(), finished)
    del stores.host.answers["/a.png"]
    assert await stores.open().open(finished, 0) == PNG
    assert stores.host.paths() == ["/a.png"]


async def test_an_image_that_an_earlier_process_did_not_store_is_stored_later(stores: Stores) -> None:
    finished = generation(stores.url(), finished_at=stores.time)
    stores.host.answers["/a.png"] = answer(PNG.data)
    for _ in range(2):
        store = stores.open()
        await store.store_missing([finished])
        with anyio.fail_after(60):
            await store.wait_until_settled()
    assert stores.host.paths() == ["/a.png"]


async def test_an_image_that_may_have_been_deleted_for_the_size_limit_is_not_stored_again(stores: Stores) -> None:
    store = stores.open(max_bytes=1)
    await store.store_missing([generation(stores.url(), finished_at=stores.time)])
    await store.wait_until_settled()
    assert stores.host.paths() == []


async def test_an_image_is_found_by_the_url_that_its_caller_was_given_and_by_no_other_caller(stores: Stores) -> None:
    finished = generation(stores.url("/b.png"), stores.url(), principal="alice")
    stores.ledger.generations.append(finished)
    stores.host.answers |= {"/a.png": answer(PNG.data), "/b.png": answer(drawn("PNG"))}
    await stored(stores.open(), finished)
    stores.host.answers.clear()
    assert await stores.open().by_url(stores.url(), "alice") == PNG
    for url, principal in ((stores.url(), "bob"), (stores.url("/c.png"), "alice"), ("not a url", "alice")):
        with pytest.raises(NoSuchImage):
            await stores.open().by_url(url, principal)


async def test_all_callers_at_once_share_one_download(stores: Stores) -> None:
    stores.host.answers["/a.png"] = answer(PNG.data)
    store = stores.open()
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(store.open, generation(stores.url()), 0)
    assert stores.host.paths() == ["/a.png"]


async def test_bytes_that_came_with_the_answer_are_stored_before_the_end_is_recorded(stores: Stores) -> None:
    await stores.open().put("in-1", 1, PNG)
    assert await stores.open().open(generation(stores.url(), None), 1) == PNG


async def test_a_database_that_stores_images_gets_the_only_copy_and_the_folder_is_a_cache(stores: Stores) -> None:
    ledger = ImageLedger(stores_images=True)
    await stores.open(ledger=ledger).put("in-1", 0, PNG)
    assert ledger.images == {("in-1", 0): PNG}
    shutil.rmtree(stores.state)
    assert await stores.open(ledger=ledger).open(generation(None), 0) == PNG
    ledger.images.clear()
    assert await stores.open(ledger=ledger).open(generation(None), 0) == PNG


async def test_without_a_folder_images_are_kept_in_memory(stores: Stores) -> None:
    store = ImageStore(
        stores.ledger.as_ledger(), None, tasks=stores.tasks, now=lambda: stores.time, opened_at=stores.time
    )
    await store.put("in-1", 0, PNG)
    assert await store.open(generation(None), 0) == PNG
    assert store.size() == (1, len(PNG.data))


async def test_an_image_of_a_sandbox_that_has_ended_opens_if_it_was_stored(stores: Stores) -> None:
    finished = generation(stores.url(), api="sandbox", created_at=stores.time)
    stores.host.answers["/a.png"] = answer(PNG.data)
    await stored(stores.open(), finished)
    later = stores.open(opened_at=stores.time + 1)
    assert await later.open(finished, 0) == PNG
    with pytest.raises(ImageUnavailable, match="sandbox that has ended"):
        await later.open(generation(stores.url(), generation_id="in-2", api="sandbox", created_at=stores.time), 0)
    assert stores.host.paths() == ["/a.png"]


async def test_a_host_that_fails_is_tried_again_and_one_that_lost_the_image_is_not(stores: Stores) -> None:
    store = stores.open(retry_seconds=(0.0, 0.0))
    await stored(store, generation(stores.url("/gone.png")))
    stores.host.answers["/busy.png"] = answer(status="503 Service Unavailable")
    busy = generation(stores.url("/busy.png"), generation_id="in-2")
    store.on_end(busy)
    with anyio.fail_after(60):
        while stores.host.paths().count("/busy.png") < 3:
            await anyio.lowlevel.checkpoint()
    assert stores.host.paths().count("/gone.png") == 1


async def test_a_number_beyond_the_images_and_bytes_that_are_gone_are_no_image(stores: Stores) -> None:
    for number in (-1, 0, 1):
        with pytest.raises(NoSuchImage):
            await stores.open().open(generation(None), number)


async def test_the_type_is_that_of_the_bytes_once_they_were_read(stores: Stores) -> None:
    finished = generation(stores.url())
    stores.host.answers["/a.png"] = answer(drawn("JPEG"))
    store = stores.open()
    assert store.with_mime_types(finished).images[0].mime_type == "image/png"
    await stored(store, finished)
    assert store.with_mime_types(finished).images[0].mime_type == "image/jpeg"


async def test_below_1_gb_of_free_disk_only_sole_copies_are_stored_and_one_warning_is_logged(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    store = stores.open(free_bytes=lambda path: 999_999_999)
    stores.host.answers["/a.png"] = answer(PNG.data)
    await stored(store, generation(stores.url()))
    assert stores.host.paths() == []
    for _ in range(2):
        assert await store.open(generation(stores.url()), 0) == PNG
    assert "less than 1 GB" in (store.problem or "")
    assert sum("less than 1 GB" in record.getMessage() for record in caplog.records) == 1
    await store.put("in-2", 0, PNG)
    assert store.size() == (1, len(PNG.data))


async def test_a_disk_that_fails_fails_no_reader(stores: Stores) -> None:
    stores.state.mkdir()
    (stores.state / "images").write_text("not a folder")
    stores.host.answers["/a.png"] = answer(PNG.data)
    store = stores.open()
    assert await store.open(generation(stores.url()), 0) == PNG
    assert "not stored" in (store.problem or "")
    with pytest.raises(OSError, match=r"exists|directory"):
        await store.put("in-2", 0, PNG)


async def test_a_damaged_copy_is_downloaded_again(stores: Stores) -> None:
    finished = generation(stores.url())
    stores.host.answers["/a.png"] = answer(PNG.data)
    await stored(stores.open(), finished)
    [path] = (path for path in stores.state.glob("images/files/*/*"))
    path.write_bytes(PNG.data[:-1] + b"x")
    assert await stores.open().open(finished, 0) == PNG
    assert await stores.open().open(finished, 0) == PNG
    assert stores.host.paths() == ["/a.png", "/a.png"]


@pytest.mark.parametrize("altered", [PNG.data + b"trailer", PNG.data[:-1] + b"x"], ids=["trailer", "one byte"])
async def test_an_altered_copy_stays_until_its_download_succeeds(stores: Stores, altered: bytes) -> None:
    finished = generation(stores.url())
    stores.host.answers["/a.png"] = answer(PNG.data)
    await stored(stores.open(), finished)
    [path] = (path for path in stores.state.glob("images/files/*/*"))
    path.write_bytes(altered)
    del stores.host.answers["/a.png"]
    for _ in range(2):
        assert (await stores.open().open(finished, 0)).data == altered
    stores.host.answers["/a.png"] = answer(PNG.data)
    assert await stores.open().open(finished, 0) == PNG
    assert path.read_bytes() == PNG.data


async def test_an_altered_copy_that_is_no_image_any_more_is_not_returned(stores: Stores) -> None:
    finished = generation(stores.url())
    stores.host.answers["/a.png"] = answer(PNG.data)
    await stored(stores.open(), finished)
    [path] = (path for path in stores.state.glob("images/files/*/*"))
    path.write_bytes(b"no image")
    del stores.host.answers["/a.png"]
    with pytest.raises(ImageUnavailable):
        await stores.open().open(finished, 0)


@pytest.mark.parametrize("altered", [PNG.data + b"trailer", None], ids=["altered", "deleted"])
async def test_a_copy_that_another_program_altered_or_deleted_is_stored_again_later(
    stores: Stores, altered: bytes | None
) -> None:
    finished = generation(stores.url(), finished_at=stores.time)
    stores.host.answers["/a.png"] = answer(PNG.data)
    await stored(stores.open(), finished)
    [path] = (path for path in stores.state.glob("images/files/*/*"))
    if altered is None:
        path.unlink()
    else:
        path.write_bytes(altered)
    store = stores.open()
    await store.store_missing([finished])
    with anyio.fail_after(60):
        await store.wait_until_settled()
    assert path.read_bytes() == PNG.data


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
async def test_only_the_owner_can_read_the_store(stores: Stores) -> None:
    await stores.open().put("in-1", 0, PNG)
    for path in stores.state.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


async def test_the_oldest_copies_go_first_and_those_that_exist_nowhere_else_last(stores: Stores) -> None:
    store = stores.open(max_bytes=2_500)
    for number, url in enumerate([None, "/1.png", "/2.png", "/3.png"]):
        stores.time += 1
        image = EncodedImage(large_png(1000 + number), "image/png")
        if url is None:
            await store.put(f"in-{number}", 0, image)
        else:
            stores.host.answers[url] = answer(image.data)
            await stored(store, generation(stores.url(url), generation_id=f"in-{number}"))
    await store.tidy()
    stores.host.answers.clear()
    assert store.size() == (2, 2003)
    assert len((await store.open(generation(None, generation_id="in-0"), 0)).data) == 1000
    assert len((await store.open(generation(stores.url("/3.png"), generation_id="in-3"), 0)).data) == 1003


async def test_bytes_are_deleted_at_their_age_and_never_without_a_limit(stores: Stores) -> None:
    await stores.open().put("in-1", 0, PNG)
    stores.time += 10 * 86_400
    await stores.open().tidy()
    assert stores.open().size() == (1, len(PNG.data))
    await stores.open(keep_days=9).tidy()
    assert stores.open().size() == (0, 0)


async def test_the_bytes_of_an_upload_are_deleted_at_their_age(stores: Stores) -> None:
    upload = Upload(new_reference_id(), "up-1", "alice", PNG.mime_type, 3, 2, stores.time)
    await stores.open().put_upload(upload, PNG)
    stores.time += 10 * 86_400
    assert (await stores.open(keep_days=11).open_upload(upload)).data == PNG.data
    store = stores.open(keep_days=9)
    await store.tidy()
    with pytest.raises(NoSuchImage):
        await store.open_upload(upload)
    assert store.size() == (0, 0)


async def test_a_deleted_generation_takes_its_bytes_but_not_those_that_another_one_has_too(stores: Stores) -> None:
    store = stores.open()
    await store.put("in-1", 0, PNG)
    await store.put("in-1", 1, EncodedImage(drawn("PNG"), "image/png"))
    await store.put("in-2", 0, PNG)
    await store.delete(generation(None, None))
    assert store.size() == (1, len(PNG.data))
    assert await store.open(generation(None, generation_id="in-2"), 0) == PNG
    with pytest.raises(NoSuchImage):
        await store.open(generation(None, None), 0)


async def test_a_generation_that_is_deleted_during_its_download_leaves_no_bytes(stores: Stores) -> None:
    stores.host.answers["/a.png"] = answer(PNG.data)
    store = stores.open()
    stores.ledger.deleted.add("in-1")
    await stored(store, generation(stores.url()))
    await stored(store, generation(stores.url(), generation_id="in-2"))
    assert stores.host.paths() == ["/a.png", "/a.png"]
    assert [path.name for path in stores.state.glob("images/index/*/*")] == ["in-2-0.json"]


async def test_partial_files_of_killed_processes_are_deleted_after_an_hour(stores: Stores) -> None:
    await stores.open().put("in-1", 0, PNG)
    folder = next(stores.state.glob("images/files/*"))
    for name, age in (("old", 4_000), ("new", 100)):
        path = folder / f".{name}.part"
        path.write_bytes(b"half")
        stamp = path.stat().st_mtime - age
        os.utime(path, (stamp, stamp))
    await stores.open().tidy()
    assert [path.name for path in folder.glob(".*")] == [".new.part"]


def write_legacy_cache(state: Path, url: str, data: bytes) -> Path:
    name = hashlib.sha256(data).hexdigest()
    path = state / "cache" / "pictures" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    urls = state / "cache" / "urls"
    urls.mkdir()
    (urls / hashlib.sha256(url.encode()).hexdigest()).write_text(name)
    return path


def write_legacy_picture(state: Path, name: str, data: bytes) -> Path:
    path = state / "pictures" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


async def test_the_download_cache_of_an_earlier_version_is_read_and_moves_over(stores: Stores) -> None:
    path = write_legacy_cache(stores.state, stores.url(), PNG.data)
    finished = generation(stores.url())
    assert await stores.open().open(finished, 0) == PNG
    assert stores.host.paths() == []
    stores.time = path.stat().st_mtime + 100
    await stores.open().tidy()
    assert path.exists()  # the earlier version may still run
    stores.time += 2 * 86_400
    await stores.open().tidy()
    assert not path.exists()
    assert await stores.open().open(finished, 0) == PNG


async def test_the_pictures_of_an_earlier_version_are_read_counted_pruned_and_deleted(stores: Stores) -> None:
    path = write_legacy_picture(stores.state, "in-1-0.png", PNG.data)
    assert await stores.open().open(generation(None), 0) == PNG
    assert path.exists()  # the earlier version finds it, too
    assert stores.open().size() == (1, len(PNG.data))
    await stores.open(max_bytes=1_000_000).tidy()
    assert path.exists()
    await stores.open(max_bytes=1).tidy()
    assert not path.exists()
    write_legacy_cache(stores.state, stores.url(), PNG.data)
    path.write_bytes(PNG.data)
    await stores.open().delete(generation(None, stores.url()))
    assert [path for path in stores.state.rglob("*") if path.is_file()] == []
