"""The supply chain of the server: bill of materials, advisories and licences.

``make sbom`` and ``make audit`` run it; the table of licences in docs/dependencies.md is made here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# What MIT software may depend on without taking over another licence: permissive ones, and those whose copyleft ends
# at the file (MPL) or at the library (LGPL), which stay as they are in packages of their own.
COMPATIBLE = {
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "LGPL-3.0-only",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "MPL-2.0",
    "PSF-2.0",
}
_CLASSIFIED = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def closure(requirements: list[str]) -> dict[str, str]:
    """Every package that these bring on this system, with its licence as an SPDX expression."""
    findings: dict[str, str] = {}
    waiting = [Requirement(item) for item in requirements]
    seen = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        findings[name] = licence_of(name)
        for item in map(Requirement, package.requires or []):
            extras = wanted.extras or {""}
            if item.marker is None or any(item.marker.evaluate({"extra": extra}) for extra in {*extras, ""}):
                waiting.append(item)
    return dict(sorted(findings.items()))


def licence_of(name: str) -> str:
    """The licence that an installed package declares; empty where it declares none that is understood."""
    about = distribution(name).metadata.json
    if expression := about.get("license_expression"):
        return str(expression)
    for classifier in about.get("classifier", []):
        kind, _, licence = str(classifier).rpartition(" :: ")
        if kind.startswith("License") and licence in _CLASSIFIED:
            return _CLASSIFIED[licence]
    said = str(about.get("license", ""))
    return {"MIT License": "MIT", "Apache License 2.0": "Apache-2.0"}.get(said, said if said in COMPATIBLE else "")


def compatible(expression: str) -> bool:
    """Whether every licence of an expression is; of alternatives one is enough."""
    return bool(expression) and all(
        any(item.strip(" ()") in COMPATIBLE for item in re.split(r"\bOR\b", part))
        for part in re.split(r"\bAND\b", expression)
    )


def licences_table() -> str:
    """Every package that runs with the server, and its licence."""
    mine = closure([*PROJECT["dependencies"]])
    rows = ["| package | licence |", "|---|---|", *(f"| {name} | {licence} |" for name, licence in mine.items())]
    for extra in ("heic", "keyring", "postgres", "socks"):
        more = closure(PROJECT["optional-dependencies"][extra])
        rows += [f"| {name} (`{extra}`) | {more[name]} |" for name in more if name not in mine]
    return "\n".join(rows)


def bill() -> Path:
    """Write what a plain install brings, as CycloneDX: alike for the same pins, and naming no place of this machine."""
    target = ROOT / "dist" / f"{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}.cdx.json"
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        python = Path(folder) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, "-c", ROOT / "constraints.txt", ROOT], check=True)
        make = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--of", "JSON"]
        about = ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application"]
        output = subprocess.run([*make, *about, str(python)], check=True, capture_output=True, text=True).stdout
    made = json.loads(output)
    made["components"] = [item for item in made["components"] if item["name"] != PROJECT["name"]]
    target.write_text(json.dumps(made, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for place in (str(ROOT), tempfile.gettempdir(), "file:", "serialNumber", "timestamp"):
        assert place not in target.read_text(encoding="utf-8"), place
    return target


def audit() -> int:
    """Look the pins up in the advisories. A finding fails; advisories that cannot be reached are said to be so."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(ROOT / "constraints.txt"), "--no-deps", "--disable-pip"]
    output = subprocess.run(
        [*command, "-f", "json", "--progress-spinner", "off"], check=False, capture_output=True, text=True
    )
    status, words = verdict(output.stdout)
    print(words)
    if not output.stdout:
        print(output.stderr.strip().rpartition("\n")[2])
    return status


def verdict(output: str) -> tuple[int, str]:
    """An exit code and a text by the tool's JSON; its own exit code calls clean what it could not look up."""
    try:
        packages = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 0, "AUDIT: NOT REACHABLE. The advisories could not be asked; nothing is known about the pins."
    findings = list(_findings(packages))
    audited = sum("skip_reason" not in item for item in packages)
    if findings:
        return 1, "\n".join(["AUDIT: FOUND", *findings])
    if not audited:
        return 0, f"AUDIT: NOT REACHABLE. None of {len(packages)} pins could be looked up; nothing is known about them."
    if audited < len(packages):
        return (
            0,
            f"AUDIT: INCOMPLETE. No advisory for {audited} pins; {len(packages) - audited} could not be looked up.",
        )
    return 0, f"AUDIT: CLEAN. Nothing known against any of {audited} pins."


def _findings(packages: list[dict[str, Any]]) -> Iterator[str]:
    for package in packages:
        for finding in package.get("vulns", []):
            fixed = ", ".join(finding.get("fix_versions", [])) or "no version yet"
            yield f"{package['name']} {package['version']}: {finding['id']} (mended in {fixed})"


if __name__ == "__main__":
    if sys.argv[1:] == ["audit"]:
        raise SystemExit(audit())
    print(bill().relative_to(ROOT))
