"""What a plain start over stdio loads, and what it leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import clean_environment
from tests.support.handshake import INITIALIZE, INITIALIZED

_NOT_NEEDED = {
    "PIL",
    "click",
    "httpcore",
    "httpx",
    "jsonschema",
    "jwt",
    "prometheus_client",
    "psycopg",
    "rich",
    "sqlite3",
    "stamina",
    "typer",
    "uvicorn",
    "nano_banana_mcp.commands",
    "nano_banana_mcp.gallery",
    "nano_banana_mcp.hosting",
    "nano_banana_sandbox",
    "nano_banana_tools.prompts",
}

# Runs as the process does, and tells on stderr what was loaded when the client has had the list and gone.
_SERVE = """
import json, sys
from nano_banana_mcp.cli import main
code = main([])
"""


def _after_a_start(then: str, **environment: str) -> Any:
    messages = [INITIALIZE, INITIALIZED, {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}]
    with subprocess.Popen(
        [sys.executable, "-c", f"{_SERVE}\n{then}\nprint(json.dumps(told), file=sys.stderr)"],
        env={**clean_environment(), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.writelines(f"{json.dumps(message)}\n" for message in messages)
        process.stdin.flush()
        # Its end cancels what is not answered yet.
        answer = next(answer for answer in map(json.loads, process.stdout) if answer.get("id") == 2)
        _, problems = process.communicate(timeout=120)
    assert process.returncode == 0, problems
    assert len(answer["result"]["tools"]) == 6
    return json.loads(problems)


def test_a_start_loads_nothing_that_listing_the_tools_does_not_need() -> None:
    loaded = _after_a_start("told = sorted(sys.modules)")
    assert "mcp.server.stdio" in loaded
    assert [name for name in loaded if any(name == no or name.startswith(f"{no}.") for no in _NOT_NEEDED)] == []


@pytest.mark.parametrize(("wanted", "loaded"), [({}, False), ({"PYDANTIC_DISABLE_PLUGINS": ""}, True)], ids=str)
def test_a_plugin_of_pydantic_that_happens_to_be_installed_is_loaded_only_if_that_is_said(
    wanted: dict[str, str], loaded: bool, tmp_path: Path
) -> None:
    (tmp_path / "some_plugin.py").write_text(
        "class Plugin:\n    def new_schema_validator(self, *args, **kwargs):\n        return None, None, None\n"
        "plugin = Plugin()\n"
    )
    about = tmp_path / "some_plugin-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: some-plugin\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[pydantic]\nsome = some_plugin:plugin\n")
    told = _after_a_start("told = 'some_plugin' in sys.modules", PYTHONPATH=str(tmp_path), **wanted)
    assert told is loaded


def test_after_a_start_everything_can_be_imported_and_new_models_are_built_at_once() -> None:
    told = _after_a_start(
        "import rich.console, uvicorn, sse_starlette.sse\n"
        "from pydantic import BaseModel\n"
        "class Late(BaseModel):\n"
        "    number: int\n"
        "told = [uvicorn.Server.__name__, Late.__pydantic_complete__, 'defer_build' in BaseModel.model_config]"
    )
    assert told == ["Server", True, False]


def test_models_that_were_put_off_are_built_by_many_threads_at_once() -> None:
    told = _after_a_start(
        "import threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "import mcp.types as types\n"
        "models = [m for m in vars(types).values() if isinstance(m, type) and hasattr(m, '__pydantic_complete__')]\n"
        "late = sum(not m.__pydantic_complete__ for m in models)\n"
        "start = threading.Barrier(8)\n"
        "def use():\n"
        "    start.wait()\n"
        "    for model in models:\n"
        "        try:\n"
        "            model.model_validate({})\n"
        "        except ValueError:\n"
        "            pass\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    for used in [pool.submit(use) for _ in range(8)]:\n"
        "        used.result()\n"
        "told = [late, len(models)]"
    )
    late, all_of_them = told
    assert 0 < late < all_of_them
