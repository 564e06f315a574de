"""``install`` and ``uninstall``: the server in the configuration of a host, and out of it again."""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from nano_banana_mcp.common.urls import http_url
from nano_banana_mcp.install import entry as changes
from nano_banana_mcp.install.config_file import Held, Refused, Unreadable, check_writable, hold, replace
from nano_banana_mcp.install.entry import difference
from nano_banana_mcp.install.hosts import ALIASES, HOSTS, KEY, TOKEN, Host, Secret, Server
from nano_banana_mcp.install.paths import Machine, command, exists, is_ours
from nano_banana_mcp.settings import EXAMPLE_KEY, Settings

USAGE_ERROR = 2
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def run(settings: Settings, arguments: argparse.Namespace, *, machine: Machine | None = None) -> int:
    """Do it. Returns 0, 1 where nothing was changed although it should have been, 2 for a wrong command line."""
    machine = machine or Machine.here()
    if arguments.list:
        return _list(machine)
    fault = _fault(arguments)
    if fault:
        return _failed(fault, USAGE_ERROR)
    host = HOSTS[ALIASES.get(arguments.host, arguments.host)]
    path = arguments.config or host.place(machine)
    try:
        path = Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 - links are followed later
        held = hold(path, changes.MAX_BYTES[host.form])
        return _uninstall(host, held, arguments) if arguments.uninstall else _install(host, held, settings, arguments)
    except Unreadable as error:
        return _failed(f"{path}, {error}. The file was left as it is; mend it first")
    except Refused as error:
        return _failed(f"{path}: {error}")


def _fault(arguments: argparse.Namespace) -> str | None:
    if arguments.host is None:
        return f"which host? One of: {', '.join(HOSTS)}. `install --list` shows what is there"
    if not _NAME.fullmatch(arguments.name):
        return "--name takes 1 to 64 of the letters A-Z a-z, digits, _ and -"
    if arguments.url is not None and http_url(arguments.url) is None:
        return "--url takes the whole address of a server, as https://mcp.example.org/mcp"
    return None


def _install(host: Host, held: Held, settings: Settings, arguments: argparse.Namespace) -> int:
    known = changes.entry(host, held.text, arguments.name)
    changes.check_ours(known, arguments.name, arguments.url, force=arguments.force)
    if arguments.url and host.remote is None:
        raise Refused(f"{host.title} takes no address here; add {arguments.url} under Settings > Connectors")
    check_writable(held)
    stays = changes.has_secret(known) and changes.is_remote(known) == bool(arguments.url)
    secret = _secret(host, settings, arguments, known=stays)
    server = Server((), arguments.url, secret) if arguments.url else Server(_command(settings, arguments), None, secret)
    old = host.fresh if held.data is None else held.text
    new = changes.installed(host, old, arguments.name, server, keep_secret=not arguments.no_key)
    if held.data is not None and new == held.text:
        sys.stdout.write(f"{host.title} is set up already, and nothing changes: {held.path}\n")
        return 0
    secrets = [*changes.secrets_in(known), *([secret.value] if secret and secret.value else [])]
    _show(held, new, secrets)
    _advise(host, held, secret)
    if not _agreed(arguments):
        return 0 if arguments.dry_run else 1
    _say_backup(replace(held, held.encoded(new)))
    sys.stdout.write(f"{host.title} is set up: “{arguments.name}” in {held.path}. {host.after}\n")
    return 0


def _uninstall(host: Host, held: Held, arguments: argparse.Namespace) -> int:
    known = changes.entry(host, held.text, arguments.name)
    if known is None:
        sys.stdout.write(f"{host.title} has no “{arguments.name}”; nothing to take out: {held.path}\n")
        return 0
    changes.check_ours(known, arguments.name, arguments.url, force=arguments.force)
    check_writable(held)
    data = changes.uninstalled(host, held, arguments.name)
    new = Held(held.path, held.target, data, held.mode).text
    secrets = changes.secrets_in(known)
    _show(held, new, secrets)
    if data is None:
        sys.stdout.write("The file held nothing else, and goes.\n")
    if not _agreed(arguments):
        return 0 if arguments.dry_run else 1
    _say_backup(replace(held, data), secret=bool(secrets))
    sys.stdout.write(f"“{arguments.name}” is out of {held.path}. {host.title} notices when it starts again.\n")
    return 0


def _list(machine: Machine) -> int:
    for host in HOSTS.values():
        path = host.place(machine)
        state, more = _state(host, path, machine)
        sys.stdout.write(f"{host.id:<15} {state:<10} {path}\n")
        for line in more:
            sys.stdout.write(f"{'':<26} {line}\n")
    return 0


