"""Shrinking in a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest
from PIL import Image

from nano_banana_mcp.images.errors import ImageError, ImageTooLarge, ImageUnavailable, NotAnImage
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.resizing.reference import fit_reference
from nano_banana_mcp.images.resizing.resize import shrink
from nano_banana_mcp.images.resizing.worker import shrink_in_worker
from tests.support.image_samples import drawn, png

pytestmark = pytest.mark.slow

LARGE = EncodedImage(drawn("PNG", (1200, 800)), "image/png")


async def test_the_child_returns_the_same_as_this_process() -> None:
    for encoded in (LARGE, EncodedImage(drawn("GIF"), "image/gif")):
        here = shrink(encoded, max_side=300, max_bytes=100_000)
        assert await shrink_in_worker(encoded, max_side=300, max_bytes=100_000) == here


@pytest.mark.parametrize(
    ("encoded", "kind"),
    [
        (EncodedImage(LARGE.data[:200], "image/png"), NotAnImage),
        (EncodedImage(png(20_000, 20_000), "image/png"), ImageTooLarge),
        (EncodedImage(b"", "image/png"), NotAnImage),
    ],
)
async def test_the_child_refuses_in_the_words_that_are_used_here(encoded: EncodedImage, kind: type[ImageError]) -> None:
    with pytest.raises(kind) as here:
        shrink(encoded, max_side=300, max_bytes=100_000)
    with pytest.raises(kind) as there:
        await shrink_in_worker(encoded, max_side=300, max_bytes=100_000)
    assert str(there.value) == str(here.value)


async def test_the_child_takes_nothing_from_the_folder_it_is_started_in_and_has_no_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    trap = f"import os, pathlib; pathlib.Path({str(seen)!r}).write_text(repr(dict(os.environ)))\n"
    for name in ("PIL", "json", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text(trap)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DEFAPI_API_KEY", "dk-canary")
    monkeypatch.setenv("SOMETHING_ELSE", "another-canary")
    assert (await shrink_in_worker(LARGE, max_side=300, max_bytes=100_000)).size == (300, 200)
    assert not seen.exists()
    script = f"import os; open({str(seen)!r}, 'w').write(repr(dict(os.environ)))"
    monkeypatch.setattr(sys, "path", _SysPath(script))
    with pytest.raises(NotAnImage):
        await shrink_in_worker(LARGE, max_side=300, max_bytes=100_000)
    assert "PATH" in seen.read_text()
    assert "canary" not in seen.read_text()


def running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


class _SysPath(list[str]):
    """Stands for itself in the child's code: what is run there instead."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self._code = code

    def __repr__(self) -> str:
        return f"sys.path; {self._code}; raise SystemExit(3)"


@pytest.mark.parametrize("code", ["import os; os._exit(9)", "import os, signal; os.kill(os.getpid(), 9)", "print()"])
async def test_a_child_that_crashes_is_an_image_that_cannot_be_decoded(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", _SysPath(code))
    large = EncodedImage(LARGE.data.ljust(3_000_000, b"\0"), "image/png")  # more than a pipe holds
    with pytest.raises(NotAnImage, match="could not be decoded"):
        await shrink_in_worker(large, max_side=300, max_bytes=100_000)


async def test_a_child_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    monkeypatch.setattr(
        sys, "path", _SysPath(f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    )
    with pytest.raises(NotAnImage, match="within 2 s"):
        await shrink_in_worker(LARGE, max_side=300, max_bytes=100_000, max_seconds=2)
    assert not file.exists() or not running(file.read_text())  # a slow machine may end it before its first line


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs there")
async def test_a_cancelled_call_ends_the_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fifo = tmp_path / "of the child"
    os.mkfifo(fifo)
    begin = f"import time; fifo = open({str(fifo)!r}, 'w', 1); print('began', file=fifo)"
    code = f"{begin}; time.sleep(60); print('went on', file=fifo)"
    monkeypatch.setattr(sys, "path", _SysPath(code))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: shrink_in_worker(LARGE, max_side=300, max_bytes=100_000))
        async with await anyio.open_file(fifo) as lines:
            assert await lines.readline() == "began\n"
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                assert await lines.read() == ""  # the end of the child closes it


async def test_a_machine_that_starts_no_process_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ImageUnavailable, match="starts no process"):
        await shrink_in_worker(LARGE, max_side=300, max_bytes=100_000)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_runs_on_either_backend(backend: str) -> None:
    async def main() -> None:
        assert (await shrink_in_worker(LARGE, max_side=300, max_bytes=100_000)).size == (300, 200)

    anyio.run(main, backend=backend)


async def test_a_reference_is_decoded_in_another_process_and_only_where_it_has_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "open", None)
    large = EncodedImage(drawn("PNG", (3000, 1500)), "image/png")
    assert len((await fit_reference(large, max_side=1000)).data) < len(large.data)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert await fit_reference(large, max_side=3000) == large
    with pytest.raises(ImageUnavailable, match="starts no process"):
        await fit_reference(large, max_side=1000)
