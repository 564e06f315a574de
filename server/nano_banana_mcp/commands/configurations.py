"""Ready-made entries for the configurations of hosts."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

KEY_PLACEHOLDER = "dk-your-key"


def command() -> list[str]:
    """How hosts should start this very installation: by an absolute path, since they know no virtual environment."""
    script = Path(sys.argv[0]).absolute() if sys.argv and sys.argv[0] else None
    if script is not None and script.name.startswith("nano-banana-mcp") and script.is_file():
        return [str(script)]
    found = shutil.which("nano-banana-mcp")
    if found:
        return [str(Path(found).absolute())]
    return [sys.executable, "-P", "-m", "nano_banana_mcp"]


def configurations(start: list[str]) -> dict[str, str]:
    """For each host: where its configuration is and what to put there, as text."""
    program, arguments = start[0], start[1:]
    env = {"DEFAPI_API_KEY": KEY_PLACEHOLDER}
    entry = {"command": program, "args": arguments, "env": env}
    servers = _json({"mcpServers": {"nano-banana": entry}})
    vs_code = {
        "inputs": [{"type": "promptString", "id": "defapi-key", "description": "defapi API key", "password": True}],
        "servers": {
            "nano-banana": {"type": "stdio", **entry, "env": {"DEFAPI_API_KEY": "${input:defapi-key}"}},
        },
    }
    codex = "\n".join(
        [
            "[mcp_servers.nano-banana]",
            f"command = {json.dumps(program)}",
            f"args = {json.dumps(arguments)}",
            "",
            "[mcp_servers.nano-banana.env]",
            f"DEFAPI_API_KEY = {json.dumps(KEY_PLACEHOLDER)}",
        ]
    )
    claude_code = " ".join(
        ["claude mcp add nano-banana --scope user", f"--env DEFAPI_API_KEY={KEY_PLACEHOLDER}", "--", _shell(start)]
    )
    return {
        "Claude Desktop (claude_desktop_config.json, from Settings > Developer)": servers,
        "Claude Code (in a terminal)": claude_code,
        "Cursor (~/.cursor/mcp.json)": servers,
        "VS Code (.vscode/mcp.json)": _json(vs_code),
        "Codex (~/.codex/config.toml)": codex,
        "Gemini CLI (~/.gemini/settings.json)": servers,
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _shell(words: list[str]) -> str:
    import shlex

    return shlex.join(words)
