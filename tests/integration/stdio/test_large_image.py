"""A very large image through a real server process: bytes on the wire, time, memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from anyio import to_thread

from tests.support.clients import KEY
from tests.support.fixed_drawings import FixedDrawings
from tests.support.image_samples import photo_png
from tests.support.raw_stdio import raw
from tests.support.sandbox import plain_sandbox

ROUNDS = 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_an_image_of_4096_by_4096_is_small_on_the_wire_and_leaves_no_memory_behind(tmp_path: Path) -> None:
    def rounds() -> None:
        settings = {
            "DEFAPI_BASE_URL": sandbox.url,
            "DEFAPI_API_KEY": KEY,
            "NANO_BANANA_STATE_DIR": str(tmp_path),
        }
        with raw(**settings) as server:
            for first, where in ((10, "url"), (20, "data-uri")):
                prompt = f"a cat sandbox:result={where}"
                made = server.call(first, "generate_image", {"prompt": prompt, "wait_seconds": 240})
                arguments = {"task_id": made["result"]["structuredContent"]["task_id"]}
                resident = []
                for number in range(1, ROUNDS + 1):
                    seen = server.call(first + number, "view_image", arguments)
                    resident.append(server.resident_megabytes())
                    sent = len(server.lines[-1])
                    print(f"{where}: {sent / 1e3:.0f} kB, {resident[-1]:.1f} MB")
                    assert [item["type"] for item in seen["result"]["content"]] == ["text", "image"]
                    assert sent < 1_000_000
                assert resident[-1] - resident[0] < 60  # less than the file in each round: nothing accumulates

    async with plain_sandbox(seconds=0) as sandbox:
        sandbox.images = FixedDrawings(photo_png())
        await to_thread.run_sync(rounds)
