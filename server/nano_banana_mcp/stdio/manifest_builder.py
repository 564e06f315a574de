"""Builds the manifest: the real server, on an empty state folder, is asked everything that the front answers."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import anyio
from mcp.server.runner import serve_dual_era_loop
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from nano_banana_mcp.app import build_server
from nano_banana_mcp.common.files import atomic_write, private_folder
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.stdio.manifest import Answers
from nano_banana_mcp.stdio.messages import ENVELOPE, MODERN

HANDSHAKE_REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
METHODS = ("server/discover", "ping", "tools/list", "prompts/list", "resources/templates/list", "resources/list")
_CLIENT = {"name": "manifest", "version": "1"}


async def build_answers() -> Answers:
    """The results of all discovery methods for each revision; methods that a revision lacks are absent."""
    with tempfile.TemporaryDirectory() as folder:
        # The settings' defaults, whatever the environment says: discovery depends on none that the front accepts.
        server = build_server(Settings.model_construct(state_dir=Path(folder)), local=True)
        lowlevel = server._lowlevel_server
        async with lowlevel.lifespan(lowlevel) as lifespan_state:
            return {
                revision: await _ask_all(lowlevel, lifespan_state, _requests(revision))
                for revision in (*HANDSHAKE_REVISIONS, MODERN)
            }


def write(path: Path, answers: Answers, versions: tuple[str, str], *, mode: int = 0o600) -> None:
    """Write a manifest, whole or not at all. Equal results of several revisions are written once.

    Args:
        versions: Of this package and of the SDK.
        mode: Permissions of the file (POSIX).

    Raises:
        OSError: The file cannot be written.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    for revision, by_method in answers.items():
        for method, result in by_method.items():
            variants = results.setdefault(method, [])
            # As text: the order of the keys counts too.
            same = next((item for item in variants if json.dumps(item["result"]) == json.dumps(result)), None)
            if same is None:
                variants.append({"revisions": [revision], "result": result})
            else:
                same["revisions"].append(revision)
    document = {"nano-banana-mcp": versions[0], "mcp": versions[1], "results": results}
    folder = private_folder(path.parent)
    atomic_write(folder / path.name, (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode(), mode=mode)


def _requests(revision: str) -> list[JSONRPCRequest | JSONRPCNotification]:
    if revision == MODERN:
        meta = {
            f"{ENVELOPE}protocolVersion": revision,
            f"{ENVELOPE}clientInfo": _CLIENT,
            f"{ENVELOPE}clientCapabilities": {},
        }
        return [JSONRPCRequest(jsonrpc="2.0", id=name, method=name, params={"_meta": meta}) for name in METHODS]
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": _CLIENT}
    return [
        JSONRPCRequest(jsonrpc="2.0", id="initialize", method="initialize", params=params),
        JSONRPCNotification(jsonrpc="2.0", method="notifications/initialized"),
        *(JSONRPCRequest(jsonrpc="2.0", id=name, method=name) for name in METHODS),
    ]


async def _ask_all(
    lowlevel: Any, lifespan_state: Any, messages: list[JSONRPCRequest | JSONRPCNotification]
) -> dict[str, dict[str, Any]]:
    to_server, server_reads = anyio.create_memory_object_stream[SessionMessage | Exception](len(messages))
    server_writes, from_server = anyio.create_memory_object_stream[SessionMessage](len(messages))
    results: dict[str, dict[str, Any]] = {}
    async with to_server, server_reads, server_writes, from_server, anyio.create_task_group() as tasks:

        async def serve() -> None:
            await serve_dual_era_loop(
                lowlevel,
                server_reads,
                server_writes,
                lifespan_state=lifespan_state,
                init_options=lowlevel.create_initialization_options(),
            )

        tasks.start_soon(serve)
        for message in messages:
            await to_server.send(SessionMessage(message))
            if isinstance(message, JSONRPCRequest):
                answer = (await from_server.receive()).message
                if isinstance(answer, JSONRPCResponse):
                    results[message.method] = answer.result
        tasks.cancel_scope.cancel()
    return results
