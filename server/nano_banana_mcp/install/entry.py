"""Changes to the text of a configuration file: the entry is added, renewed or removed."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from nano_banana_mcp.install.config_file import ConfigFile, backups, read_config
from nano_banana_mcp.install.errors import Refused
from nano_banana_mcp.install.formats import editor_for, jsonc
from nano_banana_mcp.install.formats.text import Keys, same
from nano_banana_mcp.install.hosts import KEY, TOKEN, Host, Secret, Server, input_of
from nano_banana_mcp.install.launch import is_ours

# Reading is linear, at 1 to 10 MB/s for JSON and TOML and 0.1 MB/s for YAML: a few seconds at most.
MAX_BYTES = {"json": 32_000_000, "toml": 4_000_000, "yaml": 1_000_000}
MAX_BACKUPS = 20
MAX_ENTRY_BYTES = 100_000
INPUTS = "inputs"

_LAUNCH_KEYS = {"command", "cmd", "args", "type", "name", "url", "uri", "httpUrl", "serverUrl"}
_URL_KEYS = ("url", "uri", "httpUrl", "serverUrl")
_SECRET_NAMES = {KEY, TOKEN}
_PUBLIC_PREFIXES = ("NANO_BANANA_", "DEFAPI_")
_SECRET_SETTINGS = {*_SECRET_NAMES, "NANO_BANANA_LEDGER_URL", "NANO_BANANA_WEBHOOK_KEYS"}
_ENVIRONMENT_KEYS = ("env", "envs")
_VARIABLE_LIST_KEYS = ("env_vars", "env_keys")
_HEADER_KEYS = ("headers", "http_headers", "bearer_token_env_var")


def entries(host: Host, text: str) -> dict[str, Any]:
    """All servers that the text lists, by name.

    Raises:
        Unreadable: The text is not what the host expects.
    """
    servers = editor_for(host.form).entry(text, (host.table,))
    return servers if isinstance(servers, dict) else {}


def entry(host: Host, text: str, name: str) -> Any:
    """The server of this name, None if the text has no such server.

    Raises:
        Unreadable: The text is not what the host expects.
    """
    return editor_for(host.form).entry(text, (host.table, name))


def check_ours(current: Any, name: str, url: str | None, *, force: bool) -> None:
    """Check that the entry under our name may be changed.

    Args:
        current: The entry, None if there is no entry of this name.
        url: The server address that the command line names.
        force: Whether an entry of another program may be changed.

    Raises:
        Refused: The entry belongs to another program.
    """
    if current is None or force or is_ours(current) or (url is not None and url in urls_of(current)):
        return
    raise Refused(
        f"the entry “{name}” runs another program. Choose another name with --name, or add --force to change this entry"
    )


def installed(host: Host, text: str, name: str, server: Server, *, keep_secret: bool) -> str:
    """The text with the entry. Settings that the user added to an existing entry stay.

    Args:
        keep_secret: Whether the secret of an existing entry stays if the server comes without one.

    Raises:
        Unreadable: The text is not what the host expects.
        Refused: The change would alter other lines.
    """
    current = entry(host, text, name)
    wanted = host.entry(host, name, server)
    if isinstance(current, dict) and is_remote(current) == bool(server.url):
        wanted = _renewed(current, wanted, forget_secret=server.secret is not None or not keep_secret)
    if current is not None and current == wanted:
        return text
    return _with_entry(host, text, name, wanted)


def is_remote(current: Any) -> bool:
    """Whether an entry names the address of a server."""
    return bool(urls_of(current))


def has_secret(current: Any) -> bool:
    """Whether an entry holds an API key or a token, or a reference to one."""
    if not isinstance(current, dict):
        return False
    names = [*_names(current, _ENVIRONMENT_KEYS), *_names(current, _VARIABLE_LIST_KEYS)]
    return bool(_SECRET_NAMES & set(names)) or any(key in current for key in _HEADER_KEYS)


def secrets_in(current: Any) -> list[str]:
    """The values in an entry that must not be shown."""
    if not isinstance(current, dict):
        return []
    keys = (*_ENVIRONMENT_KEYS, "headers", "http_headers")
    groups = [current[key] for key in keys if isinstance(current.get(key), dict)]
    values = [
        str(value).removeprefix("Bearer ")
        for group in groups
        for name, value in group.items()
        if name in _SECRET_SETTINGS or not str(name).startswith(_PUBLIC_PREFIXES)
    ]
    return [value for value in values if len(value) > 3 and "$" not in value]


def uninstalled(host: Host, config: ConfigFile, name: str) -> bytes | None:
    """The bytes without the entry: those of the back-up if only the entry was added since (None: remove the file).

    Raises:
        Unreadable: The text is not what the host expects.
        Refused: The change would alter other lines.
    """
    text = config.text
    current = entry(host, text, name)
    for earlier in [*_earlier_versions(host, config), ConfigFile(config.path, config.target, None, None)]:
        try:
            before = host.fresh if earlier.data is None else earlier.text
            if entry(host, before, name) is not None:
                continue
            if earlier.encoded(_with_entry(host, before, name, current)) == config.data:
                return earlier.data
        except Refused:
            continue
    new = editor_for(host.form).drop(text, (host.table, name))
    if host.prefers == "input":
        new = _without_inputs(new, current)
    return config.encoded(new)


def _earlier_versions(host: Host, config: ConfigFile) -> list[ConfigFile]:
    versions = []
    for backup in backups(config)[:MAX_BACKUPS]:
        try:
            data = read_config(backup, MAX_BYTES[host.form]).data or b""
        except Refused:
            continue
        # A back-up of another size cannot be this file without one entry, and is not parsed.
        if 0 < len(config.data or b"") - len(data) < MAX_ENTRY_BYTES:
            versions.append(ConfigFile(config.path, config.target, data, config.mode))
    return versions


def _with_entry(host: Host, text: str, name: str, wanted: Any) -> str:
    new = _merged(editor_for(host.form), text, (host.table, name), entry(host, text, name), wanted)
    if host.prefers == "input":
        inputs = jsonc.entry(new, (INPUTS,)) or []
        ids = [item.get("id") for item in inputs if isinstance(item, dict)] if isinstance(inputs, list) else []
        for item in _inputs_of(wanted):
            if item["id"] not in ids:
                new = jsonc.put_item(new, INPUTS, item)
    return new


def _merged(editor: Any, text: str, path: Keys, current: Any, wanted: Any) -> str:
    """The text with this value. Only what differs is rewritten, so that comments between the rest stay."""
    if not (isinstance(current, dict) and isinstance(wanted, dict) and current.keys() & wanted.keys()):
        return str(editor.put(text, path, wanted))
    try:
        new = text
        for key in [key for key in current if key not in wanted]:
            new = editor.drop(new, (*path, key))
        for key, value in wanted.items():
            if key not in current or not same(current[key], value):
                new = _merged(editor, new, (*path, key), current.get(key), value)
    except Refused:
        return str(editor.put(text, path, wanted))
    return new


def _without_inputs(text: str, removed: Any) -> str:
    inputs = jsonc.entry(text, (INPUTS,))
    for item in _inputs_of(removed):
        if isinstance(inputs, list) and item in inputs and _placeholder(item) not in text:
            text = jsonc.drop_item(text, INPUTS, item)
    return text


def _inputs_of(current: Any) -> list[dict[str, Any]]:
    inputs = [input_of(Secret(variable, "input")) for variable in (KEY, TOKEN)]
    return [item for item in inputs if _placeholder(item) in json.dumps(current, default=str)]


def _placeholder(item: dict[str, Any]) -> str:
    return f"${{input:{item['id']}}}"


def _renewed(current: dict[str, Any], wanted: dict[str, Any], *, forget_secret: bool) -> dict[str, Any]:
    """The current entry with our part of it as wanted. Limits and switches of the user stay."""
    renewed = deepcopy(current)
    if forget_secret:
        _remove_secrets(renewed)
    for key, value in wanted.items():
        present = renewed.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            renewed[key] = present | value
        elif key in _VARIABLE_LIST_KEYS and isinstance(present, list):
            renewed[key] = [*present, *(name for name in value if name not in present)]
        elif key in _LAUNCH_KEYS or key not in renewed:
            renewed[key] = value
    return renewed


def _remove_secrets(current: dict[str, Any]) -> None:
    for key in _HEADER_KEYS:
        current.pop(key, None)
    for key in (*_ENVIRONMENT_KEYS, *_VARIABLE_LIST_KEYS):
        present = current.get(key)
        if isinstance(present, dict):
            current[key] = {name: value for name, value in present.items() if name not in _SECRET_NAMES}
        elif isinstance(present, list):
            current[key] = [name for name in present if name not in _SECRET_NAMES]
        if present and not current[key]:
            del current[key]


def urls_of(current: Any) -> list[str]:
    """The addresses that an entry names."""
    return [str(current[key]) for key in _URL_KEYS if current.get(key)] if isinstance(current, dict) else []


def _names(current: dict[str, Any], keys: tuple[str, ...]) -> list[str]:
    return [
        str(name) for key in keys for name in (current.get(key) or ()) if isinstance(current.get(key), (dict, list))
    ]
