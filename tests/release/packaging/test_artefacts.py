"""The artefacts besides the package: correct, consistent, reproducible, and they start."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import artefacts
from nano_banana_mcp import __version__
from nano_banana_mcp.settings import variables
from nano_banana_tools.registry import tools as registered
from tests.support.npm import PackageUnavailableError, packages
from tests.support.paths import ROOT
from tests.support.stdio_start import seconds_to_answer

pytestmark = pytest.mark.package
RENEW = "python packaging/artefacts.py metadata"


@pytest.mark.parametrize("name", sorted(artefacts.COMMITTED))
def test_a_committed_file_is_as_the_project_says(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == artefacts.as_text(artefacts.COMMITTED[name]()), RENEW


def test_the_committed_server_json_is_as_the_project_says() -> None:
    assert (ROOT / "server.json").read_text("utf-8") == artefacts.as_text(
        artefacts.server_json(artefacts.known_sha256())
    ), RENEW


@pytest.mark.parametrize("page", artefacts.READMES)
def test_the_install_links_are_as_the_project_says(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert artefacts.links() in text
    assert text == artefacts.with_links(text), RENEW


def test_name_version_and_description_are_the_same_everywhere(made: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        lines = archive.read(metadata).decode().splitlines()
    assert f"Name: {artefacts.NAME}" in lines
    assert f"Version: {__version__}" in lines
    assert f"Summary: {artefacts.DESCRIPTION}" in lines
    described = [artefacts.manifest(), artefacts.gemini_extension(), artefacts.claude_plugin()]
    listed = json.loads((made / "server.json").read_text("utf-8"))
    plugin = artefacts.marketplace()["plugins"][0]
    for item in (*described, listed, plugin):
        assert (item["version"], item["description"]) == (__version__, artefacts.DESCRIPTION)
    assert {item["version"] for item in listed["packages"]} == {__version__}
    names = re.findall(r"mcp-name: (\S+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert names == [listed["name"]]


def test_server_json_keeps_the_registrys_rules(made: Path) -> None:
    """As its schema of 2025-12-11 and its requirements have them."""
    listed = json.loads((made / "server.json").read_text("utf-8"))
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", listed["name"])
    assert len(listed["description"]) <= 100
    package, bundle = listed["packages"]
    assert package["registryType"] == "pypi"
    assert bundle["fileSha256"] == artefacts.sha256(made / artefacts.bundle_name())
    assert bundle["identifier"].startswith("https://github.com/")
    assert bundle["identifier"].endswith(f"/v{__version__}/{artefacts.bundle_name()}")
    [remote] = listed["remotes"]
    assert set(re.findall(r"{(\w+)}", remote["url"])) == set(remote["variables"])
    settings = set(variables())
    for item in listed["packages"]:
        assert {variable["name"] for variable in item["environmentVariables"]} <= settings
        [key] = [variable for variable in item["environmentVariables"] if variable["name"] == "DEFAPI_API_KEY"]
        assert key["isSecret"]


def test_the_links_hold_an_entry_that_starts_the_package() -> None:
    code, cursor = re.findall(r"\((https://[^)]+)\)", artefacts.links())
    inputs = parse_qs(urlsplit(code).query)
    assert inputs["name"] == ["nano-banana"]
    [key] = json.loads(inputs["inputs"][0])
    entry = json.loads(inputs["config"][0])
    assert entry["env"]["DEFAPI_API_KEY"] == f"${{input:{key['id']}}}"
    assert key["password"] is True
    other = json.loads(base64.b64decode(parse_qs(urlsplit(cursor).query)["config"][0]))
    for item in (entry, other):
        assert [item["command"], *item["args"]] == ["uvx", "nano-banana-mcp"]


def test_the_same_sources_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    artefacts.dist(tmp_path / "again")
    assert (made / "SHA256SUMS").read_text("utf-8") == (tmp_path / "again" / "SHA256SUMS").read_text("utf-8")
    names = {line.split()[1] for line in (made / "SHA256SUMS").read_text("utf-8").splitlines()}
    assert names == {file.name for file in made.iterdir()} - {"SHA256SUMS"}


def test_the_official_packer_takes_the_bundle(made: Path, tmp_path: Path) -> None:
    try:
        packer = packages("mcpb", {"@anthropic-ai/mcpb": "2.1.2"}) / ".bin" / "mcpb"
    except PackageUnavailableError as error:
        pytest.skip(f"THE BUNDLE WAS NOT CHECKED BY ITS PACKER: {error}")
    with zipfile.ZipFile(made / artefacts.bundle_name()) as archive:
        archive.extractall(tmp_path / "bundle")
    for words in (["validate", "bundle/manifest.json"], ["pack", "bundle", "again.mcpb"]):
        ended = subprocess.run([packer, *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "ERROR" not in ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def bare_machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with nothing but uv: an empty home, an empty cache, no packages."""
    home = tmp_path_factory.mktemp("home")
    leftover = {
        name: value for name, value in os.environ.items() if re.match(r"PIP_|UV_|SSL_|.*_proxy$", name, re.IGNORECASE)
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
    return {**leftover, "HOME": str(home), "PATH": path, "UV_CACHE_DIR": str(home / "uv"), "UV_PYTHON": _python()}


def _python() -> str:
    """The interpreter below this environment: without its packages."""
    return str(Path(sys.base_prefix) / ("python.exe" if os.name == "nt" else "bin/python3"))


def _starts(entry: dict[str, Any], folder: Path, variable: str, environment: dict[str, str]) -> None:
    """Start a host's entry as the host does: its placeholders filled in, those for settings left empty."""

    def fill(text: str) -> str:
        return re.sub(r"\$\{(?!" + variable + r"})[^}]*\}", "", text.replace(f"${{{variable}}}", str(folder)))

    program = shutil.which(entry["command"], path=environment["PATH"])
    assert program is not None
    command = [program, *map(fill, entry["args"])]
    filled = {name: fill(value) for name, value in entry.get("env", {}).items()}
    assert seconds_to_answer(command, cwd=folder, environment={**environment, **filled}) > 0


def test_the_bundle_starts_where_there_is_nothing_but_uv(
    made: Path, bare_machine: dict[str, str], tmp_path: Path
) -> None:
    with zipfile.ZipFile(made / artefacts.bundle_name()) as archive:
        archive.extractall(tmp_path)
    entry = json.loads((tmp_path / "manifest.json").read_text("utf-8"))["server"]["mcp_config"]
    _starts(entry, tmp_path, "__dirname", bare_machine)


def test_both_plugins_start_out_of_their_folder(made: Path, bare_machine: dict[str, str], tmp_path: Path) -> None:
    """The folder is the source archive's: a clone has the same."""
    [archive] = made.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(tmp_path, filter="data")
    [folder] = tmp_path.iterdir()
    gemini = json.loads((folder / "gemini-extension.json").read_text("utf-8"))
    claude = json.loads((folder / ".claude-plugin" / "plugin.json").read_text("utf-8"))
    [skill] = (folder / claude["skills"]).glob("*/SKILL.md")
    head = skill.read_text("utf-8").split("---")[1]
    assert {line.split(":")[0] for line in head.strip().splitlines()} == {"name", "description"}
    _starts(gemini["mcpServers"]["nano-banana"], folder, "extensionPath", bare_machine)
    _starts(claude["mcpServers"]["nano-banana"], folder, "CLAUDE_PLUGIN_ROOT", bare_machine)


def test_the_source_archive_starts_where_there_is_nothing_but_uv(
    made: Path, bare_machine: dict[str, str], tmp_path: Path
) -> None:
    [archive] = made.glob("*.tar.gz")
    _starts({"command": "uvx", "args": ["--from", str(archive), "nano-banana-mcp"]}, tmp_path, "none", bare_machine)


def test_the_skill_names_only_tools_and_arguments_that_exist() -> None:
    text = (ROOT / "packaging/skills/nano-banana/SKILL.md").read_text(encoding="utf-8")
    tools = {tool.name: set(tool.parameters["properties"]) for tool in registered()}
    arguments = set().union(*tools.values())
    answers = {"finished", "next_step", "message", "resource_uri", "failed", "unknown", "NANO_BANANA_INPUT_DIRS"}
    for word in re.findall(r"`(\w+)[`:]", text):
        assert word in tools or word in arguments | answers, word
