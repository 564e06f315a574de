"""The command line: ``nano-banana-mcp [COMMAND]``. Each module of ``commands`` adds its arguments and runs."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from nano_banana_mcp import __version__
from nano_banana_mcp.common.logging import limit_library_loggers
from nano_banana_mcp.common.text import configure_stream
from nano_banana_mcp.settings import SITE, Settings, SettingsError, load_settings, variable_of

PROGRAM = "nano-banana-mcp"
USAGE_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


class Command(NamedTuple):
    """A command: its module in ``commands``, what it does in a sentence, and an example of its arguments."""

    module: str
    summary: str
    example: str


COMMANDS = {
    "generate": Command("generate", "Make pictures and save them.", '"a lighthouse at dawn" --count 2'),
    "demo": Command("demo", "Try it without a key: a sandbox draws the picture.", '"a lighthouse at dawn"'),
    "install": Command("install", "Add the server to a host such as Claude Desktop.", "claude-desktop"),
    "uninstall": Command("install", "Remove the server from a host.", "claude-desktop"),
    "doctor": Command("doctor", "Check the key, the network, the folders and the hosts.", ""),
    "key": Command("key", "Store the API key in the keyring of this system, or remove it.", "set"),
    "history": Command("history", "List requests: their state, price, model and file.", "--since 7d --status success"),
    "gallery": Command("gallery", "Show your pictures in the browser.", ""),
    "save": Command("save", "Save the pictures of a request into a folder.", "ta12345 --output ~/Pictures"),
    "delete": Command("delete", "Delete pictures for good, with their bytes.", "ta12345"),
    "serve": Command("serve", "Serve MCP over stdio, or with --http for a team.", "--http --port 8000"),
    "token": Command("token", "Create, list and revoke the tokens of a team server.", "create alice"),
    "sandbox": Command("sandbox", "Run the stand-in for the image API alone.", "--port 8765"),
    "completion": Command("completion", "Print the completions for a shell.", "bash"),
    "help": Command("help", "Explain a command, or list all settings.", "settings"),
}


def main(argv: Sequence[str] | None = None, *, before_run: Callable[[], None] = lambda: None) -> int:
    """Run the command line and return the exit code.

    Args:
        argv: The words after the program's name, those of this process by default.
        before_run: Called when the module of a command is imported and the settings are read.
    """
    for stream in (sys.stdout, sys.stderr):
        configure_stream(stream)
    words = sys.argv[1:] if argv is None else list(argv)
    if not words and sys.stdin is not None and sys.stdin.isatty():
        sys.stdout.write(_welcome())  # no host types at a terminal
        return 0
    arguments = build_parser(_command_in(words)).parse_args(words)
    return _serve_stdio(arguments) if arguments.run is None else _run(arguments, before_run)


def _run(arguments: argparse.Namespace, before_run: Callable[[], None]) -> int:
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
    limit_library_loggers()
    run: Callable[[Settings, argparse.Namespace], int] = arguments.run
    try:
        before_run()
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
    parser = _Parser(prog=PROGRAM)
    parser.add_argument("-V", "--version", action="version", version=f"nano-banana-mcp {__version__}")
    _add_common_arguments(parser, default=None)
    parser.set_defaults(run=None, overrides=())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name in COMMANDS if command is None else [command]:
        _, summary, example = COMMANDS[name]
        added = commands.add_parser(
            name,
            description=summary,
            epilog=f"example:\n  {' '.join(filter(None, ('nano-banana-mcp', name, example)))}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name == "help":
            added.add_argument("topic", nargs="*", metavar="TOPIC", help="a command, or `settings`")
            added.set_defaults(run=_help)
        else:
            import_module(f"nano_banana_mcp.commands.{COMMANDS[name].module}").add_arguments(added)
        if name == "completion":
            added.set_defaults(build_parser=build_parser)
    for subparser in _subparsers(commands):
        # SUPPRESS: an option before the command must not be overwritten by the default of the command.
        _add_common_arguments(subparser, default=argparse.SUPPRESS)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose help fits a screen, and whose errors suggest what was meant."""

    def format_help(self) -> str:
        if self.prog != PROGRAM:
            return super().format_help()
        commands = "\n".join(f"  {name:<11} {command.summary}" for name, command in COMMANDS.items())
        return (
            "usage: nano-banana-mcp [--sandbox] [--env-file FILE] COMMAND …\n"
            "Makes pictures with the Nano Banana 2 API, here or in an MCP host.\n"
            f"{commands}\n"
            "  --sandbox   Use the built-in stand-in for the API: no key, no cost.\n"
            "  --env-file  Read settings from a file first. `help settings` lists them.\n"
            "  -V, -h      Print the version, or this help. COMMAND --help has examples.\n"
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """In a command, refuse unknown arguments here: the outer parser would name its own help."""
        arguments, unknown = super().parse_known_args(args, namespace)
        if unknown and self.prog != PROGRAM:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return arguments, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {self._explained(message)}\n")

    def _explained(self, message: str) -> str:
        if match := re.match(r"argument (\S+): invalid choice: '?(.*?)'? \(choose from (.*)\)$", message, re.DOTALL):
            place, word, listed = match.groups()
            choices = re.findall(r"[^\s,']+", listed)
            if place == "COMMAND":
                return f"there is no command {word!r}.{_suggestion(word, choices)} `--help` lists the commands."
            return f"{place}: there is no {word!r}.{_suggestion(word, choices)} Choose from {', '.join(choices)}."
        if match := re.match(r"unrecognized arguments: (\S+)", message):
            options = [option for parser in (self, *self._commands()) for option in parser._option_string_actions]
            word = match[1].split("=")[0]
            return f"{word} is not an argument here.{_suggestion(word, options)} `{self.prog} --help` lists them."
        if message.endswith("required: ACTION"):
            names = ", ".join(parser.prog.split()[-1] for parser in self._commands())
            return f"name an action: {names}. See `{self.prog} --help`."
        return f"{message}. See `{self.prog} --help`."

    def _commands(self) -> list[argparse.ArgumentParser]:
        actions = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return [parser for action in actions for parser in _subparsers(action)]


def _suggestion(word: str, choices: Iterable[str]) -> str:
    matches = difflib.get_close_matches(word, choices, n=1)
    return f" Did you mean {matches[0]}?" if matches else ""


def _welcome() -> str:
    return (
        f"nano-banana-mcp {__version__} makes pictures with the Nano Banana 2 API.\n"
        "MCP hosts start this command and talk to it. At a terminal, begin with one of these:\n\n"
        "  nano-banana-mcp demo                      a picture from the sandbox: no key, no cost\n"
        "  nano-banana-mcp install claude-desktop    set up a host; `install --list` shows those on this machine\n"
        '  nano-banana-mcp generate "a lighthouse"   a real picture; it costs credits\n'
        "  nano-banana-mcp doctor                    check that everything works\n\n"
        f"A key for real pictures: {SITE}. All commands: nano-banana-mcp --help\n"
    )


def _help(_: Settings, arguments: argparse.Namespace) -> int:
    if arguments.topic == ["settings"]:
        sys.stdout.write(_settings_help())
        return 0
    words = [*arguments.topic, "--help"]
    build_parser(_command_in(words)).parse_args(words)
    return 0


def _command_in(words: Sequence[str]) -> str | None:
    """The command that the words name, None if it cannot be seen without the whole parser."""
    for word in words:
        if word in COMMANDS:
            return word
        if word in ("-h", "--help", "-V", "--version"):
            return "help"  # needs no module
        if word != "--sandbox":
            return None
    return "serve"


def _subparsers(
    commands: argparse._SubParsersAction[Any],
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
    if sys.stdin is not None and sys.stdin.isatty():
        sys.stderr.write("This serves MCP for a host on standard input and output. Press Ctrl-C to stop.\n")
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
        default = "" if field.default in (None, "") else f" [{field.default}]"
        lines.append(f"  {variable_of(name)}{default}\n      {field.description}")
    return "\n".join(lines) + "\n"
