"""Resident memory of a server that has listed its tools and had no call yet. Reads ``/proc``: Linux only."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator

import anyio
from mcp.client import Client

from tests.lab.benchmarks import cold_start, load, peer
from tests.lab.benchmarks.figures import NOT_MEASURED, Row
from tests.support.npm import PackageUnavailableError
from tests.support.stdio_start import answering

TARGET_RATIO = 0.25


def over_stdio(command: list[str]) -> float:
    """MB."""
    with tempfile.TemporaryDirectory() as state, answering(command, NANO_BANANA_STATE_DIR=state) as server:
        return load.resident(server.process.pid) * 1.024e-3


def over_http(running: tuple[int, str]) -> float:
    """MB."""

    async def list_tools() -> None:
        async with Client(f"{running[1]}/mcp") as client:
            await client.list_tools()

    anyio.run(list_tools)
    return load.resident(running[0]) * 1.024e-3


def rows(quick: bool) -> Iterator[Row]:
    """Ours against the bare echo server's, and FastMCP's."""
    if sys.platform != "linux":
        yield Row(f"resident memory ({NOT_MEASURED})", None, "MB", spread="there is no /proc")
        return
    rounds = range(1 if quick else 3)
    ours, echo = ([over_stdio(command) for _ in rounds] for command in (cold_start.OURS, cold_start.ECHO))
    yield from _against("stdio", ours, echo, TARGET_RATIO)
    try:
        command = peer.fastmcp()
    except PackageUnavailableError as error:
        yield Row("resident memory until the first call, stdio, against FastMCP", None, "×", spread=str(error))
    else:
        theirs = statistics.median(over_stdio(command) for _ in rounds)
        what = "resident memory until the first call, stdio, against a FastMCP echo server"
        yield Row(what, statistics.median(ours) / theirs, "×", f"its {theirs:.1f} MB")
    ours, echo = [], []
    for _ in rounds:
        with load.sandbox(0) as api, load.server(api) as running:
            ours.append(over_http(running))
        with load.echo() as running:
            echo.append(over_http(running))
    yield from _against("HTTP", ours, echo, None)


def _against(transport: str, ours: list[float], theirs: list[float], target: float | None) -> Iterator[Row]:
    what = f"resident memory until the first call, {transport}"
    mine, other = statistics.median(ours), statistics.median(theirs)
    yield Row(f"{what}, against a bare SDK echo server", mine / other, "×", f"its {other:.1f} MB", target=target)
    yield Row(what, mine, "MB")
