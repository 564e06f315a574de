"""This server has no prompts, and says so in either era."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

from tests.http.test_serve import served


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_asking_for_a_prompt_is_the_callers_mistake_and_no_trouble_of_the_server(mode: Any) -> None:
    with served("--sandbox", NANO_BANANA_LOG_LEVEL="DEBUG") as server:
        async with Client(server.url, mode=mode) as client:
            assert (await client.list_prompts()).prompts == []
            with pytest.raises(MCPError) as refused:
                await client.get_prompt("no-such-prompt")
        assert refused.value.code == INVALID_PARAMS
        server.process.terminate()
        assert server.process.stderr is not None
        logged = server.process.stderr.read()
    assert b"Traceback" not in logged
    assert b"ERROR" not in logged
