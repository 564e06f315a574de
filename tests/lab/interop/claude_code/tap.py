"""``tap.py LOG COMMAND…`` runs a stdio server, passes everything on, and records it.

Each line of LOG is a JSON array: the time (Unix, seconds), the sender (``host`` or ``server``), and the message.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import IO


def pass_on(source: IO[bytes], sink: IO[bytes], sender: str, log: IO[str]) -> None:
    """Copy lines until ``source`` ends."""
    for line in iter(source.readline, b""):
        log.write(json.dumps([time.time(), sender, json.loads(line)]) + "\n")
        log.flush()
        sink.write(line)
        sink.flush()


def main(path: str, command: list[str]) -> int:
    """Run the server until the host closes its stream."""
    with open(path, "a", encoding="utf-8") as log, subprocess.Popen(command, stdin=-1, stdout=-1, bufsize=0) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        answers = threading.Thread(target=pass_on, args=(server.stdout, sys.stdout.buffer, "server", log))
        answers.start()
        pass_on(sys.stdin.buffer, server.stdin, "host", log)
        server.stdin.close()
        answers.join()
    return server.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
