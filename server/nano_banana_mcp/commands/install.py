"""``install`` and ``uninstall``: the entry of this server in the configuration of a host."""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import platformdirs
from anyio.from_thread import start_blocking_portal
from pydantic import SecretStr

from nano_banana_mcp.commands.console import USAGE_ERROR, key_advice, print_json, refuse
from nano_banana_mcp.commands.entry_key import EntryKey, choose_key
from nano_banana_mcp.common.key_store import NoKeyring, store_key, stored_key
from nano_banana_mcp.common.text import sentence
from nano_banana_mcp.common.urls import http_url
from nano_banana_mcp.install.config_file import ConfigFile, check_writable, read_config, replace
from nano_banana_mcp.install.diff import difference
from nano_banana_mcp.install.entry import (
    MAX_BYTES,
    check_ours,
    entries,
    entry,
    has_secret,
    installed,
    is_remote,
    secrets_in,
    uninstalled,
)
from nano_banana_mcp.install.errors import Refused, Unreadable
from nano_banana_mcp.install.hosts import ALIASES, HOSTS, KEY, Host, Server
from nano_banana_mcp.install.launch import command, exists, is_ours, launch_of
from nano_banana_mcp.install.paths import Machine
from nano_banana_mcp.settings import Settings, variable_of, variables

