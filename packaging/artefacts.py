"""What is published besides the package, made from `pyproject.toml` and the settings, so that nothing is said twice.

``python packaging/artefacts.py metadata`` rewrites the committed files (a test fails where they are out of date);
``bundle`` builds the MCPB bundle; ``dist`` builds everything that a release has. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nano_banana_mcp import __version__
from nano_banana_mcp.install.hosts import HOSTS, KEY, TOOL_SECONDS, Secret, Server, input_of
from nano_banana_mcp.install.hosts import NAME as ENTRY
from nano_banana_mcp.settings import EXAMPLE_KEY, Settings, variable_of
from nano_banana_tools.prompts.catalog import PROMPTS
from nano_banana_tools.registry import tools

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME, VERSION, DESCRIPTION = PROJECT["name"], __version__, PROJECT["description"]
REPOSITORY: str = PROJECT["urls"]["Repository"]
TITLE = "Nano Banana"
AUTHOR = {"name": PROJECT["authors"][0]["name"], "url": REPOSITORY}
MCP_NAME = re.sub(r"https://github\.com/([^/]+)/(.+)", r"io.github.\1/\2", REPOSITORY)
PYTHON = PROJECT["requires-python"]
EPOCH = (2020, 2, 2, 0, 0, 0)
"""The time of every file within an archive, as hatchling has it: a build's own time would change its bytes."""

OFFERED = {
    "api_key": ("DEFAPI_API_KEY", "string", "defapi API key", {"sensitive": True, "required": True}),
    "output_dir": ("NANO_BANANA_OUTPUT_DIR", "directory", "Save pictures in", {"required": False}),
    "input_dir": ("NANO_BANANA_INPUT_DIRS", "directory", "Reference pictures may be read from", {"required": False}),
}
"""Settings that a person is asked for by hosts that ask, by their names there."""


def describe(variable: str) -> str:
    """A setting's own description."""
    [field] = [field for name, field in Settings.model_fields.items() if variable_of(name) == variable]
    return str(field.description).replace("`", "")


def manifest() -> dict[str, Any]:
    """The bundle's `manifest.json`, of MCPB manifest version 0.4."""
    inputs = {
        key: {"type": kind, "title": title, "description": describe(variable), **more}
        for key, (variable, kind, title, more) in OFFERED.items()
    }
    run = ["run", "--quiet", "--no-dev", "--directory", "${__dirname}", "main.py"]
    return {
        "manifest_version": "0.4",
        "name": NAME,
        "display_name": TITLE,
        "version": VERSION,
        "description": DESCRIPTION,
        "author": AUTHOR,
        "repository": {"type": "git", "url": REPOSITORY},
        "homepage": REPOSITORY,
        "documentation": f"{REPOSITORY}/blob/main/docs/hosts.md",
        "support": f"{REPOSITORY}/issues",
        "icon": "icon.png",
        "server": {
            "type": "uv",
            "entry_point": "main.py",
            "mcp_config": {
                "command": "uv",
                "args": run,
                "env": {variable: f"${{user_config.{key}}}" for key, (variable, *_) in OFFERED.items()},
            },
        },
        "tools": [
            {"name": tool.name, "description": tool.description.split("\n")[0]}
            for tool in tools()
            if (tool.meta or {}).get("ui", {}).get("visibility") != ["app"]
        ],
        "prompts_generated": bool(PROMPTS),
        "keywords": PROJECT["keywords"],
        "license": PROJECT["license"],
        "privacy_policies": [f"{REPOSITORY}/blob/main/docs/privacy.md"],
        "compatibility": {"platforms": ["darwin", "win32", "linux"], "runtimes": {"python": PYTHON}},
        "user_config": inputs,
    }


