"""The cache: bounded, shared, private, and in nobody's way."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nano_banana_mcp.images.cache import ImageCache
from nano_banana_mcp.images.image import EncodedImage
from tests.unit.images.samples import drawn, large_png

URL = "https://pictures.example/a.png?signature=secret"
IMAGE = EncodedImage(drawn("JPEG"), "image/jpeg")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def numbered(number: int, size: int = 10_000) -> tuple[str, EncodedImage]:
    return f"https://pictures.example/{number}", EncodedImage(large_png(size - 1) + bytes([number]), "image/png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_what_was_kept_is_found_by_whoever_opens_the_folder(folder: Path) -> None:
    ImageCache(folder, 1_000_000).keep(URL, IMAGE)
    assert ImageCache(folder, 1_000_000).find(URL) == IMAGE
    assert ImageCache(folder, 1_000_000).find(URL + "0") is None


def test_the_same_bytes_under_two_urls_are_kept_once(folder: Path) -> None:
    cache = ImageCache(folder, 1_000_000)
    cache.keep(URL, IMAGE)
    cache.keep(f"{URL}&again", IMAGE)
    assert len(files(folder / "pictures")) == 1
    assert cache.find(URL) == cache.find(f"{URL}&again") == IMAGE


def test_only_the_user_can_read_it_and_no_url_is_written_down(folder: Path) -> None:
    ImageCache(folder, 1_000_000).keep(URL, IMAGE)
    assert len(files(folder)) == 2
    for path in files(folder):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert b"example" not in path.read_bytes()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_ones_that_were_not_used_for_longest_make_room(folder: Path) -> None:
    cache = ImageCache(folder, 45_000)
    for number in range(4):
        cache.keep(*numbered(number))
    for age, path in enumerate(sorted(files(folder / "pictures"), key=lambda path: path.read_bytes()[-1])):
        os.utime(path, (1_000 + age, 1_000 + age))
    assert cache.find(numbered(0)[0])  # the oldest, and now the one that was used last
    cache.keep(*numbered(4))
    assert cache.find(numbered(1)[0]) is None
    for number in (0, 2, 3, 4):
        assert cache.find(numbered(number)[0]) == numbered(number)[1]
    assert sum(path.stat().st_size for path in files(folder / "pictures")) <= 45_000
    assert len(files(folder / "urls")) == 4


def test_a_image_that_is_larger_than_the_whole_cache_drops_no_other(folder: Path) -> None:
    cache = ImageCache(folder, 25_000)
    cache.keep(*numbered(1))
    cache.keep(*numbered(2, size=30_000))
    assert cache.find(numbered(1)[0])
    assert cache.find(numbered(2)[0]) is None


@pytest.mark.parametrize("spoil", ["other", "short", "empty", "text"])
def test_a_spoiled_file_is_dropped(spoil: str, folder: Path) -> None:
    cache = ImageCache(folder, 1_000_000)
    cache.keep(URL, IMAGE)
    [path] = files(folder / "pictures")
    path.write_bytes({"other": drawn("PNG"), "short": IMAGE.data[:-1], "empty": b"", "text": b"hello"}[spoil])
    assert cache.find(URL) is None
    assert not path.exists()
    cache.keep(URL, IMAGE)
    assert cache.find(URL) == IMAGE


@pytest.mark.parametrize("name", [b"", b"../../../etc/passwd", b"\xff" * 64, b"0" * 64])
def test_an_entry_that_leads_nowhere_is_none(name: bytes, folder: Path) -> None:
    cache = ImageCache(folder, 1_000_000)
    cache.keep(URL, IMAGE)
    [entry] = files(folder / "urls")
    entry.write_bytes(name)
    assert cache.find(URL) is None
    cache.keep(URL, IMAGE)
    assert cache.find(URL) == IMAGE


def test_what_a_killed_process_left_half_written_goes_after_an_hour(folder: Path) -> None:
    cache = ImageCache(folder, 1_000_000)
    cache.keep(*numbered(1))
    for name, age in ((".old", 4_000), (".new", 0)):
        path = folder / "pictures" / name
        path.write_bytes(b"half")
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    cache.keep(*numbered(2))
    assert {path.name for path in files(folder / "pictures") if path.name.startswith(".")} == {".new"}


def test_a_folder_that_cannot_be_made_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    cache = ImageCache(tmp_path / "cache", 1_000_000)
    cache.keep(URL, IMAGE)
    assert cache.find(URL) is None


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
def test_a_full_disk_is_in_nobodys_way_and_leaves_nothing_half_written(folder: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails in its middle."""
    script = (
        "import resource, signal, sys, pathlib\n"
        "from nano_banana_mcp.images.cache import ImageCache\n"
        "from tests.unit.images.test_cache import numbered\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "cache = ImageCache(pathlib.Path(sys.argv[1]), 1_000_000)\n"
        "cache.keep(*numbered(1))\n"
        "print(cache.find(numbered(1)[0]))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
    assert files(folder) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no such rights there")
def test_a_read_only_folder_can_still_be_read() -> None:
    script = (
        "import os, sys, pathlib\n"
        "from nano_banana_mcp.images.cache import ImageCache\n"
        "from tests.unit.images.test_cache import PICTURE, URL, numbered\n"
        "os.geteuid() == 0 and os.setuid(65534)\n"
        "cache = ImageCache(pathlib.Path(sys.argv[1]), 1_000_000)\n"
        "cache.keep(*numbered(1))\n"
        "print(cache.find(URL) == PICTURE, cache.find(numbered(1)[0]))"
    )
    with tempfile.TemporaryDirectory() as outside:
        Path(outside).chmod(0o755)
        folder = Path(outside) / "cache"
        ImageCache(folder, 1_000_000).keep(URL, IMAGE)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o444 if path.is_file() else 0o555)
        done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o700)
    assert done.stdout.strip() == "True None", done.stderr


