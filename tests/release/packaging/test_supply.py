"""The dependencies: each has its reason and a suitable licence, and few are needed to start."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from tests.support.clients import clean_environment
from tests.support.handshake import INITIALIZE, INITIALIZED
from tests.support.paths import ROOT
from tests.support.supply import COMPATIBLE, PROJECT, closure, compatible, verdict

PAGE = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def reasons(heading: str) -> dict[str, str]:
    """The packages of a table in docs/dependencies.md with their reasons."""
    part = PAGE.partition(f"\n## {heading}\n")[2] or PAGE.partition(f"\n### {heading}\n")[2]
    table = re.split(r"\n#+ ", part)[0]
    return dict(re.findall(r"^\| ([\w.\[\]-]+) \| (.+) \|$", table, re.MULTILINE)) | {}


def names(requirements: list[str]) -> set[str]:
    licences = set()
    for item in map(Requirement, requirements):
        extras = f"[{','.join(sorted(item.extras))}]" if item.extras else ""
        licences.add(item.name + extras)
    return {name for name in licences if not name.startswith("nano-banana-mcp[")}


def test_every_dependency_is_listed_with_its_reason_and_nothing_else_is() -> None:
    listed = reasons("Dependencies of the server")
    listed.pop("package")
    assert set(listed) == names(PROJECT["dependencies"])
    assert all(len(why.split()) >= 2 for why in listed.values())


def test_every_extra_is_listed_with_its_reason_and_nothing_else_is() -> None:
    for extra, heading in (
        ("heic", "The extra `heic`"),
        ("keyring", "The extra `keyring`"),
        ("postgres", "The extra `postgres`"),
        ("socks", "The extra `socks`"),
        ("dev", "For the tests"),
        ("mutation", "The extra `mutation`"),
        ("supply", "The extra `supply`"),
    ):
        listed = reasons(heading)
        listed.pop("package")
        assert set(listed) == names(EXTRAS[extra]), extra
    assert set(EXTRAS) == {"heic", "keyring", "postgres", "socks", "dev", "mutation", "supply"}


def test_every_package_that_runs_with_the_server_has_a_licence_that_fits() -> None:
    licences = closure([*PROJECT["dependencies"], *EXTRAS["postgres"], *EXTRAS["socks"]])
    assert {"mcp", "httpx", "starlette", "pydantic-core", "psycopg"} <= set(licences)
    assert not {name: licence for name, licence in licences.items() if not compatible(licence)}


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("MIT", True),
        ("Apache-2.0 OR BSD-3-Clause", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-or-later", False),
        ("", False),
    ],
)
def test_an_unsuitable_licence_is_recognised(expression: str, fits: bool) -> None:
    assert compatible(expression) is fits
    assert not any(name.startswith(("GPL", "AGPL")) for name in COMPATIBLE)


LOOKED_UP = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found"}
BAD = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}


@pytest.mark.parametrize(
    ("packages", "status", "words"),
    [
        ([LOOKED_UP], 0, "CLEAN"),
        ([SKIPPED, SKIPPED], 0, "NOT REACHABLE"),
        ([LOOKED_UP, SKIPPED], 0, "INCOMPLETE"),
        ([LOOKED_UP, SKIPPED, BAD], 1, "c 2: CVE-1 (mended in 3)"),
        ([], 0, "NOT REACHABLE"),
    ],
)
def test_an_audit_fails_only_for_a_finding_and_is_clean_only_if_all_packages_were_looked_up(
    packages: list[dict[str, object]], status: int, words: str
) -> None:
    code, output = verdict(json.dumps({"dependencies": packages}))
    assert code == status
    assert words in output
    assert ("CLEAN" in output) is (words == "CLEAN")


def test_an_audit_that_fails_itself_is_no_verdict() -> None:
    for output in ("", "Traceback", "{}", "[]"):
        assert verdict(output)[0] == 0
        assert "NOT REACHABLE" in verdict(output)[1]


NOT_TO_START = ["PIL", "prometheus_client", "psycopg", "uvicorn", "jwt", "nano_banana_sandbox"]


def test_a_plain_start_and_the_list_of_tools_need_nothing_that_only_a_feature_needs() -> None:
    """cryptography and Starlette are not among them: the SDK imports both wherever it is imported."""
    script = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if any(name == each or name.startswith(each + '.') for each in {NOT_TO_START}):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "sys.argv = ['nano-banana-mcp']\n"
        "from nano_banana_mcp.__main__ import main\n"
        "raise SystemExit(main())\n"
    )
    request = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for message in (INITIALIZE, INITIALIZED, request):
            process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        listed = json.loads(process.stdout.readline())
        process.stdin.close()
    assert {"generate_image", "wait_for_image"} <= {tool["name"] for tool in listed["result"]["tools"]}
