"""The hosts: where their configuration is, which part of it lists servers, and the form of an entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nano_banana_mcp.install import paths
from nano_banana_mcp.install.formats import Format
from nano_banana_mcp.install.paths import Machine

NAME = "nano-banana"
KEY = "DEFAPI_API_KEY"
TOKEN = "NANO_BANANA_TOKEN"  # noqa: S105 - the name of a variable
TOOL_SECONDS = 300
"""Timeout of a call in the host: a wait takes up to 240 s."""
START_SECONDS = 60
"""Timeout of a start in the host: uvx may have to download the package first."""

How = Literal["stored", "reference", "input"]


@dataclass(frozen=True, slots=True)
class Secret:
    """The API key of a local server, or the token for a remote one."""

    variable: str
    how: How
    value: str = ""

    def __repr__(self) -> str:
        return f"Secret({self.variable}, {self.how})"


@dataclass(frozen=True, slots=True)
class Server:
    """The command that a host starts, or the URL that it calls."""

    command: tuple[str, ...] = ()
    url: str | None = None
    secret: Secret | None = None
    settings: dict[str, str] = field(default_factory=dict)
    """Further environment variables of the command."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host application."""

    id: str
    title: str
    config_path: Callable[[Machine], Path]
    form: Format
    table: str
    """The key in the root of the file that holds the servers."""
    entry: Callable[[Host, str, Server], dict[str, Any]]
    reference: str | None
    """How a value refers to an environment variable, with {} for its name; None if it cannot."""
    prefers: How
    """How the host best gets a secret that is in the environment now: by reference if the host can fill it in."""
    remote: dict[str, str] | None = None
    """The keys of an entry with a URL; the URL replaces the empty value. None if the host takes no URL."""
    fills_in_itself: bool = False
    """Whether the host fills references in from a file of its own, so that no key has to be in the environment."""
    fresh: str = ""
    """What a new file must contain besides the entry."""
    after: str = ""
    """What a person has to do after the installation."""

    def value_for(self, secret: Secret) -> str:
        """The value that stands for the secret in an entry of this host."""
        if secret.how == "stored":
            return secret.value
        if secret.how == "input":
            return f"${{input:{input_of(secret)['id']}}}"
        return (self.reference or "").format(secret.variable)


def input_of(secret: Secret) -> dict[str, Any]:
    """The item of ``inputs`` that makes VS Code ask for the secret once and store it."""
    name, description = ("defapi-key", "defapi API key") if secret.variable == KEY else ("nano-banana-token", "token")
    return {"type": "promptString", "id": name, "description": description, "password": True}


def _local(host: Host, server: Server) -> dict[str, Any]:
    program, *arguments = server.command
    secret = {server.secret.variable: host.value_for(server.secret)} if server.secret else {}
    env = {**server.settings, **secret}
    return {"command": program, "args": arguments, **({"env": env} if env else {})}


def _remote(host: Host, server: Server) -> dict[str, Any]:
    assert host.remote is not None
    entry: dict[str, Any] = {key: value or server.url for key, value in host.remote.items()}
    if server.secret:
        entry["headers"] = {"Authorization": f"Bearer {host.value_for(server.secret)}"}
    return entry


def _plain(host: Host, _name: str, server: Server) -> dict[str, Any]:
    return _remote(host, server) if server.url else _local(host, server)


def _typed(host: Host, _name: str, server: Server) -> dict[str, Any]:
    return _remote(host, server) if server.url else {"type": "stdio", **_local(host, server)}


def _in_seconds(host: Host, name: str, server: Server) -> dict[str, Any]:
    return {**_plain(host, name, server), "timeout": TOOL_SECONDS}


def _in_milliseconds(host: Host, name: str, server: Server) -> dict[str, Any]:
    return {**_plain(host, name, server), "timeout": TOOL_SECONDS * 1000}


def _environment(server: Server) -> dict[str, str]:
    """The variables with their values, where references are listed apart from them."""
    secret = server.secret
    return {**server.settings, **({secret.variable: secret.value} if secret and secret.how == "stored" else {})}


