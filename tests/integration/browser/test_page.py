"""The page as a file, and as a resource of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import TextResourceContents

from nano_banana_mcp.views import page as page_of
from nano_banana_tools.apps import GALLERY_URI, IMAGE_URI, REFERENCE_URI
from tests.support.clients import client_at
from tests.support.http_server import at, served
from tests.support.team import client_with, grant

NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize("name", ["picture", "gallery", "reference"])
def test_the_page_is_one_file_that_loads_nothing_else(name: Any) -> None:
    page = page_of(name).encode()
    for outside in (b"http://", b"https://", b"@import", b"url(", b"eval(", b"innerHTML", b"<!-- shared"):
        assert outside not in page


@pytest.mark.parametrize(
    ("uri", "name"), [(IMAGE_URI, "picture"), (GALLERY_URI, "gallery"), (REFERENCE_URI, "reference")]
)
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_it_is_read_by_its_uri_in_either_era(mode: Any, uri: str, name: Any) -> None:
    async with client_at(NOWHERE, mode=mode) as client:
        [contents] = (await client.read_resource(uri)).contents
    assert isinstance(contents, TextResourceContents)
    assert contents.text == page_of(name)
    assert contents.mime_type == "text/html;profile=mcp-app"
    assert contents.meta is not None
    assert contents.meta["ui"]["prefersBorder"] is False
    assert not {"csp", "domain"} & set(contents.meta["ui"]), "the strictest policy is enough"


async def test_every_authenticated_caller_can_read_the_page(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    tokens = [grant(file, name) for name in ("alice", "bob")]
    async with served(**at(NOWHERE, NANO_BANANA_TOKENS_FILE=str(file))) as server:
        for token in tokens:
            async with client_with(server.url, token=token) as caller:
                [contents] = (await caller.read_resource(IMAGE_URI)).contents
                assert isinstance(contents, TextResourceContents)
                assert contents.text == page_of("picture")


async def test_another_page_is_missing() -> None:
    async with client_at(NOWHERE) as client:
        with pytest.raises(MCPError) as missing:
            await client.read_resource("ui://nano-banana/other.html")
    assert missing.value.error.code == -32602


async def test_the_page_is_not_among_the_listed_resources() -> None:
    async with client_at(NOWHERE) as client:
        assert not [one.uri for one in (await client.list_resources()).resources if one.uri.startswith("ui:")]


async def test_the_tools_that_bring_an_image_show_it_and_the_page_has_a_tool_of_its_own() -> None:
    async with client_at(NOWHERE) as client:
        ui = {tool.name: (tool.meta or {}).get("ui") for tool in (await client.list_tools()).tools}
        extensions = client.server_capabilities.extensions or {}
    assert ui == {
        "generate_image": {"resourceUri": IMAGE_URI},
        "wait_for_image": {"resourceUri": IMAGE_URI},
        "get_task": None,
        "view_image": None,
        "browse_images": {"resourceUri": GALLERY_URI},
        "get_account": None,
        "add_reference": {"resourceUri": REFERENCE_URI},
        "read_picture": {"visibility": ["app"]},
        "upload_image": {"visibility": ["app"]},
    }
    assert "io.modelcontextprotocol/ui" in extensions