def test_many_processes_and_threads_share_it(folder: Path) -> None:
    """Each keeps and finds the same pictures while room for all of them is short: right bytes or none, no error."""
    script = (
        "import sys, pathlib\n"
        "from nano_banana_mcp.images.cache import ImageCache\n"
        "from tests.unit.images.test_cache import numbered\n"
        "cache = ImageCache(pathlib.Path(sys.argv[1]), 65_000)\n"
        "hits = 0\n"
        "for round in range(60):\n"
        "    url, picture = numbered(round * 7 % 10)\n"
        "    found = cache.find(url)\n"
        "    assert found in (None, picture)\n"
        "    hits += found is not None\n"
        "    found or cache.keep(url, picture)\n"
        "print(hits)"
    )

    def run(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(run, range(4)))
    assert [each.returncode for each in done] == [0] * 4, [each.stderr for each in done]
    assert sum(int(each.stdout) for each in done) > 0
    ImageCache(folder, 65_000).keep(*numbered(11))
    assert sum(path.stat().st_size for path in files(folder / "pictures")) <= 65_000
    assert not [path for path in files(folder) if path.name.startswith(".")]


def test_what_is_forgotten_is_gone_but_for_what_another_url_led_to(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, 1_000_000)
    shared, own = (EncodedImage(b"\x89PNG\r\n\x1a\n" + bytes([n]) * 50, "image/png") for n in range(2))
    for url, encoded in (("https://a/1", shared), ("https://a/2", shared), ("https://a/3", own)):
        cache.keep(url, encoded)
    for url in ("https://a/1", "https://a/3", "https://a/never"):
        cache.forget(url)
    assert cache.find("https://a/1") is None
    assert cache.find("https://a/3") is None
    assert cache.find("https://a/2") == shared
    assert len(list((tmp_path / "pictures").iterdir())) == 1
