"""`token`: the command line and the file that it writes."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from anyio.to_thread import run_sync as in_thread

from nano_banana_mcp.http.auth.authentication import open_authentication
from nano_banana_mcp.http.auth.users_file import BadPrincipals, digest
from nano_banana_mcp.settings import load_settings
from tests.support.clients import clean_environment
from tests.support.command_line import Ended, run_here
from tests.support.handshake import INITIALIZE
from tests.support.http_server import served
from tests.support.team import grant, post


def file_in(folder: Path) -> Path:
    return folder / "tokens.json"


def command(*arguments: str, stdin: str = "", **settings: str) -> Ended:
    return run_here("token", *arguments, stdin=stdin, settings=settings)


async def test_create_and_revoke_take_effect_in_a_running_server(tmp_path: Path) -> None:
    file = file_in(tmp_path)
    first = command("create", "alice", "--file", str(file)).stdout.strip()
    async with served("--sandbox", NANO_BANANA_TOKENS_FILE=str(file)) as server:

        def status(token: str) -> int:
            return post(server.url, token, INITIALIZE).status_code

        assert await in_thread(status, first) == 200
        made = await in_thread(lambda: command("create", "bob", NANO_BANANA_TOKENS_FILE=str(file)))
        second = made.stdout.strip()
        assert re.fullmatch(r"nb_[\w-]{43}", second)
        assert "accepts it now" in made.stderr
        assert await in_thread(status, second) == 200
        await in_thread(lambda: command("revoke", "alice", NANO_BANANA_TOKENS_FILE=str(file)))
        assert await in_thread(status, first) == 401
        assert await in_thread(status, second) == 200


@pytest.mark.parametrize("words", [["create", "alice"], ["key", "oauth:alice"]])
@pytest.mark.parametrize("how", ["--file", "the setting"])
def test_a_file_in_a_missing_folder_is_refused_and_no_folder_is_created(
    how: str, words: list[str], tmp_path: Path
) -> None:
    file = file_in(tmp_path / "no-such-folder")
    options = ["--file", str(file)] if how == "--file" else []
    ended = command(*words, *options, stdin="dk-1\n", NANO_BANANA_TOKENS_FILE=str(file))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"there is no folder {file.parent}" in ended.stderr
    assert not file.parent.exists()


def test_a_new_file_is_named_and_is_created_with_the_state_folder(tmp_path: Path) -> None:
    state = tmp_path / "new" / "state"
    first, second = (command("create", name, NANO_BANANA_STATE_DIR=str(state)) for name in ("alice", "bob"))
    assert first.returncode == second.returncode == 0
    assert f"Created the file {file_in(state)}." in first.stderr
    assert "Created" not in second.stderr
    assert file_in(state).exists()


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0o600, "token create"),
        ("{", 0o600, "is not JSON"),
        ("[]", 0o600, "not of the form"),
        ('{"principals": {"a b": {}}}', 0o600, "a name must be"),
        ('{"principals": {"a": {"tokens": [{"sha256": "SECRET"}]}}}', 0o600, "not of the form"),
        ('{"principals": {"a": {"token": "SECRET"}}}', 0o600, "not of the form"),
        ('{"principals": {"a": {"api_key": "dk SECRET"}}}', 0o600, "a key cannot have"),
        ('{"principals": {"oauth:a": {"tokens": [{"sha256": "' + "0" * 64 + '"}]}}}', 0o600, "of the OAuth issuer"),
        (
            json.dumps({"principals": {name: {"tokens": [{"sha256": "0" * 64}]} for name in "ab"}}),
            0o600,
            "two principals",
        ),
        ('{"principals": {}}', 0o602, "other users can write"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line_at_the_start(
    tmp_path: Path, content: str | None, mode: int, said: str
) -> None:
    file = file_in(tmp_path)
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    ended = run_here("serve", "--http", "--port", "0", "--sandbox", NANO_BANANA_TOKENS_FILE=str(file))
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"nano-banana-mcp: {file}: ")
    assert said in line
    assert "SECRET" not in line


def test_the_command_shows_a_token_once_and_keeps_only_its_hash(tmp_path: Path) -> None:
    file = file_in(tmp_path)
    made = command("create", "alice", "--api-key", "--file", str(file), stdin="dk-hers\n")
    assert made.returncode == 0
    token = made.stdout.strip()
    assert made.stdout == f"{token}\n"
    assert "never shown again" in made.stderr
    assert f"NANO_BANANA_TOKENS_FILE={file}" in made.stderr
    assert token not in made.stderr
    assert "dk-hers" not in made.stdout + made.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_text()
    assert token not in content
    assert json.loads(content)["principals"]["alice"]["tokens"][0]["sha256"] == digest(token)
    listed = command("list", "--file", str(file)).stdout
    assert "alice" in listed
    assert "own API key" in listed
    assert token not in listed
    assert "dk-hers" not in listed


def test_the_file_is_in_the_state_folder_by_default(tmp_path: Path) -> None:
    made = command("create", "alice", NANO_BANANA_STATE_DIR=str(tmp_path / "state"))
    assert made.returncode == 0
    assert (tmp_path / "state" / "tokens.json").is_file()


def test_one_token_of_several_can_be_revoked_and_limits_outlive_them_all(tmp_path: Path) -> None:
    file = file_in(tmp_path)
    first = grant(file, "alice", api_key="dk-hers", limits={"open_tasks": 2})
    second = grant(file, "alice")
    assert command("revoke", "alice", "--id", digest(first)[:8], "--file", str(file)).returncode == 0
    [left] = json.loads(file.read_text())["principals"]["alice"]["tokens"]
    assert left["sha256"] == digest(second)
    assert command("revoke", "alice", "--id", "00000000", "--file", str(file)).returncode == 1
    assert command("revoke", "alice", "--file", str(file)).returncode == 0
    assert json.loads(file.read_text()) == {"principals": {"alice": {"limits": {"open_tasks": 2}}}}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "two words"), "a name has 1 to 64"),
        (("create", "oauth:ann"), "a name has 1 to 64"),
        (("create", "x" * 65), "a name has 1 to 64"),
        (("create", "alice", "--api-key"), "there is no API key"),
        (("revoke", "bob"), "there is no principal bob"),
        (("key", "bob"), "there is no principal bob"),
    ],
)
def test_an_impossible_change_prints_one_line_and_changes_nothing(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    file = file_in(tmp_path)
    grant(file, "alice")
    before = file.read_bytes()
    ended = command(*arguments, "--file", str(file), stdin="dk-x\n" if arguments[0] == "key" else "")
    assert ended.returncode == 1
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert said in line
    assert file.read_bytes() == before


def test_edits_at_the_same_time_all_count(tmp_path: Path) -> None:
    file = file_in(tmp_path)
    names = [f"user{number}" for number in range(3)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "nano_banana_mcp", "token", "create", name, "--file", str(file)],
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name in names
    ]
    assert [process.wait(60) for process in processes] == [0] * len(names)
    assert sorted(json.loads(file.read_text())["principals"]) == names


def test_a_directory_in_place_of_the_file_is_refused_with_a_message(tmp_path: Path) -> None:
    with pytest.raises(BadPrincipals, match="cannot be read"):
        open_authentication(load_settings(tokens_file=tmp_path))


def test_the_list_as_json_has_ids_and_limits_and_no_secret(tmp_path: Path) -> None:
    file = file_in(tmp_path)
    token = command(
        "create", "alice", "--api-key", "--file", str(file), stdin="dk-of-alice-0123456789\n"
    ).stdout.strip()
    command("create", "bob", "--file", str(file))
    content = json.loads(file.read_text())
    content["principals"]["bob"]["limits"] = {"credits_per_day": "2.5"}
    file.write_text(json.dumps(content))
    ended = command("list", "--json", "--file", str(file))
    alice, bob = json.loads(ended.stdout)
    created_at = content["principals"]["alice"]["tokens"][0]["created_at"]
    tokens = [{"id": digest(token)[:8], "created_at": created_at}]
    assert alice == {"name": "alice", "tokens": tokens, "own_api_key": True, "limits": {}}
    assert bob["own_api_key"] is False
    assert bob["limits"] == {"credits_per_day": "2.5"}
    assert "dk-of-alice" not in ended.stdout
    assert digest(token) not in ended.stdout
