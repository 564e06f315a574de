"""The wheel: what is in it, and that it works in an empty environment next to a user's own `server` and `tools`."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.stdio_start import seconds_to_answer

PACKAGES = {
    "nano_banana_mcp": ROOT / "server",
    "nano_banana_sandbox": ROOT / "server",
    "nano_banana_tools": ROOT / "tools",
}

pytestmark = pytest.mark.package


def test_the_wheel_holds_every_file_of_its_three_packages_and_no_other_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    for package, root in PACKAGES.items():
        files = {file for file in (root / package).rglob("*") if file.is_file() and "__pycache__" not in file.parts}
        assert {str(file.relative_to(root).as_posix()) for file in files} <= names
    assert names >= {
        "nano_banana_mcp/stdio/manifest.json",
        "nano_banana_mcp/views/gallery.html",
        "nano_banana_mcp/views/picture.html",
        "nano_banana_sandbox/app.py",
    }


def test_the_description_of_the_wheel_is_the_readme(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode("utf-8")
    assert "\nDescription-Content-Type: text/markdown\n" in metadata
    assert metadata.partition("\n\n")[2] == (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_wheel_works_in_an_empty_environment_among_folders_of_the_same_names(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False)
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", str(python)]
    subprocess.run([*install, "--constraints", ROOT / "constraints.txt", wheel], check=True)

    user = tmp_path / "user"
    user.mkdir()
    (user / "server.py").write_text("raise SystemExit('the server of the user was imported')")
    for folder in ("server", "tools"):
        (user / folder).mkdir()
        (user / folder / "__init__.py").write_text("raise SystemExit('a folder of the user was imported')")
    script = python.with_name("nano-banana-mcp")
    assert seconds_to_answer([str(script)], cwd=user) > 0
    shown = subprocess.run(
        [script, "demo", "--sandbox", "a cat"],
        cwd=user,
        env={**os.environ, "NANO_BANANA_SANDBOX_SECONDS": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "File" in shown.stdout
