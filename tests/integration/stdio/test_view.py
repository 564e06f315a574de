"""A very large picture through a real server process: bytes on the wire, time, memory."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from anyio import to_thread
from PIL import Image

from tests.support.clients import KEY
from tests.support.fixed_drawings import FixedDrawings
from tests.support.raw_stdio import Raw, raw
from tests.support.sandbox import plain_sandbox

WARM_UP_ROUNDS = 3  # until the heap is as large as it gets
ROUNDS = 5
SIDE = 4096


def large() -> bytes:
    """A PNG of some 16 MB: grain over shades, as pictures have it."""
    shades = Image.linear_gradient("L").resize((SIDE, SIDE))
    grain = Image.effect_noise((SIDE, SIDE), 3)
    image = Image.merge("RGB", (Image.blend(shades, grain, 0.2), shades.rotate(90), grain))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    assert 12_000_000 < file.tell() < 20_000_000
    return file.getvalue()


def resident_megabytes(server: Raw) -> float:
    [line] = [line for line in _read(server, "status").splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1_000


def processor_seconds(server: Raw) -> float:
    """Of the process and of the children that have ended."""
    fields = _read(server, "stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / 100


def _read(server: Raw, name: str) -> str:
    return Path(f"/proc/{server.process.pid}/{name}").read_text()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("where", ["url", "data-uri"])
async def test_an_image_of_4096_by_4096_is_small_on_the_wire_and_leaves_no_memory_behind(
    where: str, tmp_path: Path
) -> None:
    def rounds() -> None:
        settings = {
            "DEFAPI_BASE_URL": sandbox.url,
            "DEFAPI_API_KEY": KEY,
            "NANO_BANANA_STATE_DIR": str(tmp_path),
        }
        with raw(**settings) as server:
            made = server.call(2, "generate_image", {"prompt": f"a cat sandbox:result={where}", "wait_seconds": 60})
            arguments = {"task_id": made["result"]["structuredContent"]["task_id"]}
            used, resident = processor_seconds(server), []
            for number in range(ROUNDS):
                began = time.perf_counter()
                seen = server.call(10 + number, "view_image", arguments)
                seconds = time.perf_counter() - began
                resident.append(resident_megabytes(server))
                sent = len(server.lines[-1])
                print(f"{where}: {sent / 1e3:.0f} kB, {seconds:.2f} s, {resident[-1]:.1f} MB")
                assert [item["type"] for item in seen["result"]["content"]] == ["text", "image"]
                assert sent < 1_000_000
            assert resident[-1] - resident[WARM_UP_ROUNDS - 1] < 10  # less than the file once: nothing accumulates
            # By the clock it depends on what else the machine does.
            assert (processor_seconds(server) - used) / ROUNDS < 1.5

    async with plain_sandbox(seconds=0) as sandbox:
        sandbox.images = FixedDrawings(large())
        await to_thread.run_sync(rounds)
