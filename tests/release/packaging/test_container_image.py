"""The container image, as far as it can be checked without a container engine: its steps and commands are real."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from nano_banana_mcp.cli import build_parser
from nano_banana_mcp.commands import serve
from nano_banana_mcp.http.server import GRACE_SECONDS
from tests.release.packaging.dockerfile import stages
from tests.support.clients import clean_environment
from tests.support.http_server import served_process as served
from tests.support.paths import ROOT

BUILD, IMAGE = stages(ROOT / "Dockerfile")


def test_it_runs_as_a_user_who_is_not_root_by_number() -> None:
    [user] = IMAGE.all("USER")
    uid, gid = map(int, user.split(":"))
    assert min(uid, gid) >= 10_000, "no number of the host's own"
    made = " ".join(IMAGE.all("RUN"))
    assert f"--uid {uid}" in made
    assert f"--gid {gid}" in made
    kinds = [kind for kind, _ in IMAGE.instructions]
    assert "RUN" not in kinds[kinds.index("USER") :]


def test_its_state_is_in_a_volume_of_that_user() -> None:
    [volumes] = IMAGE.all("VOLUME")
    state = "/var/lib/nano-banana-mcp"
    assert volumes == f'["{state}"]'
    assert f"NANO_BANANA_STATE_DIR={state}" in IMAGE.all("ENV")[0].split()
    assert re.search(rf"install -d -o 10001 -g 10001 -m 0700 [^&]*{state}", " ".join(IMAGE.all("RUN")))


def test_it_serves_over_http_for_others() -> None:
    assert IMAGE.command("ENTRYPOINT") == ["nano-banana-mcp"]
    parsed = build_parser().parse_args(IMAGE.command("CMD"))
    assert parsed.run is serve.run
    assert parsed.host == "0.0.0.0"


def test_no_secret_is_built_in() -> None:
    for stage in (BUILD, IMAGE):
        for kind in ("ARG", "ENV"):
            for names in stage.all(kind):
                assert not re.search(r"key|token|secret|password", names, re.IGNORECASE)


def test_all_that_is_copied_exists_and_nothing_else_is_sent_to_the_engine() -> None:
    sources = [source for copied in BUILD.all("COPY") for source in copied.split()[:-1]]
    assert all((ROOT / source).exists() for source in sources)
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*"
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(sources)
    assert all(not any(fnmatch(source, rule) for rule in rules[1:] if rule[0] != "!") for source in sources)
    assert [copied.split()[0] for copied in IMAGE.all("COPY")] == ["--from=build"]


def test_the_health_check_passes_only_for_a_server_that_answers() -> None:
    program, *arguments = IMAGE.command("HEALTHCHECK")
    assert program == "python"
    # A proxy in the environment must not be asked.
    environment = {**clean_environment(), "http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}

    def check(port: str) -> int:
        checked = subprocess.run(
            [sys.executable, *arguments],
            env={**environment, "NANO_BANANA_PORT": port},
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return checked.returncode

    with served("--sandbox") as server:
        port = server.root.rpartition(":")[2]
        assert check(port) == 0
        server.process.kill()
        server.process.wait()
        assert check(port) == 1
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # It listens, and answers nothing: the check gives up before Docker does.
        assert check(str(silent.getsockname()[1])) == 1
    seconds = re.search(r"timeout=(\d+)", arguments[-1])
    assert seconds
    assert f"--timeout={int(seconds[1]) + 1}s" in IMAGE.all("HEALTHCHECK")[0]


def test_the_grace_that_the_comments_speak_of_is_the_servers() -> None:
    assert f"{GRACE_SECONDS} s" in (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert f"{GRACE_SECONDS} s" in (ROOT / "packaging/nano-banana-mcp.service").read_text(encoding="utf-8")


@pytest.mark.package
def test_the_steps_of_the_build_make_a_server_that_runs(tmp_path: Path) -> None:
    """COPY and RUN of the first stage, in folders of the test's own, with uv for pip, which takes ten times as long."""
    folders = {"/src": tmp_path / "src", "/opt": tmp_path / "opt"}
    for folder in folders.values():
        folder.mkdir()
    [source_folder] = BUILD.all("WORKDIR")
    working = folders[source_folder]
    [argument] = BUILD.all("ARG")
    name, value = argument.split("=")
    installed = folders["/opt"] / "nano-banana-mcp"
    environment = {**os.environ, name: shlex.split(value)[0], "VIRTUAL_ENV": str(installed)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with_uv = {
        "python -m venv": f"uv venv --quiet --seed --python {shlex.quote(sys.executable)}",
        "/opt/nano-banana-mcp/bin/pip": "uv pip",
        "--no-cache-dir ": "",
        "/opt/": f"{folders['/opt']}/",
    }
    for kind, rest in BUILD.instructions:
        if kind == "COPY":
            *sources, target = rest.split()
            for source in map(Path, sources):
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, working / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    if target.endswith("/"):  # Docker makes such a folder
                        (working / target).mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, working / target)
        if kind == "RUN":
            step = rest
            for words, others in with_uv.items():
                step = step.replace(words, others)
            subprocess.run(["sh", "-c", step], cwd=working, env=environment, check=True)
    # The second stage takes only this along.
    shutil.rmtree(working)
    program = installed / "bin" / "nano-banana-mcp"
    said = subprocess.run([program, "--version"], env=clean_environment(), capture_output=True, text=True, check=True)
    assert said.stdout.startswith("nano-banana-mcp ")
    shown = subprocess.run(
        [program, "demo", "--sandbox", "--output", tmp_path, "a cat"],
        env={
            **clean_environment(),
            "NANO_BANANA_SANDBOX_SECONDS": "0",
            "NANO_BANANA_STATE_DIR": str(tmp_path / "state"),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert "File" in shown.stdout
