"""Forks servers over pipes and leaves them in the middle of a submit: by the end of stdin, or by a cancellation.

Usage: python -m tests.lab.crash.disconnects URL STATE_DIR ROUNDS [AT_ONCE]. Prints a JSON line a way of leaving. So
many processes on the one state folder run the rounds of a way (1 if not given).
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import httpx

from nano_banana_mcp.app import build_server, serve_stdio
from nano_banana_mcp.settings import load_settings
from tests.lab.crash.rounds import check, in_processes
from tests.support.handshake import INITIALIZE

WAYS = ("stdin ends", "the call is cancelled", "the call is cancelled, then stdin ends")
MAX_PATIENCE_SECONDS = 0.08


def serve(url: str, state: Path, read: int, write: int) -> None:
    """In the child: a whole stdio server on these pipes."""
    os.dup2(read, 0)
    os.dup2(write, 1)
    os.closerange(3, 64)
    settings = load_settings(base_url=url, api_key="dk-crash", state_dir=state)
    anyio.run(serve_stdio, build_server(settings))


def one_round(url: str, state: Path, way: str, prompt: str, patience: float | None) -> None:
    """Ask for a picture and leave after ``patience`` seconds; None: once the API has charged."""
    to_child, from_child = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            serve(url, state, to_child[0], from_child[1])
        finally:
            os._exit(0)
    os.close(to_child[0])
    os.close(from_child[1])
    with open(to_child[1], "wb", buffering=0) as stdin, open(from_child[0], "rb") as stdout:
        say(stdin, 1, "initialize", INITIALIZE["params"])
        stdout.readline()
        say(stdin, None, "notifications/initialized", {})
        say(stdin, 2, "tools/call", {"name": "generate_image", "arguments": {"prompt": prompt}})
        if patience is None:
            with httpx.Client(verify=False, timeout=60) as api:  # plain HTTP: a TLS context takes most of the time
                while not api.get(f"{url}/_sandbox/stats").json()["submits_by_prompt"].get(prompt):
                    pass
        else:
            time.sleep(patience)  # a person's patience: the moment of leaving is what is tried here
        if "cancelled" in way:
            say(stdin, None, "notifications/cancelled", {"requestId": 2, "reason": "gone"})
        if way == "the call is cancelled":
            time.sleep(0.3)
    os.waitpid(pid, 0)


def say(stdin: Any, number: int | None, method: str, params: dict[str, Any]) -> None:
    """Send one message."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    if number is not None:
        message["id"] = number
    stdin.write(json.dumps(message).encode() + b"\n")


def main(url: str, state: Path, rounds: int, processes: int = 1) -> None:
    """Run all rounds, one way of leaving after the other."""
    dice = random.Random(1)
    for way in WAYS:
        # On a slow machine, every other round may end before the request is sent.
        patience = [None, *(dice.uniform(0, MAX_PATIENCE_SECONDS) for _ in range(rounds - 1))]

        def leave(number: int, way: str = way, patience: list[float | None] = patience) -> None:
            one_round(url, state, way, f"{way} {number} sandbox:submit=drip", patience[number])

        in_processes(processes, rounds, leave)
        sys.stdout.write(json.dumps(check(url, state, way, rounds)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