def server_json(bundle_sha256: str) -> dict[str, Any]:
    """`server.json` of the MCP Registry (schema 2025-12-11): the package, the bundle, and a team's own server."""
    variables = [
        {
            "name": variable,
            "description": describe(variable),
            "isRequired": bool(more.get("required")),
            "isSecret": bool(more.get("sensitive")),
            **({"format": "filepath"} if kind == "directory" else {}),
        }
        for variable, kind, _, more in OFFERED.values()
    ]
    stdio = {"transport": {"type": "stdio"}, "environmentVariables": variables}
    token = {
        "name": "Authorization",
        "description": "What `nano-banana-mcp token create NAME` printed, after the word Bearer.",
        "value": "Bearer {token}",
        "isRequired": True,
        "isSecret": True,
        "variables": {"token": {"description": "A token of that server.", "isRequired": True, "isSecret": True}},
    }
    host = {"description": "Host name of your team's server.", "isRequired": True, "placeholder": "mcp.example.org"}
    return {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": MCP_NAME,
        "title": TITLE,
        "description": DESCRIPTION,
        "version": VERSION,
        "repository": {"url": REPOSITORY, "source": "github"},
        "websiteUrl": REPOSITORY,
        "packages": [
            {"registryType": "pypi", "identifier": NAME, "version": VERSION, "runtimeHint": "uvx", **stdio},
            {
                "registryType": "mcpb",
                "identifier": f"{REPOSITORY}/releases/download/v{VERSION}/{bundle_name()}",
                "version": VERSION,
                "fileSha256": bundle_sha256,
                **stdio,
            },
        ],
        "remotes": [
            {"type": "streamable-http", "url": "https://{host}/mcp", "variables": {"host": host}, "headers": [token]}
        ],
    }


def from_folder(folder: str) -> dict[str, Any]:
    """How a plugin starts the server out of the folder that it was installed into."""
    return {"command": "uvx", "args": ["--quiet", "--from", folder, NAME]}


def gemini_extension() -> dict[str, Any]:
    """`gemini-extension.json`: the Gemini CLI asks for the settings when the extension is installed."""
    inputs = [
        {"name": title, "description": describe(variable), "envVar": variable, "sensitive": bool(more.get("sensitive"))}
        for variable, _, title, more in OFFERED.values()
    ]
    return {
        "name": NAME,
        "version": VERSION,
        "description": DESCRIPTION,
        "mcpServers": {ENTRY: {**from_folder("${extensionPath}"), "timeout": TOOL_SECONDS * 1000}},
        "settings": inputs,
    }


def claude_plugin() -> dict[str, Any]:
    """`.claude-plugin/plugin.json`: the server, and a skill that says how to use it well."""
    return {
        "name": ENTRY,
        "version": VERSION,
        "description": DESCRIPTION,
        "author": AUTHOR,
        "homepage": REPOSITORY,
        "repository": REPOSITORY,
        "license": PROJECT["license"],
        "keywords": PROJECT["keywords"],
        "skills": "./packaging/skills/",
        "mcpServers": {
            ENTRY: {**from_folder("${CLAUDE_PLUGIN_ROOT}"), "env": {"DEFAPI_API_KEY": "${DEFAPI_API_KEY:-}"}}
        },
    }


def marketplace() -> dict[str, Any]:
    """`.claude-plugin/marketplace.json`: this repository offers the one plugin that it is."""
    return {
        "name": NAME,
        "owner": AUTHOR,
        "plugins": [{"name": ENTRY, "source": "./", "description": DESCRIPTION, "version": VERSION}],
    }


def links() -> str:
    """Links that install the package into VS Code and Cursor. They ask for the key, or leave it to be filled in."""

    def entry(host: str, secret: Secret) -> dict[str, Any]:
        return HOSTS[host].entry(HOSTS[host], ENTRY, Server(("uvx", NAME), secret=secret))

    inputs = Secret(KEY, "input")
    code, cursor = entry("vscode", inputs), entry("cursor", Secret(KEY, "stored", EXAMPLE_KEY))
    vs_code = (
        f"https://insiders.vscode.dev/redirect/mcp/install?name={ENTRY}"
        f"&inputs={quote(_compact([input_of(inputs)]), safe='')}&config={quote(_compact(code), safe='')}"
    )
    encoded = quote(base64.b64encode(_compact(cursor).encode()).decode(), safe="")
    in_cursor = f"https://cursor.com/en/install-mcp?name={ENTRY}&config={encoded}"
    return f"[Install in VS Code]({vs_code}) · [Install in Cursor]({in_cursor})"


def _compact(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))


