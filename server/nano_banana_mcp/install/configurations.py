"""The configuration of each host as text, for people who edit it by hand."""

from __future__ import annotations

import json

from nano_banana_mcp.install.formats import toml, yaml
from nano_banana_mcp.install.hosts import HOSTS, KEY, NAME, Secret, Server, input_of
from nano_banana_mcp.install.paths import Machine


def configurations(start: list[str], key: str) -> dict[str, str]:
    """The configuration text for each host, by the host's title and the path of its file.

    Args:
        start: The command that starts the server.
        key: What stands where the API key belongs.
    """
    machine = Machine.here()
    texts = {}
    for host in HOSTS.values():
        secret = Secret(KEY, "input" if host.prefers == "input" else "stored", key)
        entry = host.entry(host, NAME, Server(tuple(start), None, secret))
        value: dict[str, object] = {host.table: {NAME: entry}}
        if secret.how == "input":
            value["inputs"] = [input_of(secret)]
        if host.form == "toml":
            text = toml.put("", (host.table, NAME), entry).rstrip()
        elif host.form == "yaml":
            text = yaml.dumped(value).rstrip()
        else:
            text = json.dumps(value, indent=2, ensure_ascii=False)
        texts[f"{host.title} ({host.config_path(machine)})"] = text
    return texts
