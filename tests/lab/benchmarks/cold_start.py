"""Spawn to answered ``tools/list`` and to the first answered ``tools/call`` over stdio.

Ours by its installed console script, a bare echo server of the SDK, one of FastMCP and two servers on Node are started
in turn.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.lab.benchmarks import peer
from tests.lab.benchmarks.figures import Row
from tests.support.npm import PackageUnavailableError
from tests.support.stdio_start import LIST, Message, seconds_to_answer

TARGET_LIST_RATIO = 0.12
TARGET_CALL_RATIO = 1.15
OURS = [str(Path(sys.executable).with_name("nano-banana-mcp"))]
ECHO = [sys.executable, "-m", "tests.lab.benchmarks.echo_server"]


def call(name: str, **arguments: object) -> Message:
    """A ``tools/call`` message."""
    return {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


OUR_CALL = call("browse_images")
ECHO_CALL = call("echo", text="a cat")


def measure(starts: list[tuple[list[str], Message]], rounds: int) -> list[list[float]]:
    """Start each command ``rounds`` times in turn, after one start that is not counted.

    Args:
        starts: Commands, each with the message whose answer ends the measurement.

    Returns:
        Seconds of each start, by command.
    """
    times: list[list[float]] = [[] for _ in starts]
    order = list(zip(starts, times, strict=True))
    for number in range(rounds + 1):
        for (command, message), durations in order if number % 2 else reversed(order):
            seconds = seconds_to_answer(command, message)
            if number:
                durations.append(seconds)
    return times


def rows(quick: bool) -> Iterator[Row]:
    """The ratios: medians over the rounds, in each of which all were started side by side."""
    rounds = 3 if quick else 15
    commands = {"a bare SDK echo server": ECHO}
    try:
        commands["a FastMCP echo server"] = peer.fastmcp()
    except PackageUnavailableError as error:
        yield Row("spawn to tools/list, against a FastMCP echo server", None, "×", spread=str(error))
    try:
        commands |= {_on_node(name): command for name, command in peer.on_node().items()}
    except PackageUnavailableError as error:
        for name in peer.NODE_SERVERS:
            yield Row(f"spawn to tools/list, against {_on_node(name)}", None, "×", spread=str(error))
    ours, *others = measure([(command, LIST) for command in (OURS, *commands.values())], rounds)
    for name, theirs in zip(commands, others, strict=True):
        target = TARGET_LIST_RATIO if commands[name] is ECHO else None
        yield _ratio(f"spawn to tools/list, against {name}", ours, theirs, target)
    yield Row("spawn to tools/list", statistics.median(ours), "s", spread=f"{min(ours):.2f}-{max(ours):.2f} s")
    ours, echo = measure([(OURS, OUR_CALL), (ECHO, ECHO_CALL)], rounds)
    yield _ratio("spawn to the first tools/call, against a bare SDK echo server", ours, echo, TARGET_CALL_RATIO)


def _on_node(name: str) -> str:
    return f"{name} {peer.NODE_SERVERS[name]} on Node"


def _ratio(what: str, ours: list[float], theirs: list[float], target: float | None) -> Row:
    pairs = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Row(
        what,
        statistics.median(pairs),
        "×",
        f"its {statistics.median(theirs):.2f} s",
        target=target,
        spread=f"pairs {min(pairs):.2f}-{max(pairs):.2f}",
    )
