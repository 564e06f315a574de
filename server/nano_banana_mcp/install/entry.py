"""What becomes of a configuration file's text when the entry goes in, is renewed, or goes out; and how a person
sees that before it is made: no secret in it, neither ours nor a neighbour's."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from copy import deepcopy
from importlib import import_module
from typing import Any

from nano_banana_mcp.install.config_file import Held, Keys, Refused, backups, hold, same
from nano_banana_mcp.install.hosts import KEY, TOKEN, Host, Secret, Server, input_of
from nano_banana_mcp.install.paths import is_ours

# Reading is linear, but at 1 to 10 MB/s for JSON and TOML and 0.2 MB/s for YAML: some seconds at most.
MAX_BYTES = {"json": 32_000_000, "toml": 8_000_000, "yaml": 1_000_000}
MAX_BACKUPS = 20
MAX_ENTRY = 100_000
INPUTS = "inputs"

_START = {"command", "cmd", "args", "type", "name", "url", "uri", "httpUrl", "serverUrl"}
_SECRETS = {KEY, TOKEN}
_NAMED_VALUES = ("env", "envs")
_NAMES = ("env_vars", "env_keys")
_HEADERS = ("headers", "http_headers", "bearer_token_env_var")


def entries(host: Host, text: str) -> dict[str, Any]:
    """All servers that the text lists, by name.

    Raises:
        Unreadable: it is not what the host expects.
    """
    found = _module(host).entry(text, (host.table,))
    return found if isinstance(found, dict) else {}


def entry(host: Host, text: str, name: str) -> Any:
    """The server of this name, None where there is none.

    Raises:
        Unreadable: it is not what the host expects.
    """
    return _module(host).entry(text, (host.table, name))


def check_ours(found: Any, name: str, url: str | None, *, force: bool) -> None:
    """See whether an entry under our name may be changed.

    Raises:
        Refused: it seems to be another program's.
    """
    if found is None or force or is_ours(found) or (url is not None and url in _urls(found)):
        return
    raise Refused(
        f"“{name}” there is not an entry for this program. Choose another name with --name, or insist with --force"
    )


def installed(host: Host, text: str, name: str, server: Server, *, keep_secret: bool) -> str:
    """The text with the entry. Of an entry that is there, what the user added stays.

    Args:
        keep_secret: Whether the secret of an entry that is there stays, if the server comes without one.

    Raises:
        Unreadable: the text is not what the host expects.
        Refused: it cannot be done without changing more.
    """
    known = entry(host, text, name)
    wanted = host.entry(host, name, server)
    if isinstance(known, dict) and is_remote(known) == bool(server.url):
        wanted = _renewed(known, wanted, forget=server.secret is not None or not keep_secret)
    if known is not None and known == wanted:
        return text
    return _written(host, text, name, wanted)


def is_remote(found: Any) -> bool:
    """Whether an entry names a server elsewhere."""
    return bool(_urls(found))


def has_secret(found: Any) -> bool:
    """Whether an entry has an API key or a token, or names where it is."""
    if not isinstance(found, dict):
        return False
    named = [*_names(found, _NAMED_VALUES), *_names(found, _NAMES)]
    return bool(_SECRETS & set(named)) or any(key in found for key in _HEADERS)


def secrets_in(found: Any) -> list[str]:
    """The values in an entry that nobody should see."""
    if not isinstance(found, dict):
        return []
    groups = [found[key] for key in (*_NAMED_VALUES, "headers", "http_headers") if isinstance(found.get(key), dict)]
    values = [str(value).removeprefix("Bearer ") for group in groups for value in group.values()]
    return [value for value in values if len(value) > 3 and "$" not in value]


def uninstalled(host: Host, held: Held, name: str) -> bytes | None:
    """The bytes without the entry: those from before it came, if nothing else was changed since (None: no file).

    Raises:
        Unreadable: the text is not what the host expects.
        Refused: it cannot be done without changing more.
    """
    text = held.text
    found = entry(host, text, name)
    for earlier in [*_earlier(host, held), Held(held.path, held.target, None, None)]:
        try:
            before = host.fresh if earlier.data is None else earlier.text
            if entry(host, before, name) is None and earlier.encoded(_written(host, before, name, found)) == held.data:
                return earlier.data
        except Refused:
            continue
    new = _module(host).drop(text, (host.table, name))
    if host.prefers == "input":
        new = _without_inputs(new, found)
    return held.encoded(new)


def _earlier(host: Host, held: Held) -> list[Held]:
    found = []
    for backup in backups(held)[:MAX_BACKUPS]:
        try:
            data = hold(backup, MAX_BYTES[host.form]).data or b""
        except Refused:
            continue
        if not 0 < len(held.data or b"") - len(data) < MAX_ENTRY:  # not worth the reading
            continue
        found.append(Held(held.path, held.target, data, held.mode))
    return found


def _written(host: Host, text: str, name: str, wanted: Any) -> str:
    new = _merged(_module(host), text, (host.table, name), entry(host, text, name), wanted)
    if host.prefers == "input":
        from nano_banana_mcp.install.formats import jsonc

        known = jsonc.entry(new, (INPUTS,)) or []
        ids = [item.get("id") for item in known if isinstance(item, dict)] if isinstance(known, list) else []
        for item in _inputs_of(wanted):
            if item["id"] not in ids:
                new = jsonc.put_item(new, INPUTS, item)
    return new


def _merged(module: Any, text: str, path: Keys, known: Any, wanted: Any) -> str:
    """The text with this value, of which only what differs is written anew: comments between the rest stay."""
    if not (isinstance(known, dict) and isinstance(wanted, dict) and known.keys() & wanted.keys()):
        return str(module.put(text, path, wanted))
    try:
        new = text
        for key in [key for key in known if key not in wanted]:
            new = module.drop(new, (*path, key))
        for key, value in wanted.items():
            if key not in known or not same(known[key], value):
                new = _merged(module, new, (*path, key), known.get(key), value)
    except Refused:
        return str(module.put(text, path, wanted))
    return new


def _without_inputs(text: str, gone: Any) -> str:
    from nano_banana_mcp.install.formats import jsonc

    known = jsonc.entry(text, (INPUTS,))
    for item in _inputs_of(gone):
        if isinstance(known, list) and item in known and _asked(item) not in text:
            text = jsonc.drop_item(text, INPUTS, item)
    return text


def _inputs_of(found: Any) -> list[dict[str, Any]]:
    inputs = [input_of(Secret(variable, "input")) for variable in (KEY, TOKEN)]
    return [item for item in inputs if _asked(item) in json.dumps(found, default=str)]


def _asked(item: dict[str, Any]) -> str:
    return f"${{input:{item['id']}}}"


def _renewed(known: dict[str, Any], wanted: dict[str, Any], *, forget: bool) -> dict[str, Any]:
    """The known entry, with our part of it as wanted. Limits and switches that are there stay as they are."""
    entry = deepcopy(known)
    if forget:
        for key in _HEADERS:
            entry.pop(key, None)
        for key in (*_NAMED_VALUES, *_NAMES):
            held = entry.get(key)
            if isinstance(held, dict):
                entry[key] = {name: value for name, value in held.items() if name not in _SECRETS}
            elif isinstance(held, list):
                entry[key] = [name for name in held if name not in _SECRETS]
            if held and not entry[key]:
                del entry[key]
    for key, value in wanted.items():
        held = entry.get(key)
        if isinstance(held, dict) and isinstance(value, dict):
            entry[key] = held | value
        elif key in _NAMES and isinstance(held, list):
            entry[key] = [*held, *(name for name in value if name not in held)]
        elif key in _START or key not in entry:
            entry[key] = value
    return entry


def _urls(found: Any) -> list[str]:
    keys = ("url", "uri", "httpUrl", "serverUrl")
    return [str(found[key]) for key in keys if found.get(key)] if isinstance(found, dict) else []


def _names(found: dict[str, Any], keys: tuple[str, ...]) -> list[str]:
    return [str(name) for key in keys for name in (found.get(key) or ()) if isinstance(found.get(key), (dict, list))]


def _module(host: Host) -> Any:
    # Each with its parser: only the one that is needed.
    name = {"json": "jsonc", "toml": "tomltext", "yaml": "yamltext"}[host.form]
    return import_module(f"nano_banana_mcp.installing.{name}")


MASK = "••••••"
MAX_LINE = 160
_TELLING = re.compile(
    r"""((?:[\w-]*(?:key|token|secret|passw|credential)[\w-]*|authorization|cookie)["']?\s*[:=]\s*(?:Bearer\s+)?)"""
    r"""("(?:\\.|[^"\\])*"|'[^']*'|[^\s"',\]}{\[#][^\s,}\]#]*)""",
    re.IGNORECASE,
)
_PLAIN = re.compile(r'"?(?:true|false|null|none|\d{1,6}|\$.*|Bearer \$.*)?"?', re.IGNORECASE)


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets, and without what is called a key, token, secret or password."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _TELLING.sub(_hidden, text)


def difference(old: str, new: str, name: str, secrets: Iterable[str]) -> str:
    """A unified diff with one line of context; of a file in one line, only what changes in it."""
    secrets = list(secrets)
    if max(map(len, [*old.split("\n"), *new.split("\n")])) > MAX_LINE * 4:
        return _in_place(old, new, name, secrets)
    before, after = old.splitlines(), new.splitlines()
    lines = difflib.unified_diff(before, after, name, f"{name} (new)", n=1, lineterm="")
    shown = [masked(line, secrets) for line in lines]
    if before == after:
        shown = ["(only line ends or the end of the file differ)"]
    return "".join(f"{line[:MAX_LINE]}{'…' if len(line) > MAX_LINE else ''}\n" for line in shown)


def _in_place(old: str, new: str, name: str, secrets: list[str]) -> str:
    first = _common(old, new)
    last = _common(old[first:][::-1], new[first:][::-1])
    gone, come = old[first : len(old) - last], new[first : len(new) - last]
    lines = [f"--- {name}", f"@@ at character {first + 1} @@"]
    lines += [f"{sign}{line}" for sign, part in (("-", gone), ("+", come)) if part for line in part.splitlines()]
    return "".join(f"{masked(line, secrets)}\n" for line in lines)


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))


def _hidden(found: re.Match[str]) -> str:
    if _PLAIN.fullmatch(found[2]):
        return found[0]
    quote = found[2][0] if found[2][0] in "\"'" else ""
    return f"{found[1]}{quote}{MASK}{quote}"