_NOT_CARRIED = frozenset(
    map(
        variable_of,
        (
            *("api_key", "ledger_url", "webhook_keys"),  # secrets
            "sandbox",  # becomes an argument
            *("host", "port", "allowed_hosts", "tokens_file", "allow_unauthenticated", "public_url"),
            *("oauth_issuer", "oauth_audience", "oauth_jwks_url", "oauth_scopes"),
        ),
    )
)
"""Settings of a shell that an entry does not get: secrets, and those of `serve --http`."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``install`` or ``uninstall`` to its parser."""
    uninstalls = parser.prog.endswith(" uninstall")
    parser.usage = f"{parser.prog} [HOST] [options]"
    parser.add_argument("host", nargs="?", choices=[*HOSTS, *ALIASES], metavar="HOST", help=", ".join(HOSTS))
    if not uninstalls:
        parser.add_argument("--list", action="store_true", help="show which hosts are here, and which are set up")
        parser.add_argument("--json", action="store_true", help="print the list as JSON")
        key = parser.add_mutually_exclusive_group()
        key.add_argument("--key-from-env", action="store_true", help="name DEFAPI_API_KEY in the entry, not its value")
        key.add_argument("--store-key", action="store_true", help="store the key in the file, not a reference to it")
        key.add_argument("--no-key", action="store_true", help="an entry without a key")
        parser.add_argument("--output-dir", type=_folder, metavar="DIR", help="save finished pictures there")
        parser.add_argument(
            "--input-dir",
            type=_folder,
            action="append",
            metavar="DIR",
            help="let requests name pictures in there",
        )
        parser.add_argument("--model", help="the model to use where a request names none")
        parser.add_argument("--no-test", action="store_true", help="do not start the entry after writing it")
    parser.add_argument("--url", metavar="URL", help="the /mcp address of a server that runs on another machine")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the host's configuration file")
    parser.add_argument("--name", default="nano-banana", help="name of the entry (default: nano-banana)")
    parser.add_argument("--dry-run", action="store_true", help="only show the change")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--force", action="store_true", help="even if the host is missing, or the entry is another's")
    parser.set_defaults(run=run, uninstall=uninstalls)
    if uninstalls:
        parser.set_defaults(list=False, output_dir=None, input_dir=None)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Add or remove the entry, or list the hosts.

    Returns:
        0, 1 if the change was not made, 2 for a wrong command line.
    """
    name = "uninstall" if arguments.uninstall else "install"
    problem = None if arguments.list else _usage_problem(arguments)
    if not arguments.uninstall and arguments.json and not arguments.list:
        problem = "--json needs --list"
    if problem:
        return refuse(name, problem, USAGE_ERROR)
    try:
        machine = Machine.here()
        _check_folders(arguments)
    except Refused as error:
        return refuse(name, error)
    return _list(machine, as_json=arguments.json) if arguments.list else _change(name, machine, settings, arguments)


def _change(name: str, machine: Machine, settings: Settings, arguments: argparse.Namespace) -> int:
    """Add or remove the entry; ``name`` is that of the command."""
    host = HOSTS[ALIASES.get(arguments.host, arguments.host)]
    path = arguments.config or host.config_path(machine)
    try:
        path = Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 - links are followed later
        config = read_config(path, MAX_BYTES[host.form])
        if arguments.uninstall:
            return _uninstall(host, config, arguments)
        if arguments.url and host.remote is None:
            return refuse(name, f"{host.title} takes no address here; add {arguments.url} under Settings > Connectors")
        if not (arguments.config or arguments.force or _is_present(host, config, machine)):
            reason = f"{host.title} was not found on this machine: there is no {_marker(config.path, machine)}. "
            return refuse(name, f"{reason}Name its configuration with --config, or add --force")
        return _install(host, config, settings, arguments)
    except Unreadable as error:
        return refuse(name, f"{path}, {error}. The file is unchanged; correct it first")
    except Refused as error:
        return refuse(name, f"{path}: {error}")


def _usage_problem(arguments: argparse.Namespace) -> str | None:
    if arguments.host is None:
        return f"which host? One of: {', '.join(HOSTS)}. `install --list` shows those on this machine"
    if not _NAME.fullmatch(arguments.name):
        return "--name takes 1 to 64 letters A-Z a-z, digits, _ and -"
    if arguments.url is not None and http_url(arguments.url) is None:
        return "--url takes the whole address of a server, such as https://mcp.example.org/mcp"
    return None


def _is_present(host: Host, config: ConfigFile, machine: Machine) -> bool:
    """Whether the host seems to be installed: its configuration exists, or the folder for it."""
    if config.data is not None:
        return True
    marker = _marker(config.path, machine)
    return marker != config.path and marker.is_dir()


def _marker(path: Path, machine: Machine) -> Path:
    """The folder that shows that the host is installed; the file itself if the folder shows nothing."""
    if path.parent == machine.home and path.name == ".claude.json":
        return machine.home / ".claude"
    return path if path.parent in (machine.home, machine.folder) else path.parent


def _install(host: Host, config: ConfigFile, settings: Settings, arguments: argparse.Namespace) -> int:
    current = entry(host, config.text, arguments.name)
    check_ours(current, arguments.name, arguments.url, force=arguments.force)
    check_writable(config)
    has_key = has_secret(current) and is_remote(current) == bool(arguments.url)
    key = choose_key(host, settings, arguments, has_key=has_key)
    server = (
        Server((), arguments.url, key.secret)
        if arguments.url
        else Server(_command(settings, arguments), None, key.secret, _entry_settings(arguments, current))
    )
    old = host.fresh if config.data is None else config.text
    keeps_secret = not (arguments.no_key or key.is_in_keyring)
    new = installed(host, old, arguments.name, server, keep_secret=keeps_secret)
    if config.data is not None and new == config.text:
        sys.stdout.write(f"{host.title} is already set up, nothing changes: {config.path}\n")
        return 0
    secrets = [*secrets_in(current), *([key.secret.value] if key.secret and key.secret.value else [])]
    _show(config, new, secrets)
    _advise(host, config, key)
    if not arguments.url:
        _show_settings(server.settings)
    if not _is_confirmed(arguments):
        return 0 if arguments.dry_run else 1
    if key.to_store is not None:
        _store(key.to_store)
    _report_backup(replace(config, config.encoded(new)))
    sys.stdout.write(f"{host.title} is set up: “{arguments.name}” in {config.path}. {host.after}\n")
    if arguments.url or arguments.no_test:
        return 0
    return _test(host, entry(host, new, arguments.name))


def _test(host: Host, written: Any) -> int:
    """Start the new entry as the host would. Returns the exit code: 1 if it does not start."""
    # They import the SDK, which takes longer than all that comes before.
    from nano_banana_mcp.commands.host_checks import key_problem, launch_in, start_problem

    launch = launch_in(host, written)
    with start_blocking_portal() as portal:
        problem = portal.call(start_problem, launch)
    if problem:
        return refuse("install", f"the entry was written, but its server does not start: {problem}")
    sys.stdout.write("Tested: the entry starts the server.\n")
    if no_key := key_problem(host, launch):
        sys.stdout.write(f"It has no key yet: {no_key}. {key_advice()}\n")
    return 0


def _store(key: SecretStr) -> None:
    try:
        store_key(key)
    except NoKeyring as error:
        raise Refused(
            f"{sentence(str(error))} Nothing was written. Add --store-key to store the key in the entry"
        ) from None


def _uninstall(host: Host, config: ConfigFile, arguments: argparse.Namespace) -> int:
    current = entry(host, config.text, arguments.name)
    if current is None:
        sys.stdout.write(f"{host.title} has no “{arguments.name}”; nothing to remove: {config.path}\n")
        return 0
    check_ours(current, arguments.name, arguments.url, force=arguments.force)
    check_writable(config)
    data = uninstalled(host, config, arguments.name)
    new = ConfigFile(config.path, config.target, data, config.mode).text
    secrets = secrets_in(current)
    _show(config, new, secrets)
    if data is None:
        sys.stdout.write("The file has nothing else in it and is removed.\n")
    if not _is_confirmed(arguments):
        return 0 if arguments.dry_run else 1
    _report_backup(replace(config, data), has_secret=bool(secrets))
    sys.stdout.write(f"“{arguments.name}” is removed from {config.path}. Restart {host.title}.\n")
    if stored_key() is not None:
        sys.stdout.write("The key stays in the keyring of this system; `nano-banana-mcp key remove` removes it.\n")
    return 0


def _list(machine: Machine, *, as_json: bool) -> int:
    states = [_state(host, machine) for host in HOSTS.values()]
    if as_json:
        print_json(states)
        return 0
    for state in states:
        sys.stdout.write(f"{state['host']:<15} {state['state']:<10} {state['path']}\n")
        details = [state["problem"]] if state["problem"] else []
        for item in state["entries"]:
            missing = "" if item["exists"] else "; this program no longer exists: install again"
            details.append(f"“{item['name']}” starts {item['program']}{missing}")
        for detail in details:
            sys.stdout.write(f"{'':<26} {detail}\n")
    return 0


def _state(host: Host, machine: Machine) -> dict[str, Any]:
    """A host as `install --list --json` shows it."""
    path = host.config_path(machine)
    state: dict[str, Any] = {"host": host.id, "title": host.title, "path": str(path), "problem": None, "entries": []}
    try:
        config = read_config(path, MAX_BYTES[host.form])
        servers = entries(host, config.text)
    except Refused as error:
        return {**state, "state": "unreadable", "problem": str(error)}
    launches = {name: launch_of(server) for name, server in servers.items() if is_ours(server)}
    state["entries"] = [
        {"name": name, "program": launch.program, "exists": exists(launch.program)}
        for name, launch in launches.items()
        if launch is not None
    ]
    if state["entries"]:
        return {**state, "state": "set up"}
    return {**state, "state": "found" if _is_present(host, config, machine) else "not found"}


def _command(settings: Settings, arguments: argparse.Namespace) -> tuple[str, ...]:
    words = command()
    if settings.sandbox:
        words.append("--sandbox")
    if arguments.env_file:
        words += ["--env-file", str(arguments.env_file.expanduser().absolute())]
    return tuple(words)


def _folder(text: str) -> Path:
    """A folder of the command line as an absolute path: hosts start the server in a folder of their choice."""
    return Path(os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111 - the path as it was given


def _check_folders(arguments: argparse.Namespace) -> None:
    """Check the folders before anything is shown or asked.

    Raises:
        Refused: One cannot be used.
    """
    for folder in arguments.input_dir or ():
        if not folder.is_dir():
            raise Refused(f"--input-dir: there is no folder {folder}")
    if folder := arguments.output_dir:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK):
            raise Refused(f"pictures cannot be saved in {folder}: {nearest} is no folder that you can write to")


def _entry_settings(arguments: argparse.Namespace, current: Any) -> dict[str, str]:
    """The settings of the entry: those of this shell and of the options, and a folder that a person is asked for."""
    settings = {name: value for name, value in _in_shell().items() if name not in _NOT_CARRIED}
    if arguments.model:
        settings[variable_of("model")] = arguments.model
    if arguments.input_dir:
        settings[variable_of("input_dirs")] = os.pathsep.join(map(str, arguments.input_dir))
    output = variable_of("output_dir")
    present = launch_of(current)
    if arguments.output_dir:
        settings[output] = str(arguments.output_dir)
    elif output not in settings and (present is None or output not in present.environment):
        arguments.output_dir = _asked_folder(arguments)
        _check_folders(arguments)
        settings |= {output: str(arguments.output_dir)} if arguments.output_dir else {}
    return settings


def _in_shell() -> dict[str, str]:
    """The settings in the environment."""
    return {name.upper(): value for name, value in os.environ.items() if value and name.upper() in variables()}


def _asked_folder(arguments: argparse.Namespace) -> Path | None:
    """Where a person wants finished pictures to be saved; None for nowhere, or if no person can be asked."""
    if arguments.yes or arguments.dry_run or not sys.stdin.isatty():
        return None
    default = Path(platformdirs.user_pictures_path()) / "nano-banana"
    sys.stdout.write(f"Save finished pictures in {default}? [Y/n, or another folder] ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if not answer or answer.strip().lower() in ("n", "no"):
        return None
    return default if answer.strip().lower() in ("", "y", "yes") else _folder(answer.strip())


def _show_settings(settings: dict[str, str]) -> None:
    in_shell = _in_shell()
    carried = [name for name in settings if name in in_shell]
    left = [name for name in in_shell if name in _NOT_CARRIED - {KEY, variable_of("sandbox")}]
    if carried:
        sys.stdout.write(f"Settings of this shell that the entry gets: {', '.join(carried)}\n")
    if left:
        sys.stdout.write(f"Settings of this shell that it does not get: {', '.join(left)}\n")


def _show(config: ConfigFile, new: str, secrets: list[str]) -> None:
    sys.stdout.write(difference(config.text, new, str(config.path), secrets))


def _advise(host: Host, config: ConfigFile, key: EntryKey) -> None:
    if host.fresh and config.data is None:
        sys.stdout.write(f"{host.title} reads this file in its own folder: run this there, or name it with --config\n")
    if key.is_in_keyring:
        verb = "is" if key.to_store is None else "will be stored"
        sys.stdout.write(
            f"The key {verb} in the keyring of this system, not in the entry (`nano-banana-mcp key set`).\n"
        )
    secret = key.secret
    if secret is None:
        return
    if secret.how == "stored" and config.mode is not None and os.name == "posix":
        if stat.S_IMODE(config.mode) & 0o077:
            sys.stdout.write(f"Other users can read the key in this file. To prevent it: chmod 600 {config.target}\n")
    elif secret.how == "reference":
        sys.stdout.write(
            f"{host.title} reads the key from {secret.variable} at each start. Set the variable permanently, "
            "not only in this shell, or store the key in the file with --store-key\n"
        )


def _is_confirmed(arguments: argparse.Namespace) -> bool:
    if arguments.dry_run:
        sys.stdout.write("Nothing was written (--dry-run).\n")
        return False
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        name = "uninstall" if arguments.uninstall else "install"
        refuse(name, "this is not a terminal, so nothing was written. Add --yes to write this change")
        return False
    sys.stdout.write("Write this change? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    sys.stdout.write("Nothing was written.\n")
    return False


def _report_backup(backup: Path | None, *, has_secret: bool = False) -> None:
    if backup is not None:
        warning = "; it still contains the key: delete it when everything works" if has_secret else ""
        sys.stdout.write(f"The file before the change: {backup}{warning}\n")
