"""A client that leaves within its own request, or spoils it, is no error of the server."""

from __future__ import annotations

import socket

import httpx

from tests.support.http_server import served_process

LEAVES = (
    "POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
    "Accept: application/json, text/event-stream\r\n\r\n{{"
)
SPOILS = "POST /healthz HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"


def test_a_client_that_does_not_end_its_body_well_is_not_logged_as_an_error() -> None:
    with served_process("--sandbox") as server:
        host = server.root.removeprefix("http://")
        for request, leaves in ((LEAVES, True), (SPOILS, False)):
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                sock.sendall(request.format(host=host).encode())
                if leaves:
                    sock.shutdown(socket.SHUT_WR)
                while sock.recv(1_000):
                    pass
            assert httpx.get(f"{server.root}/healthz").status_code == 200
        server.process.terminate()
        _, errors = server.process.communicate(timeout=60)
    assert b"Traceback" not in errors
