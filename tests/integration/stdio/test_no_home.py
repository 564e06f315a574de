"""The server of a user without a home folder."""

from __future__ import annotations

import sys

import pytest
from mcp.client import Client

from nano_banana_mcp.app import build_server
from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.stdio.session import list_images
from tests.support.clients import KEY, facts, text
from tests.support.sandbox import plain_sandbox

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="homes of POSIX")


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)


async def test_over_stdio_images_are_made_and_each_answer_names_the_setting() -> None:
    async with plain_sandbox(seconds=0) as sandbox:
        server = build_server(load_settings(base_url=sandbox.url, api_key=KEY), local=True)
        async with Client(server) as client:
            result = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
    assert facts(result)["status"] == "success"
    assert "no home folder" in text(result)
    assert "NANO_BANANA_STATE_DIR" in text(result)


def test_the_front_leaves_the_list_of_images_to_the_real_server() -> None:
    assert list_images({}) is None
