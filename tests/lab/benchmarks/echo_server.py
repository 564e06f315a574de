"""The yardstick: a bare server of the SDK with one tool, over stdio, or over HTTP with --http."""

import logging
import socket
import sys

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer

server = MCPServer("echo")


@server.tool()
def echo(text: str) -> str:
    """Give back the text."""
    return text


def serve_http() -> None:
    """As ours: no log of each request, which alone would make the comparison easy."""
    logging.getLogger().setLevel(logging.WARNING)
    config = uvicorn.Config(server.streamable_http_app(), log_config=None, access_log=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sys.stderr.write(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp\n")
        anyio.run(uvicorn.Server(config).serve, [listener])


if __name__ == "__main__":
    if "--http" in sys.argv:
        serve_http()
    else:
        server.run()
