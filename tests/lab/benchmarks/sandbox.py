"""The stand-in API as a process of its own, with credits for any number of pictures: seconds a picture as argument."""

import sys

import anyio

from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.server import run_sandbox

if __name__ == "__main__":
    config = SandboxConfig(seconds=float(sys.argv[1]), credit=1e9)
    anyio.run(lambda: run_sandbox(config, announce=lambda url: print(url, flush=True)))
