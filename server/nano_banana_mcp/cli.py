"""The command line: ``nano-banana-mcp [COMMAND]``. Each module of ``commands`` adds its arguments and runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from nano_banana_mcp import __version__
from nano_banana_mcp.common.text import configure_stream
from nano_banana_mcp.settings import Settings, SettingsError, load_settings, variable_of

USAGE_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141

COMMANDS = {
    "serve": "serve",
    "demo": "demo",
    "sandbox": "sandbox",
    "doctor": "doctor",
    "history": "history",
    "install": "install",
    "uninstall": "install",
    "gallery": "gallery",
    "save": "save",
    "token": "token",
}
"""The module of ``commands`` for each command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        configure_stream(stream)
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = build_parser(_command_in(words)).parse_args(words)
    if arguments.run is None:
        return _serve_stdio(arguments)
    overrides: dict[str, Any] = {"sandbox": True} if arguments.sandbox else {}
    for name in arguments.overrides:
        value = getattr(arguments, name)
        if value not in (None, ""):
            overrides[name] = value
    try:
        settings = load_settings(arguments.env_file, **overrides)
    except SettingsError as error:
        sys.stderr.write(f"nano-banana-mcp: {error}\n")
        return USAGE_ERROR
    run: Callable[[Settings, argparse.Namespace], int] = arguments.run
    try:
        return run(settings, arguments)
    except SettingsError as error:  # of a setting that only this command needs
        sys.stderr.write(f"nano-banana-mcp: {error}\n")
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone. Without this, Python reports it again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command line.

    Args:
        command: The only command to add, so that no other module is imported; None adds all commands.
    """
    parser = argparse.ArgumentParser(
        prog="nano-banana-mcp",
        description="An MCP server that makes pictures with the Nano Banana 2 API. Without a command: serve stdio.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=f"nano-banana-mcp {__version__}")
    _add_common_arguments(parser, default=None)
    parser.set_defaults(run=None, overrides=())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in _modules(command):
        module.add_arguments(commands)
    for subparser in _subparsers(commands):
        # SUPPRESS: an option before the command must not be overwritten by the default of the command.
        _add_common_arguments(subparser, default=argparse.SUPPRESS)
    if command is None:
        parser.epilog = _settings_help()
    return parser


def _command_in(words: Sequence[str]) -> str | None:
    """The command that the words name, None if it cannot be seen without the whole parser."""
    for word in words:
        if word in COMMANDS:
            return word
        if word != "--sandbox":
            return None
    return "serve"


def _modules(command: str | None) -> list[ModuleType]:
    names = dict.fromkeys(COMMANDS.values()) if command is None else [COMMANDS[command]]
    return [import_module(f"nano_banana_mcp.commands.{name}") for name in names]


def _subparsers(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> Iterator[argparse.ArgumentParser]:
    for parser in commands.choices.values():
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from _subparsers(action)


def _serve_stdio(arguments: argparse.Namespace) -> int:
    for name in arguments.overrides:
        if getattr(arguments, name) is not None:
            sys.stderr.write(f"nano-banana-mcp serve: --{name.replace('_', '-')} needs --http\n")
            return USAGE_ERROR
    from nano_banana_mcp.stdio.handover import start_at_once  # not imported for other commands

    try:
        return start_at_once(sandbox=arguments.sandbox, env_file=arguments.env_file)
    except KeyboardInterrupt:
        return INTERRUPTED


def _add_common_arguments(parser: argparse.ArgumentParser, *, default: Any) -> None:
    off = default if default is argparse.SUPPRESS else False
    parser.add_argument(
        "--sandbox", action="store_true", default=off, help="use the built-in stand-in for the API: no key, no cost"
    )
    parser.add_argument(
        "--env-file", type=Path, default=default, metavar="FILE", help="read settings from this file first"
    )


def _settings_help() -> str:
    lines = ["settings (environment variables, or lines of --env-file):"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f" [{field.default}]"
        lines.append(f"  {variable_of(name)}{default}\n      {field.description}")
    return "\n".join(lines)
