"""The icon in ``serverInfo``: an address under the public URL, and none where there is no such address."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from mcp.client import Client

from tests.support.clients import client_at
from tests.support.http_server import free_port, served
from tests.support.sandbox import plain_sandbox


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_icon_is_named_and_served_under_the_public_url(mode: Any) -> None:
    port = free_port()
    public_url = f"http://127.0.0.1:{port}"
    async with served("--sandbox", "--port", str(port), NANO_BANANA_PUBLIC_URL=public_url) as server:
        async with Client(server.url, mode=mode) as client:
            assert client.server_info is not None
            [icon] = client.server_info.icons or []
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(icon.src)
    assert (icon.src, icon.mime_type, icon.sizes) == (f"{public_url}/icon.png", "image/png", ["512x512"])
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")
    assert answer.content[16:24] == (512).to_bytes(4, "big") * 2


async def test_without_a_public_url_there_is_no_icon() -> None:
    async with served("--sandbox") as server, Client(server.url) as client:
        assert client.server_info is not None
        assert client.server_info.icons is None


async def test_over_stdio_there_is_no_icon_whatever_the_public_url() -> None:
    async with (
        plain_sandbox(seconds=0) as sandbox,
        client_at(sandbox.url, public_url="https://mcp.example.org") as client,
    ):
        assert client.server_info is not None
        assert client.server_info.icons is None
