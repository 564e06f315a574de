"""A client that leaves amid its own request, or spoils it, is no error of the server."""

from __future__ import annotations

import socket

import httpx

from .test_serve import served


def test_a_client_that_leaves_amid_its_body_is_not_logged_as_an_error() -> None:
    with served("--sandbox") as server:
        host = server.root.removeprefix("http://")
        head = f"POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
        accept = "Accept: application/json, text/event-stream\r\n\r\n"
        with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2]))) as sock:
            sock.sendall(f"{head}{accept}{{".encode())
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1_000):
                pass
        assert httpx.get(f"{server.root}/healthz").status_code == 200
        server.process.terminate()
        _, errors = server.process.communicate(timeout=30)
    assert b"Traceback" not in errors


def test_a_body_that_breaks_the_protocol_is_not_logged_as_an_error() -> None:
    with served("--sandbox") as server:
        host = server.root.removeprefix("http://")
        head = f"POST /healthz HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n"
        with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2]))) as sock:
            sock.sendall(f"{head}1\r\nab\r\n".encode())
            while sock.recv(1_000):
                pass
        assert httpx.get(f"{server.root}/healthz").status_code == 200
        server.process.terminate()
        _, errors = server.process.communicate(timeout=30)
    assert b"Traceback" not in errors
