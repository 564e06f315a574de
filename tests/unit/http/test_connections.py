"""Connections that send no complete request, and too many connections. Real sockets."""

from __future__ import annotations

import logging
import socket

import httpx
import pytest

from nano_banana_mcp.http.connections import (
    LOG_INTERVAL_SECONDS,
    RESERVED_FILES,
    AcceptErrorFilter,
    connections_within,
    limited_connections,
)
from tests.support.http_server import served

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(30)
    try:
        while connection.recv(1_000):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("sent", [b"", b"G", HEAD])
def test_a_connection_without_a_complete_head_is_closed_after_the_time(sent: bytes) -> None:
    with (
        served("--sandbox", protocol=limited_connections(100, head_seconds=0.2)) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.sendall(sent)
        assert is_closed(connection)


def test_the_time_counts_for_a_later_request_of_a_connection_too() -> None:
    with (
        served("--sandbox", protocol=limited_connections(100, head_seconds=0.2)) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.sendall(HEAD + b"\r\n")
        connection.settimeout(5)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 200")
        connection.sendall(HEAD)
        assert is_closed(connection)


def test_the_time_counts_for_a_part_of_a_request_that_came_with_the_one_before() -> None:
    with (
        served("--sandbox", protocol=limited_connections(100, head_seconds=0.2)) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.sendall(HEAD + b"\r\n" + HEAD)
        connection.settimeout(30)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 200")
        assert is_closed(connection)


def test_above_the_maximum_of_connections_new_ones_are_closed_and_others_are_served() -> None:
    with served("--sandbox", protocol=limited_connections(2)) as server, httpx.Client(trust_env=False) as client:
        assert client.get(f"{server.root}/healthz").status_code == 200
        with socket.create_connection(("127.0.0.1", server.port)) as second:
            second.sendall(HEAD + b"\r\n")
            assert second.recv(1_000).startswith(b"HTTP/1.1 200")
            with socket.create_connection(("127.0.0.1", server.port)) as third:
                assert is_closed(third)
            assert client.get(f"{server.root}/healthz").status_code == 200


@pytest.mark.parametrize("request_line", [b"HEAD /mcp", b"POST /mcp", b"HEAD /healthz", b"GET /healthz"])
def test_a_request_with_an_invalid_body_is_refused_without_an_error_in_the_log(
    request_line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        served("--sandbox", protocol=limited_connections(100)) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        head = request_line + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"no chunk\r\n")
        connection.settimeout(30)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 400")
        assert is_closed(connection)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_connections_leave_open_files_for_everything_else() -> None:
    assert connections_within(1_024) == 1_024 - RESERVED_FILES
    assert connections_within(100) == 50


def test_a_failing_accept_loop_is_logged_once_in_a_while() -> None:
    now = [0.0]
    accept_errors = AcceptErrorFilter(lambda: now[0])

    def record(message: str) -> logging.LogRecord:
        return logging.LogRecord("asyncio", logging.ERROR, __file__, 0, message, None, None)

    failed = record("socket.accept() out of system resource\nsocket: x")
    assert [accept_errors.filter(failed) for _ in range(100)].count(True) == 1
    assert accept_errors.filter(record("Task was destroyed but it is pending!"))
    now[0] += LOG_INTERVAL_SECONDS
    assert accept_errors.filter(failed)