def _codex(_host: Host, _name: str, server: Server) -> dict[str, Any]:
    entry: dict[str, Any]
    secret = server.secret
    if server.url:
        entry = {"url": server.url}
        if secret and secret.how == "reference":
            entry["bearer_token_env_var"] = secret.variable
        elif secret:
            entry["http_headers"] = {"Authorization": f"Bearer {secret.value}"}
    else:
        entry = {"command": server.command[0], "args": list(server.command[1:])}
        if secret and secret.how == "reference":
            entry["env_vars"] = [secret.variable]
        if env := _environment(server):
            entry["env"] = env
    return {**entry, "startup_timeout_sec": START_SECONDS, "tool_timeout_sec": TOOL_SECONDS}


def _goose(host: Host, name: str, server: Server) -> dict[str, Any]:
    secret = server.secret
    entry: dict[str, Any] = {"enabled": True, "type": "stdio", "name": name, "description": "Makes pictures"}
    if server.url:
        entry |= {"type": "streamable_http", "uri": server.url}
        if secret:
            entry["headers"] = {"Authorization": f"Bearer {host.value_for(secret)}"}
    else:
        entry |= {"cmd": server.command[0], "args": list(server.command[1:])}
        if env := _environment(server):
            entry["envs"] = env
    if secret and secret.how == "reference":
        entry["env_keys"] = [secret.variable]
    return {**entry, "timeout": TOOL_SECONDS}


def _librechat(host: Host, name: str, server: Server) -> dict[str, Any]:
    typed = _typed(host, name, server)
    return {**typed, "timeout": TOOL_SECONDS * 1000, "initTimeout": START_SECONDS * 1000}


_RESTART = "Quit the application completely and start it again."
_SESSION = "New sessions have it; /mcp shows it."
_HTTP = {"type": "http", "url": ""}
_URL = {"url": ""}

HOSTS = {
    host.id: host
    for host in (
        Host(
            "claude-desktop", "Claude Desktop", paths.claude_desktop, "json", "mcpServers", _plain, None, "stored",
            after=_RESTART,
        ),
        Host(
            "claude-code", "Claude Code", paths.claude_code, "json", "mcpServers", _typed, "${{{}}}", "reference",
            remote=_HTTP, after=_SESSION,
        ),
        Host(
            "cursor", "Cursor", paths.cursor, "json", "mcpServers", _plain, "${{env:{}}}", "reference",
            remote=_URL, after="Switch it on under Settings > MCP.",
        ),
        Host(
            "vscode", "VS Code", paths.vs_code, "json", "servers", _typed, "${{env:{}}}", "input",
            remote=_HTTP, after="Start it with “MCP: List Servers” in the command palette.",
        ),
        Host(
            "windsurf", "Windsurf", paths.windsurf, "json", "mcpServers", _plain, "${{env:{}}}", "reference",
            remote={"serverUrl": ""}, after="Press the refresh button above the list of MCP servers.",
        ),
        Host(
            "codex", "Codex", paths.codex, "toml", "mcp_servers", _codex, "{}", "reference",
            remote=_URL, after=_SESSION,
        ),
        Host(
            "gemini", "Gemini CLI", paths.gemini, "json", "mcpServers", _in_milliseconds, "${}", "reference",
            remote={"httpUrl": ""}, after=_SESSION,
        ),
        Host(
            "goose", "Goose", paths.goose, "yaml", "extensions", _goose, "${}", "reference",
            remote=_URL, after="New sessions have it.",
        ),
        Host(
            "zed", "Zed", paths.zed, "json", "context_servers", _in_seconds, None, "stored",
            remote=_URL, after="It appears in the settings of the agent panel.",
        ),
        Host(
            "librechat", "LibreChat", paths.librechat, "yaml", "mcpServers", _librechat, "${{{}}}", "reference",
            remote={"type": "streamable-http", "url": ""}, fills_in_itself=True,
            fresh="version: 1.2.8\n",  # without a version LibreChat does not start
            after="Put the variable into LibreChat's own .env file, and restart its API.",
        ),
    )
}  # fmt: skip
ALIASES = {"gemini-cli": "gemini"}
