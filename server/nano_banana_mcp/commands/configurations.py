"""Ready-made entries for the configurations of hosts, as ``install`` would write them."""

from __future__ import annotations

import json

from nano_banana_mcp.installing import tomltext
from nano_banana_mcp.installing.hosts import HOSTS, KEY, NAME, Secret, Server, input_of
from nano_banana_mcp.installing.places import Machine

KEY_PLACEHOLDER = "dk-your-key"


def configurations(start: list[str]) -> dict[str, str]:
    """For each host: where its configuration is and what to put there, as text."""
    machine = Machine.here()
    shown = {}
    for host in HOSTS.values():
        secret = Secret(KEY, "input" if host.prefers == "input" else "stored", KEY_PLACEHOLDER)
        entry = host.entry(host, NAME, Server(tuple(start), None, secret))
        value: dict[str, object] = {host.table: {NAME: entry}}
        if secret.how == "input":
            value["inputs"] = [input_of(secret)]
        if host.form == "toml":
            text = tomltext.put("", (host.table, NAME), entry).rstrip()
        elif host.form == "yaml":
            import yaml

            text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=float("inf")).rstrip()
        else:
            text = json.dumps(value, indent=2, ensure_ascii=False)
        shown[f"{host.title} ({host.place(machine)})"] = text
    return shown