def _state(host: Host, path: Path, machine: Machine) -> tuple[str, list[str]]:
    try:
        held = hold(path, changes.MAX_BYTES[host.form])
        servers = changes.entries(host, held.text)
    except Refused as error:
        return "unreadable", [str(error)]
    lines = []
    for name, found in servers.items():
        if is_ours(found):
            program = str(found.get("command") or found.get("cmd"))
            gone = "" if exists(program) else "; this program is gone: install again"
            lines.append(f"“{name}” starts {program}{gone}")
    if lines:
        return "set up", lines
    marker = path.parent if path.parent != machine.home else machine.home / ".claude"
    found_here = held.data is not None or (marker.is_dir() and host.place is not HOSTS["librechat"].place)
    return ("found" if found_here else "not found"), []


def _command(settings: Settings, arguments: argparse.Namespace) -> tuple[str, ...]:
    words = command()
    if settings.sandbox:
        words.append("--sandbox")
    if arguments.env_file:
        words += ["--env-file", str(arguments.env_file.expanduser().absolute())]
    return tuple(words)


def _secret(host: Host, settings: Settings, arguments: argparse.Namespace, *, known: bool) -> Secret | None:
    """What the entry says of the key: the host asks for it, names a variable, or has it in the file."""
    variable = TOKEN if arguments.url else KEY
    if arguments.no_key or (not arguments.url and (settings.sandbox or arguments.env_file)):
        return None
    if arguments.key_from_env:
        if host.reference is None:
            raise Refused(f"{host.title} does not fill in variables; leave out --key-from-env")
        return Secret(variable, "reference")
    if arguments.store_key or host.prefers == "stored":
        return _stored(settings, arguments, variable, known=known)
    if host.prefers == "input" or host.fills_in_itself:
        return Secret(variable, "input" if host.prefers == "input" else "reference")
    value = _in_environment(settings, variable)
    if value:
        _check_key(settings, value, variable)
        return Secret(variable, "reference")
    return _stored(settings, arguments, variable, known=known)


def _stored(settings: Settings, arguments: argparse.Namespace, variable: str, *, known: bool) -> Secret | None:
    value = _in_environment(settings, variable)
    if not value and known and not arguments.store_key:
        return None  # the one that is there stays
    if not value and arguments.dry_run:
        return Secret(variable, "stored", EXAMPLE_KEY)
    if not value and sys.stdin.isatty():
        from getpass import getpass

        with suppress(EOFError):  # ended with Ctrl-D: none is given
            value = getpass("Token for the server (not shown): " if arguments.url else "API key (not shown): ").strip()
    if not value:
        raise Refused(f"there is no key. Set {variable} for this command, or add --no-key or --sandbox")
    _check_key(settings, value, variable)
    return Secret(variable, "stored", value)


def _check_key(settings: Settings, value: str, variable: str) -> None:
    problem = settings.model_copy(update={"api_key": SecretStr(value)}).key_problem
    if problem:
        raise Refused(problem.replace(KEY, variable))


def _in_environment(settings: Settings, variable: str) -> str:
    if variable == TOKEN:
        return os.environ.get(TOKEN, "").strip()
    return settings.api_key.get_secret_value().strip() if settings.api_key else ""


def _show(held: Held, new: str, secrets: list[str]) -> None:
    sys.stdout.write(difference(held.text, new, str(held.path), secrets))


def _advise(host: Host, held: Held, secret: Secret | None) -> None:
    if host.fresh and held.data is None:
        sys.stdout.write(f"{host.title} reads this file in its own folder: run this there, or name it with --config\n")
    if not held.target.parent.is_dir():
        sys.stdout.write(f"{host.title} seems not to be installed here: there is no folder {held.target.parent}\n")
    if secret is None:
        return
    if secret.how == "stored" and held.mode is not None and os.name == "posix":
        if stat.S_IMODE(held.mode) & 0o077:
            sys.stdout.write(f"Others on this machine may read this file, and the key in it: chmod 600 {held.target}\n")
    elif secret.how == "reference":
        sys.stdout.write(
            f"{host.title} takes the key from {secret.variable} each time it starts: set it for good, "
            "not only in this shell, or keep the key in the file with --store-key\n"
        )


def _agreed(arguments: argparse.Namespace) -> bool:
    if arguments.dry_run:
        sys.stdout.write("Nothing was written (--dry-run).\n")
        return False
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        _failed("nobody can be asked here, so nothing was written. Add --yes to write this change")
        return False
    sys.stdout.write("Write this change? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    sys.stdout.write("Nothing was written.\n")
    return False


def _say_backup(backup: Path | None, *, secret: bool = False) -> None:
    if backup is not None:
        still = "; the key is still in it: delete it when all is well" if secret else ""
        sys.stdout.write(f"What was there before is in {backup}{still}\n")


def _failed(text: str, code: int = 1) -> int:
    sys.stderr.write(f"nano-banana-mcp: {text}\n")
    return code
