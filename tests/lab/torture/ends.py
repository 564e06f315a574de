"""kill -9 and disconnects: the rounds of :mod:`tests.lab.crash`, and the same over HTTP, with a whole server.

A few processes or servers on one state folder run at once: most of a round is waiting for the disk or the network.
"""

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
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.lab.crash.rounds import check, check_batches
from tests.lab.torture.processes import Gone, Http, Server, api, sandbox
from tests.lab.torture.tally import Tally
from tests.support.clients import clean_environment

MAX_PATIENCE_SECONDS = 0.12
RECORDED_SECONDS = 30.0
AT_ONCE = 12
PROCESSES = 4
"""Crash rounds at once, on the one state folder."""
SERVERS = 3
"""Serving processes at once, on the one state folder."""
BATCH = 4
"""Images of one call."""
REPEAT_SECONDS = 120.0
"""Time for the repetition of a call: a submit of a killed process is taken to be under way for 15 s."""


def crash_rounds(folder: Path, rounds: int) -> Iterator[Tally]:
    """kill -9 at each named point, of single images and of batches, and every way of leaving a stdio server."""
    at_once = ["--at-once", str(PROCESSES)]
    for title, module, config, options in (
        ("kill -9 at named points", "rounds", {}, [str(rounds), *at_once]),
        ("kill -9 at named points of a batch", "rounds", {}, [str(rounds // 5 or 1), "--count", str(BATCH), *at_once]),
        ("disconnects over stdio", "disconnects", {"drip_interval": 0.0005}, [str(rounds), str(PROCESSES)]),
    ):
        tally = Tally(title)
        with sandbox(**config) as served:
            command = [sys.executable, "-m", f"tests.lab.crash.{module}", served.url, str(folder / title), *options]
            ended = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
        for line in lines:
            _count(tally, line)
        if ended.returncode != 0 or not lines:
            tally.failed(ended.stderr)
        tally.figures["points"] = len({line["point"] for line in lines})
        yield tally


def _count(tally: Tally, line: dict[str, Any], *, unknown_allowed: bool = True) -> None:
    """Count the rounds of a line of :mod:`tests.lab.crash`; every image of a repeated batch is there."""
    rounds, double = line["rounds"], line.get("posted twice", 0) + line.get("posted too often", 0)
    wrong = 0 if unknown_allowed else line["unknown"]
    if line.get("step") == "repeat":
        wrong += abs(rounds * BATCH - line["known"] - line["unknown"])
    bad = min(rounds, line["lost"] + double + wrong)
    tally.tried += rounds
    tally.survived += rounds - bad
    tally.lost += line["lost"]
    tally.double += double
    tally.wrong += wrong
    if bad:
        tally.note(json.dumps(line))
    if line.get("step") != "one_round":  # else counted again after the repetition
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
    """A whole HTTP server is killed or gets SIGTERM during a dozen submits, and is started again on the same state."""
    tally = Tally("kill -9 and SIGTERM of a serving process")
    dice = random.Random(seed)
    with sandbox(drip_interval=0.001) as served:

        def kill(number: int, moment: float) -> None:
            politely = number % 3 == 2
            with Http(folder=folder, **api(served.url)) as server:
                server.tool("browse_images")  # all is loaded by now
                threads = _threads(
                    partial(_ask, server, prompt=f"killed {number} {item} sandbox:submit=drip")
                    for item in range(AT_ONCE)
                )
                time.sleep(moment)
                code = _end(server, politely=politely)
                for thread in threads:
                    thread.join()
                if politely and (code not in (0, -signal.SIGTERM, 128 + signal.SIGTERM) or server.unforeseen):
                    tally.failed(f"after SIGTERM it ends with {code}: {server.unforeseen}")

        with ThreadPoolExecutor(SERVERS) as pool:
            list(pool.map(kill, range(rounds), [dice.uniform(0.02, 1.5) for _ in range(rounds)]))
        for number in range(rounds):
            line = check(served.url, folder, f"killed {number}", AT_ONCE)
            _count(tally, line, unknown_allowed=number % 3 != 2)
        with Http(folder=folder, **api(served.url)) as server:  # what is left is read, and served
            answer = server.tool("browse_images")
            if answer.get("isError"):
                tally.failed(str(answer))
    return tally


def batches(folder: Path, rounds: int, seed: int) -> Tally:
    """Batches are cut by kill -9, SIGTERM, a close or a reset, and repeated in the end: no image is lost or doubled."""
    tally = Tally("kill -9, SIGTERM and disconnects during batches")
    dice = random.Random(seed)
    prompts = [[f"cut {number} {item} sandbox:submit=drip" for item in range(4)] for number in range(rounds)]
    with sandbox(drip_interval=0.001) as served:

        def cut(number: int, moment: float) -> None:
            with Http(folder=folder, **api(served.url)) as server, ExitStack() as connections:
                server.tool("browse_images")
                for prompt in prompts[number]:
                    sock = connections.enter_context(server.socket())
                    sock.sendall(server.call("generate_image", _batch(prompt)))
                    if number % 4 == 3:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                time.sleep(moment)
                if number % 4 < 2:
                    _end(server, politely=bool(number % 4))
                connections.close()
                if number % 4 >= 2 and not server.healthy():
                    tally.failed("it is not healthy after its clients have left")
                if why := server.unforeseen:
                    tally.failed(why)

        with ThreadPoolExecutor(SERVERS) as pool:
            list(pool.map(cut, range(rounds), [dice.uniform(0.0, 0.6) for _ in range(rounds)]))
        cuts = [check_batches(served.url, folder, f"cut {number}", 4, BATCH) for number in range(rounds)]
        tally.figures |= {"unsent after the cut": sum(line["unsent"] for line in cuts)}
        with Http(folder=folder, **api(served.url)) as server, ThreadPoolExecutor(AT_ONCE) as pool:
            for why in pool.map(partial(_repeat, server), (prompt for group in prompts for prompt in group)):
                if why is not None:
                    tally.failed(why, "wrong")
        for number in range(rounds):
            _count(tally, {"step": "repeat", **check_batches(served.url, folder, f"cut {number}", 4, BATCH)})
    return tally


def _batch(prompt: str) -> dict[str, Any]:
    request_id = "-".join(prompt.split()[:3])
    return {"prompt": prompt, "count": BATCH, "request_id": request_id}


def _repeat(server: Http, prompt: str) -> str | None:
    """Call again with the same ``request_id``. Returns what is wrong with the answer."""
    answer = server.ask(server.call("generate_image", _batch(prompt)), REPEAT_SECONDS)
    return None if b"ba-" in answer else f"the repeated call for {prompt} is answered by {answer[:600]!r}"


def _threads(works: Iterable[Callable[[], None]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


def _end(server: Server, *, politely: bool) -> int | None:
    """Send SIGKILL or SIGTERM to a server. Returns its exit code."""
    server.process.send_signal(signal.SIGTERM if politely else signal.SIGKILL)
    return _code(server)


def _ask(server: Http, prompt: str) -> None:
    with contextlib.suppress(Gone):  # it was killed before it took the connection
        server.ask(server.call("generate_image", {"prompt": prompt}))


def _code(server: Server) -> int | None:
    try:
        return server.process.wait(20)
    except subprocess.TimeoutExpired:
        return None
