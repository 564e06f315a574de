"""A client that leaves within its own request, or spoils it, is no error of the server."""

from __future__ import annotations

import socket

import httpx
import pytest

from tests.support.http_server import served_process

LEAVES = (
    "POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
    "Accept: application/json, text/event-stream\r\n\r\n{{"
)
SPOILS = "POST /healthz HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"


@pytest.mark.parametrize(("request_", "leaves"), [(LEAVES, True), (SPOILS, False)], ids=["leaves", "spoils"])
def test_a_client_that_does_not_end_its_body_well_is_not_logged_as_an_error(request_: str, leaves: bool) -> None:
    with served_process("--sandbox") as server:
        host = server.root.removeprefix("http://")
        with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2]))) as sock:
            sock.sendall(request_.format(host=host).encode())
            if leaves:
                sock.shutdown(socket.SHUT_WR)
            while sock.recv(1_000):
                pass
        assert httpx.get(f"{server.root}/healthz").status_code == 200
        server.process.terminate()
        _, errors = server.process.communicate(timeout=30)
    assert b"Traceback" not in errors
