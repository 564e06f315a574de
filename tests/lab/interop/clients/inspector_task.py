"""The MCP Inspector's command line in the modern era: its ``tools/call`` ends with the result of the task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.lab.interop.clients.inspector import PACKAGE, Inspector
from tests.lab.interop.walk import Seen, note_task, run


async def main(job: dict[str, Any], seen: Seen) -> None:
    about = json.loads((Path(job["packages"]) / PACKAGE / "package.json").read_text(encoding="utf-8"))
    seen.version = about["version"]
    inspector = Inspector(job, seen)
    seen.protocol = str((await inspector.initialize())["protocolVersion"])
    # Without a wait, the answer is finished only if it was that of a task.
    answer = await inspector.call("generate_image", {"prompt": "a boat"})
    note_task(seen, "a call that polls by itself", answer.structured)


if __name__ == "__main__":
    run(main)
