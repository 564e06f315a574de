"""The command line: ``nano-banana-mcp [COMMAND]``, one module of ``commands`` each."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nano_banana_mcp import __version__

if TYPE_CHECKING:
    from nano_banana_mcp.settings import Settings

USAGE_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
STATUSES = ("pending", "submitted", "in_progress", "success", "failed", "unknown")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    from nano_banana_mcp.settings import SettingsError, load_settings

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter is no reason to end
    arguments = _parser().parse_args(argv)
    if arguments.run is _serve and not getattr(arguments, "http", False):
        return _serve_stdio(arguments)
    overrides: dict[str, Any] = {"sandbox": True} if arguments.sandbox else {}
    if arguments.run is _serve:
        given = {name: getattr(arguments, name, None) for name in ("host", "port", "allow_unauthenticated")}
        overrides |= {name: value for name, value in given.items() if value is not None}
    if arguments.run is _doctor and arguments.public_url:
        overrides["public_url"] = arguments.public_url
    try:
        settings = load_settings(arguments.env_file, **overrides)
    except SettingsError as error:
        print(f"nano-banana-mcp: {error}", file=sys.stderr)  # noqa: T201 - no protocol is spoken yet
        return USAGE_ERROR
    run: Callable[[Settings, argparse.Namespace], int] = arguments.run
    try:
        return run(settings, arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _serve_stdio(arguments: argparse.Namespace) -> int:
    from nano_banana_mcp.stdio.handover import start_at_once

    try:
        return start_at_once(sandbox=arguments.sandbox, env_file=arguments.env_file)
    except KeyboardInterrupt:
        return INTERRUPTED


def _serve(settings: Settings, _: argparse.Namespace) -> int:
    return _serve_http(settings)


def _serve_http(settings: Settings) -> int:
    from nano_banana_mcp.common.logging import configure_logging
    from nano_banana_mcp.http.auth.authentication import BindRefused
    from nano_banana_mcp.http.auth.users_file import BadPrincipals
    from nano_banana_mcp.http.server import serve_http
    from nano_banana_mcp.ledger.base import LedgerError
    from nano_banana_mcp.settings import SettingsError

    configure_logging(settings.log_level, settings.log_format)
    try:
        serve_http(settings)
    except (BindRefused, BadPrincipals, LedgerError, SettingsError, OSError) as error:
        sys.stderr.write(f"nano-banana-mcp: {error.for_operator if isinstance(error, LedgerError) else error}\n")
        return 1
    return 0


def _demo(settings: Settings, arguments: argparse.Namespace) -> int:
    from nano_banana_mcp.commands import demo

    return demo.run(settings, " ".join(arguments.prompt), arguments.output, arguments.env_file)


def _sandbox(settings: Settings, arguments: argparse.Namespace) -> int:
    from nano_banana_mcp.commands import demo

    return demo.sandbox(settings, arguments.host, arguments.port, arguments.directives)


def _doctor(settings: Settings, arguments: argparse.Namespace) -> int:
    from nano_banana_mcp.commands import doctor

    return doctor.run(settings, public_url=arguments.public_url is not None)


def _install(settings: Settings, arguments: argparse.Namespace) -> int:
    from nano_banana_mcp.commands import install

    return install.run(settings, arguments)


def _history(settings: Settings, arguments: argparse.Namespace) -> int:
    from nano_banana_mcp.commands import history

    filters = (arguments.status, arguments.model, arguments.search, arguments.since, arguments.json)
    if arguments.action == "settle":
        if any(filters) or arguments.principal is not None:
            sys.stderr.write("nano-banana-mcp history: settle asks about all that is open; it takes no filters\n")
            return USAGE_ERROR
        return history.settle(settings)
    if arguments.limit < 0:
        sys.stderr.write("nano-banana-mcp history: --limit must be 0 (all) or more\n")
        return USAGE_ERROR
    return history.show(
        settings,
        as_json=arguments.json,
        status=arguments.status,
        model=arguments.model,
        search=arguments.search,
        since=arguments.since,
        principal=arguments.principal,
        limit=arguments.limit,
    )


def _gallery(settings: Settings, arguments: argparse.Namespace) -> int:
    from nano_banana_mcp.commands import gallery

    return gallery.run(settings, arguments.port, browser=not arguments.no_browser)


def _save(settings: Settings, arguments: argparse.Namespace) -> int:
    from nano_banana_mcp.commands import save

    return save.run(settings, arguments.task_id, arguments.output)


def _token(settings: Settings, arguments: argparse.Namespace) -> int:
    from nano_banana_mcp.commands import token as tokens

    file = arguments.file or settings.tokens_file or settings.state_path / "tokens.json"
    return tokens.run(settings, arguments.action, file.expanduser().absolute(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nano-banana-mcp",
        description="An MCP server that makes pictures with the Nano Banana 2 API. Without a command: serve stdio.",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nano-banana-mcp {__version__}")
    _add_common(parser, default=None)
    parser.set_defaults(run=_serve)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve MCP over stdio (the default), or over HTTP")
    serve.add_argument("--http", action="store_true", help="serve streamable HTTP at /mcp")
    serve.add_argument("--host", help="address to listen on (default: NANO_BANANA_HOST)")
    serve.add_argument("--port", type=int, help="port to listen on (default: NANO_BANANA_PORT)")
    serve.add_argument(
        "--allow-unauthenticated",
        action="store_true",
        default=None,
        help="listen beyond this machine without asking who calls",
    )
    serve.set_defaults(run=_serve)

    demo = commands.add_parser("demo", help="make a picture: a real client, a real server process")
    demo.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to draw (default: a lighthouse at dawn)")
    demo.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where to save it (default: NANO_BANANA_OUTPUT_DIR, else ./pictures)",
    )
    demo.set_defaults(run=_demo)

    sandbox = commands.add_parser("sandbox", help="run the stand-in for the image API alone")
    sandbox.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    sandbox.add_argument("--port", type=int, default=8765, help="port to listen on, 0 for any (default: 8765)")
    sandbox.add_argument(
        "--directives", default="", metavar="WORDS", help='faults for every task, e.g. "submit=503*2 result=many"'
    )
    sandbox.set_defaults(run=_sandbox)

    doctor = commands.add_parser("doctor", help="check key, network, credits and state; print configurations")
    doctor.add_argument(
        "--public-url",
        nargs="?",
        const="",
        metavar="URL",
        help="check that this URL (default: NANO_BANANA_PUBLIC_URL) leads to the running server",
    )
    doctor.set_defaults(run=_doctor)

    history = _add_history(commands)
    hosts = _add_install(commands)

    gallery, save = _add_gallery(commands), _add_save(commands)

    token = commands.add_parser("token", help="who may call over HTTP: create, list and revoke tokens")
    actions = token.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    create = actions.add_parser("create", help="make a token, of a new principal or one more of a known one")
    create.add_argument("--api-key", action="store_true", help="ask for the principal's own key for the image API")
    actions.add_parser("list", help="who has tokens")
    revoke = actions.add_parser("revoke", help="take all tokens and the key of a principal away")
    revoke.add_argument("--id", metavar="ID", help="only the token that `list` shows under this id")
    key = actions.add_parser("key", help="set a principal's own key for the image API; oauth:… for one of the issuer")
    key.add_argument("--remove", action="store_true", help="use the server's key again")
    for name, action in actions.choices.items():
        if name != "list":
            action.add_argument("name", metavar="NAME", help="the principal")
        action.add_argument("--file", type=Path, metavar="FILE", help="default: NANO_BANANA_TOKENS_FILE")
    token.set_defaults(run=_token)

    for command in (serve, demo, *hosts, sandbox, doctor, history, gallery, save, token, *actions.choices.values()):
        # SUPPRESS: what was given before the command must not be overwritten by the command's default.
        _add_common(command, default=argparse.SUPPRESS)
    return parser


HOSTS = (
    "claude-desktop",
    "claude-code",
    "cursor",
    "vscode",
    "windsurf",
    "codex",
    "gemini",
    "goose",
    "zed",
    "librechat",
)


def _add_install(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> list[argparse.ArgumentParser]:
    install = commands.add_parser("install", help="put the server into a host's configuration", allow_abbrev=False)
    uninstall = commands.add_parser("uninstall", help="take it out again", allow_abbrev=False)
    install.add_argument("--list", action="store_true", help="show which hosts are here, and which are set up")
    key = install.add_mutually_exclusive_group()
    key.add_argument("--key-from-env", action="store_true", help="name DEFAPI_API_KEY in the entry, not its value")
    key.add_argument("--store-key", action="store_true", help="keep the key in the file, and no reference to it")
    key.add_argument("--no-key", action="store_true", help="an entry without a key")
    for parser in (install, uninstall):
        parser.add_argument("host", nargs="?", choices=[*HOSTS, "gemini-cli"], metavar="HOST", help=", ".join(HOSTS))
        parser.add_argument("--url", metavar="URL", help="a server that runs elsewhere (its /mcp), instead of this one")
        parser.add_argument("--config", type=Path, metavar="FILE", help="the host's configuration, if it is elsewhere")
        parser.add_argument("--name", default="nano-banana", help="name of the entry (default: nano-banana)")
        parser.add_argument("--dry-run", action="store_true", help="only show the change")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--force", action="store_true", help="even if the entry of that name is another program's")
        parser.set_defaults(run=_install, uninstall=parser is uninstall)
    uninstall.set_defaults(list=False)
    return [install, uninstall]


def _add_gallery(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    gallery = commands.add_parser("gallery", help="look through what was made, in the browser")
    gallery.add_argument("--port", type=int, default=0, help="port on this machine (default: any free one)")
    gallery.add_argument("--no-browser", action="store_true", help="only print the address")
    gallery.set_defaults(run=_gallery)
    return gallery


def _add_save(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    save = commands.add_parser("save", help="save a task's pictures into a folder")
    save.add_argument("task_id", metavar="TASK_ID", help="as generate_image and history tell it")
    save.add_argument("--output", type=Path, metavar="FOLDER", help="where (default: NANO_BANANA_OUTPUT_DIR)")
    save.set_defaults(run=_save)
    return save


def _add_history(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    history = commands.add_parser("history", help="what was asked for, what became of it, what it cost")
    history.add_argument(
        "action", nargs="?", choices=["show", "settle"], default="show", help="settle: ask the API about all open ones"
    )
    history.add_argument("--json", action="store_true", help="as JSON")
    history.add_argument("--status", choices=STATUSES, help="only these")
    history.add_argument("--model", help="only of this model")
    history.add_argument("--search", metavar="TEXT", help="only with this in the prompt")
    history.add_argument("--since", metavar="WHEN", help="only since then: 2026-11-01, 12h, 7d or 4w")
    history.add_argument("--principal", metavar="NAME", help="only of this caller")
    history.add_argument("--limit", type=int, default=50, help="most rows shown, 0 for all (default: 50)")
    history.set_defaults(run=_history)
    return history


def _add_common(parser: argparse.ArgumentParser, *, default: Any) -> None:
    off = default if default is argparse.SUPPRESS else False
    parser.add_argument(
        "--sandbox", action="store_true", default=off, help="use the built-in stand-in for the API: no key, no cost"
    )
    parser.add_argument(
        "--env-file", type=Path, default=default, metavar="FILE", help="read settings from this file first"
    )


def _settings_help() -> str:
    from nano_banana_mcp.settings import Settings

    lines = ["settings (environment variables, or lines of --env-file):"]
    for field in Settings.model_fields.values():
        default = "" if field.default is None else f" [{field.default}]"
        lines.append(f"  {field.validation_alias}{default}\n      {field.description}")
    return "\n".join(lines)
