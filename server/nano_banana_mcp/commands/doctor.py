"""``doctor``: checks the key, the network, the credits, the folders and the hosts, and ends with a verdict."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from nano_banana_mcp import __version__
from nano_banana_mcp.commands.checks import examine
from nano_banana_mcp.commands.console import FAILED, console, print_json, refuse
from nano_banana_mcp.commands.findings import Finding
from nano_banana_mcp.commands.host_checks import check_hosts
from nano_banana_mcp.common.gather import gather
from nano_banana_mcp.install.configurations import configurations
from nano_banana_mcp.install.errors import Refused
from nano_banana_mcp.install.launch import command
from nano_banana_mcp.settings import EXAMPLE_KEY, Settings

Check = Callable[[], Awaitable[list[Finding]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument(
        "--public-url",
        nargs="?",
        const="",
        metavar="URL",
        help="check that this URL (default: NANO_BANANA_PUBLIC_URL) leads to the running server",
    )
    parser.add_argument("--configs", action="store_true", help="also print the entry for each host, to copy by hand")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.epilog = f"{parser.epilog}\n\nexit codes: 0 all checks passed, 1 a check failed, 2 a wrong option or setting"
    parser.set_defaults(run=run, overrides=("public_url",))


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print the report. Returns 0 if all checks pass, else 1."""
    try:
        texts = _configurations(settings) if arguments.configs else {}
    except Refused as error:
        return refuse("doctor", error)
    with console(sys.stderr).status("Checking…"):
        findings = anyio.run(partial(_examine, settings, has_public_url=arguments.public_url is not None))
    failed = sum(not finding.is_good for finding in findings)
    verdict = _verdict(failed, len(findings))
    if arguments.json:
        report = {
            "version": __version__,
            "python": sys.version.split()[0],
            "ok": not failed,
            "verdict": verdict,
            "checks": [finding.as_dict() for finding in findings],
        }
        print_json({**report, "configurations": texts} if arguments.configs else report)
    else:
        sys.stdout.write(f"nano-banana-mcp {__version__} on Python {sys.version.split()[0]}\n\n")
        sys.stdout.write("".join(map(str, findings)))
        for host, text in texts.items():
            sys.stdout.write(f"\n── {host}\n{text}\n")
        sys.stdout.write(f"\n{verdict}\n")
    return FAILED if failed else 0


async def _examine(settings: Settings, *, has_public_url: bool) -> list[Finding]:
    checks: list[Check] = [partial(examine, settings, has_public_url=has_public_url), check_hosts]
    groups = await gather(checks)
    return [finding for findings in groups for finding in findings]


def _verdict(failed: int, count: int) -> str:
    if not failed:
        return f"Everything works: {count} checks passed."
    first = " Correct the first one first: the others may follow from it." if failed > 1 else ""
    return f"Not everything works: {failed} of {count} checks failed.{first}"


def _configurations(settings: Settings) -> dict[str, str]:
    return configurations([*command(), *(["--sandbox"] if settings.sandbox else [])], EXAMPLE_KEY)
