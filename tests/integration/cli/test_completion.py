"""`completion`: the scripts of four shells, run by those shells where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nano_banana_mcp import cli
from nano_banana_mcp.commands.completion import SHELLS
from tests.support.command_line import run_here

ASKED = [
    (["gen"], "generate"),
    (["hist"], "history"),
    (["generate", "--asp"], "--aspect-ratio"),
    (["token", "rev"], "revoke"),
    (["token", "create", "--api"], "--api-key"),
    (["install", "claude-d"], "claude-desktop"),
    (["--sandbox", "doc"], "doctor"),
    (["help", "sett"], "settings"),
]
CALLS = {
    "bash": 'source "$1"; shift; COMP_WORDS=(nano-banana-mcp "$@"); COMP_CWORD=$#; _nano_banana_mcp; '
    'printf "%s\\n" "${COMPREPLY[@]}"',
    "zsh": 'compdef() { :; }; _files() { :; }; _describe() { print -l -- "${(@P)4}" }; source "$1"; shift; '
    'words=(nano-banana-mcp "$@"); CURRENT=$#words; _nano_banana_mcp | sed "s/:.*//"',
    "fish": "",
    "powershell": "",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_every_command_and_nothing_of_this_machine(shell: str) -> None:
    ended = run_here("completion", shell)
    assert ended.returncode == 0
    assert all(name in ended.stdout for name in cli.COMMANDS)
    assert str(Path.home()) not in ended.stdout


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("words", "expected"), ASKED)
def test_a_shell_completes_a_word(shell: str, words: list[str], expected: str, tmp_path: Path) -> None:
    program = shutil.which({"powershell": "pwsh"}.get(shell, shell))
    if program is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "completion"
    script.write_text(run_here("completion", shell).stdout)
    if shell == "fish":
        line = " ".join(["nano-banana-mcp", *words])
        command = [program, "--no-config", "-c", f"source {script}; complete -C '{line}'"]
    elif shell == "powershell":
        line = " ".join(["nano-banana-mcp", *words])
        script = script.rename(script.with_suffix(".ps1"))
        offered = f"(TabExpansion2 '{line}' {len(line)}).CompletionMatches.CompletionText"
        command = [program, "-NoProfile", "-Command", f". {script}; {offered}"]
    else:
        command = [program, "-c", CALLS[shell], shell, str(script), *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    completions = [line.split("\t")[0] for line in ended.stdout.splitlines()]
    assert expected in completions, ended.stderr