def bundle_name() -> str:
    """The bundle's file name."""
    return f"{NAME}-{VERSION}.mcpb"


COMMITTED = {
    "gemini-extension.json": gemini_extension,
    ".claude-plugin/plugin.json": claude_plugin,
    ".claude-plugin/marketplace.json": marketplace,
}


READMES = ("README.md", "README.ko.md")


def known_sha256() -> str:
    """The bundle's checksum in the committed `server.json`; zeros before the first bundle."""
    try:
        packages = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))["packages"]
    except FileNotFoundError:
        return "0" * 64
    return next(str(item["fileSha256"]) for item in packages if item["registryType"] == "mcpb")


def as_text(content: dict[str, Any]) -> str:
    """As it is committed."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def with_links(text: str) -> str:
    """A document with its install links made anew."""
    before, start, rest = text.partition("<!-- links -->\n")
    _, end, after = rest.partition("<!-- end -->")
    return f"{before}{start}{links()}\n{end}{after}"


def write_metadata() -> None:
    """Make the committed files anew."""
    for name, make in COMMITTED.items():
        (ROOT / name).write_text(as_text(make()), encoding="utf-8")
    (ROOT / "server.json").write_text(as_text(server_json(known_sha256())), encoding="utf-8")
    for name in READMES:
        readme = ROOT / name
        readme.write_text(with_links(readme.read_text(encoding="utf-8")), encoding="utf-8")


def build(target: str, folder: Path, root: Path = ROOT) -> Path:
    """Build the ``wheel`` or the ``sdist`` of the sources in ``root`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder],
        cwd=root,
        check=True,
        stdout=sys.stderr,
    )
    [made] = set(folder.iterdir()) - before
    return made


def bundle_project(wheel: str) -> str:
    """The bundle's own `pyproject.toml`: the wheel beside it, and what it needs in the versions that were tested."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = "".join(f"    {json.dumps(line)},\n" for line in lines if line and not line.startswith("#"))
    return (
        f'[project]\nname = "{NAME}-bundle"\nversion = "{VERSION}"\nrequires-python = "{PYTHON}"\n'
        f'dependencies = ["{NAME}"]\n\n[tool.uv]\npackage = false\nconstraint-dependencies = [\n{pins}]\n\n'
        f'[tool.uv.sources]\n{NAME} = {{ path = "{wheel}" }}\n'
    )


MAIN = """import sys

from nano_banana_mcp.__main__ import main

sys.exit(main())
"""


def bundle(wheel: Path, folder: Path) -> Path:
    """Pack the bundle of ``wheel`` into ``folder``, and beside it the `server.json` that names its checksum."""
    content = {
        "manifest.json": as_text(manifest()).encode(),
        "main.py": MAIN.encode(),
        "pyproject.toml": bundle_project(wheel.name).encode(),
        wheel.name: wheel.read_bytes(),
        "icon.png": (ROOT / "server/nano_banana_mcp/views/icon.png").read_bytes(),
        "LICENSE": (ROOT / "LICENSE").read_bytes(),
    }
    made = folder / bundle_name()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    (folder / "server.json").write_text(as_text(server_json(sha256(made))), encoding="utf-8")
    return made


def sha256(file: Path) -> str:
    """A file's checksum, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def dist(folder: Path) -> None:
    """Build all that a release has into ``folder``, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    bundle(build("wheel", folder), folder)
    build("sdist", folder)
    files = sorted(file for file in folder.iterdir() if file.is_file())
    sums = "".join(f"{sha256(file)}  {file.name}\n" for file in files)
    (folder / "SHA256SUMS").write_text(sums, encoding="utf-8")
    sys.stdout.write(sums)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["metadata", "bundle", "dist"])
    parser.add_argument("--folder", type=Path, default=ROOT / "dist")
    arguments = parser.parse_args()
    if arguments.what == "metadata":
        write_metadata()
    elif arguments.what == "bundle":
        arguments.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            sys.stdout.write(f"{bundle(build('wheel', Path(scratch)), arguments.folder)}\n")
    else:
        dist(arguments.folder)
    if arguments.what != "metadata":
        shutil.copyfile(arguments.folder / "server.json", ROOT / "server.json")


if __name__ == "__main__":
    main()
