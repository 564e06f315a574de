"""kill -9 and disconnects: the rounds of :mod:`tests.lab.crash`, and the same over HTTP, with a whole server."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab.crash.rounds import POINTS, check
from tests.lab.torture.processes import Gone, Http, Server, api, sandbox
from tests.lab.torture.tally import Tally
from tests.support.clients import clean_environment

MAX_PATIENCE_SECONDS = 0.12
RECORDED_SECONDS = 30.0
AT_ONCE = 12


def crash_rounds(folder: Path, rounds: int) -> Iterator[Tally]:
    """kill -9 at each named point, and every way of leaving a stdio server."""
    for title, module, config in (
        ("kill -9 at named points", "tests.lab.crash.rounds", {}),
        ("disconnects over stdio", "tests.lab.crash.disconnects", {"drip_interval": 0.0005}),
    ):
        tally = Tally(title)
        with sandbox(**config) as served:
            command = [sys.executable, "-m", module, served.url, str(folder / module), str(rounds)]
            ended = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
        for line in lines:
            _count(tally, line)
        if ended.returncode != 0 or not lines:
            tally.failed(ended.stderr)
        tally.figures["points"] = len(POINTS) if "points" in title else len(lines)
        yield tally


def _count(tally: Tally, line: dict[str, Any], *, unknown_allowed: bool = True) -> None:
    rounds, bad = line["rounds"], line["lost"] + line["posted twice"]
    bad += 0 if unknown_allowed else line["unknown"]
    tally.tried += rounds
    tally.survived += rounds - bad
    tally.lost += line["lost"]
    tally.double += line["posted twice"]
    if bad:
        tally.note(json.dumps(line))
    for name in ("charged", "known", "unknown"):
        tally.figures[name] = tally.figures.get(name, 0) + line[name]


def leaving(folder: Path, rounds: int, seed: int) -> Tally:
    """A client over HTTP goes away at any moment of a submit, in order or by a reset; the id is recorded anyway."""
    tally = Tally("disconnects over HTTP")
    dice = random.Random(seed)
    with sandbox(drip_interval=0.0005) as served, Http(folder=folder, **api(served.url)) as server:
        for number in range(rounds):
            sent = server.call("generate_image", {"prompt": f"leaving {number} sandbox:submit=drip"})
            with server.socket() as sock:
                sock.sendall(sent)
                time.sleep(dice.uniform(0, MAX_PATIENCE_SECONDS))  # a person's patience
                if number % 2:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until = time.monotonic() + RECORDED_SECONDS
        while (line := check(served.url, folder, "leaving", rounds))["known"] < line[
            "charged"
        ] and time.monotonic() < until:
            time.sleep(0.1)
        _count(tally, line, unknown_allowed=False)
        if (why := server.unforeseen) or not server.healthy():
            tally.failed(why or "it is not healthy")
    return tally


def killed(folder: Path, rounds: int, seed: int) -> Tally:
    """A whole HTTP server is killed within a dozen submits, or told to end, and started again on the same state."""
    tally = Tally("kill -9 and SIGTERM of a serving process")
    dice = random.Random(seed)
    with sandbox(drip_interval=0.001) as served:
        for number in range(rounds):
            point = f"killed {number}"
            with Http(folder=folder, **api(served.url)) as server:
                server.tool("browse_images")  # all is loaded by now
                threads = [
                    threading.Thread(target=_ask, args=[server, f"{point} {item} sandbox:submit=drip"])
                    for item in range(AT_ONCE)
                ]
                for thread in threads:
                    thread.start()
                time.sleep(dice.uniform(0.02, 1.5))
                politely = number % 3 == 2
                server.process.send_signal(signal.SIGTERM if politely else signal.SIGKILL)
                code = _code(server)
                for thread in threads:
                    thread.join()
                if politely and (code not in (0, -signal.SIGTERM, 128 + signal.SIGTERM) or server.unforeseen):
                    tally.failed(f"told to end, it ends with {code}: {server.unforeseen}")
            line = check(served.url, folder, point, AT_ONCE)
            _count(tally, line, unknown_allowed=not politely)
        with Http(folder=folder, **api(served.url)) as server:  # what is left is read, and served
            answer = server.tool("browse_images")
            if answer.get("isError"):
                tally.failed(str(answer))
    return tally


def _ask(server: Http, prompt: str) -> None:
    with contextlib.suppress(Gone):  # it was killed before it took the connection
        server.ask(server.call("generate_image", {"prompt": prompt}))


def _code(server: Server) -> int | None:
    try:
        return server.process.wait(20)
    except subprocess.TimeoutExpired:
        return None
