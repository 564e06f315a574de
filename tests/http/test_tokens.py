"""Static tokens: real server processes, real clients of both eras, the real command line."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.to_thread import run_sync as in_thread
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import MCPServer
from mcp.types import BlobResourceContents
from starlette.applications import Starlette
from starlette.routing import Route

from nano_banana_mcp.hosting.auth import open_authentication
from nano_banana_mcp.hosting.principals import BadPrincipals, digest, new_token
from nano_banana_mcp.sandbox.server import serve_sandbox
from nano_banana_mcp.settings import load_settings
from tests.commands.test_cli import run
from tests.http.team import ACCEPT, REFUSED, bearer, client_with, grant, post, watched_sandbox
from tests.http.test_serve import at, served
from tests.support.clients import KEY, clean_environment, facts, text
from tests.support.handshake import INITIALIZE, INITIALIZED
from tests.support.serving import listening, serving


def file_in(folder: Path) -> Path:
    return folder / "tokens.json"


def command(*arguments: str, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nano_banana_mcp", "token", *arguments],
        env={**clean_environment(), **settings},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_with_a_token_a_picture_arrives_and_nothing_of_the_token_leaves(tmp_path: Path, mode: Any) -> None:
    token = grant(file_in(tmp_path), "alice")
    async with watched_sandbox() as (sandbox, egress):
        with served(**at(sandbox.url, NANO_BANANA_TOKENS_FILE=str(file_in(tmp_path)))) as server:
            async with client_with(server.url, mode, token=token) as client:
                made = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 20})
                assert facts(made)["status"] == "success"
                assert facts(await client.call_tool("get_task", {"task_id": facts(made)["task_id"]}))["finished"]
                contents = (await client.read_resource(facts(made)["images"][0]["url"])).contents[0]
                assert isinstance(contents, BlobResourceContents)
            server.process.terminate()
            _, written = await in_thread(server.process.communicate)
        assert sandbox.stats.files >= 1
    assert set(egress.keys()) == {KEY}
    for place in (*egress.requests, written, file_in(tmp_path).read_bytes()):
        assert token.encode() not in place


async def test_what_is_no_token_is_refused_alike_and_reaches_nobody(tmp_path: Path) -> None:
    token = grant(file_in(tmp_path), "alice")
    wrong = {
        "another": new_token(),
        "truncated": token[:-1],
        "longer": f"{token}x",
        "its hash": digest(token),
        "the key": KEY,
        "a name": "alice",
        "oversized": "x" * 20_000,
        "padded": f" {token}",
        "letters": "é" * 20,
        "a list": f"{token},{token}",
    }
    async with watched_sandbox() as (sandbox, egress):
        with served(**at(sandbox.url, NANO_BANANA_TOKENS_FILE=str(file_in(tmp_path)))) as server:

            def answers() -> dict[str, httpx.Response]:
                given = {name: {"Authorization": f"Bearer {each}".encode("latin-1")} for name, each in wrong.items()}
                given["no header"] = {}
                given["nothing"] = {"Authorization": b"Bearer"}
                given["another scheme"] = {"Authorization": f"Basic {token}".encode()}
                given["no scheme"] = {"Authorization": token.encode()}
                return {
                    name: httpx.post(server.url, json=INITIALIZE, headers={**ACCEPT, **headers}, trust_env=False)  # type: ignore[arg-type]
                    for name, headers in given.items()
                }

            for name, answer in (await in_thread(answers)).items():
                assert (answer.status_code, answer.json()) == (401, REFUSED), name
                assert answer.headers["www-authenticate"].startswith("Bearer "), name
                assert "resource_metadata" not in answer.headers["www-authenticate"]
            assert (await in_thread(post, server.url, token, INITIALIZE)).status_code == 200
    assert egress.requests == []


async def test_whatever_needs_no_identity_stays_open(tmp_path: Path) -> None:
    grant(file_in(tmp_path), "alice")
    settings = {
        "NANO_BANANA_TOKENS_FILE": str(file_in(tmp_path)),
        "NANO_BANANA_PUBLIC_URL": "https://pictures.example.org",
    }
    with served("--sandbox", **settings) as server:
        for path in ("healthz", "readyz"):
            assert (await in_thread(httpx.get, f"{server.root}/{path}")).status_code == 200
        # The webhook's own refusal, not a question for a token.
        assert (await in_thread(httpx.post, f"{server.root}/webhooks/in-1/x")).status_code == 404
        for method in ("GET", "DELETE", "PUT", "OPTIONS"):
            assert (await in_thread(httpx.request, method, server.url)).status_code == 401


async def test_create_and_revoke_take_effect_in_a_running_server(tmp_path: Path) -> None:
    file = file_in(tmp_path)
    first = command("create", "alice", "--file", str(file)).stdout.strip()
    with served("--sandbox", NANO_BANANA_TOKENS_FILE=str(file)) as server:

        def status(token: str) -> int:
            return post(server.url, token, INITIALIZE).status_code

        assert await in_thread(status, first) == 200
        made = await in_thread(lambda: command("create", "bob", NANO_BANANA_TOKENS_FILE=str(file)))
        second = made.stdout.strip()
        assert re.fullmatch(r"nb_[\w-]{43}", second)
        assert "accepts it from now on" in made.stderr
        assert await in_thread(status, second) == 200
        await in_thread(lambda: command("revoke", "alice", NANO_BANANA_TOKENS_FILE=str(file)))
        assert await in_thread(status, first) == 401
        assert await in_thread(status, second) == 200


async def test_a_file_that_breaks_keeps_the_tokens_of_before_and_says_so_once_without_its_content(
    tmp_path: Path,
) -> None:
    file = file_in(tmp_path)
    token = grant(file, "alice")
    good = file.read_bytes()
    with served("--sandbox", NANO_BANANA_TOKENS_FILE=str(file)) as server:
        for broken in (b'{"principals": {"mallory-canary"', b'{"principals": {"m": {"secret-canary": 1}}}'):
            file.write_bytes(broken)
            for _ in range(3):
                assert (await in_thread(post, server.url, token, INITIALIZE)).status_code == 200
        file.unlink()
        for _ in range(3):
            assert (await in_thread(post, server.url, token, INITIALIZE)).status_code == 200
        file.write_bytes(good.replace(digest(token).encode(), b"0" * 64))
        assert (await in_thread(post, server.url, token, INITIALIZE)).status_code == 401
        server.process.terminate()
        _, written = await in_thread(server.process.communicate)
    assert written.count(b"the tokens of before stay valid") == 3
    assert b"canary" not in written
    assert b"Traceback" not in written


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0o600, "token create"),
        ("{", 0o600, "no JSON"),
        ("[]", 0o600, "not of the form"),
        ('{"principals": {"a b": {}}}', 0o600, "a name must be"),
        ('{"principals": {"a": {"tokens": [{"sha256": "SECRET"}]}}}', 0o600, "not of the form"),
        ('{"principals": {"a": {"token": "SECRET"}}}', 0o600, "not of the form"),
        ('{"principals": {"a": {"api_key": "dk SECRET"}}}', 0o600, "no key has"),
        ('{"principals": {"oauth:a": {"tokens": [{"sha256": "' + "0" * 64 + '"}]}}}', 0o600, "from there"),
        (
            json.dumps({"principals": {name: {"tokens": [{"sha256": "0" * 64}]} for name in "ab"}}),
            0o600,
            "two principals",
        ),
        ('{"principals": {}}', 0o602, "others may write"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line_at_the_start(
    tmp_path: Path, content: str | None, mode: int, said: str
) -> None:
    file = file_in(tmp_path)
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    ended = run("serve", "--http", "--port", "0", "--sandbox", NANO_BANANA_TOKENS_FILE=str(file))
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"nano-banana-mcp: {file}: ")
    assert said in line
    assert "SECRET" not in line


async def test_a_session_of_one_principal_is_not_there_for_another(tmp_path: Path) -> None:
    alice, bob = grant(file_in(tmp_path), "alice"), grant(file_in(tmp_path), "bob")
    second = grant(file_in(tmp_path), "alice")
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    with served("--sandbox", NANO_BANANA_TOKENS_FILE=str(file_in(tmp_path))) as server:

        def in_session() -> dict[str, int]:
            session = {"Mcp-Session-Id": post(server.url, alice, INITIALIZE).headers["mcp-session-id"]}
            post(server.url, alice, INITIALIZED, **session)
            return {
                "alice": post(server.url, alice, listing, **session).status_code,
                "her other token": post(server.url, second, listing, **session).status_code,
                "bob": post(server.url, bob, listing, **session).status_code,
                "bob ends it": httpx.delete(server.url, headers={**bearer(bob), **session}).status_code,
                "nobody": post(server.url, None, listing, **session).status_code,
                "alice again": post(server.url, alice, listing, **session).status_code,
            }

        statuses = await in_thread(in_session)
    assert statuses == {
        "alice": 200,
        "her other token": 200,
        "bob": 404,
        "bob ends it": 404,
        "nobody": 401,
        "alice again": 200,
    }


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_inside_a_call_the_principal_is_known_by_name_and_the_token_is_not(tmp_path: Path, mode: Any) -> None:
    """What tasks, limits and keys by principal are built on, in either era and with calls that overlap."""
    tokens = {name: grant(file_in(tmp_path), name) for name in ("alice", "bob", "c@d.e")}
    authentication = open_authentication(load_settings(tokens_file=file_in(tmp_path)))
    assert authentication is not None
    mcp = MCPServer("who")
    all_in = asyncio.Barrier(len(tokens))

    @mcp.tool()
    async def who() -> str:
        before = get_access_token()
        await all_in.wait()
        after = get_access_token()
        assert before == after
        return "" if after is None else f"{after.client_id} {after.token}".strip()

    app = mcp.streamable_http_app()
    route = app.routes[0]
    assert isinstance(route, Route)
    protected = Starlette(
        routes=[Route("/mcp", authentication.protect(route.app))], lifespan=app.router.lifespan_context
    )
    with listening() as (listener, url):
        async with serving(protected, listener, lifespan="on"):

            async def ask(name: str) -> None:
                async with client_with(f"{url}/mcp", mode, token=tokens[name]) as client:
                    for _ in range(3):
                        assert text(await client.call_tool("who", {})) == name

            async with asyncio.TaskGroup() as group:
                for name in tokens:
                    group.create_task(ask(name))


def test_keys_and_limits_of_a_principal_are_those_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    file = file_in(tmp_path)
    limits = {"calls_per_minute": 3, "credits_per_day": "2.5"}
    grant(file, "alice", api_key="dk-hers", limits=limits)
    authentication = open_authentication(load_settings(tokens_file=file))
    assert authentication is not None
    own = authentication.api_key_for("alice")
    assert own is not None
    assert own.get_secret_value() == "dk-hers"
    assert authentication.limits_for("alice") == limits
    for stranger in ("bob", "oauth:ann", ""):
        assert authentication.api_key_for(stranger) is None
        assert authentication.limits_for(stranger) == {}
    command("key", "oauth:ann", "--file", str(file), stdin="dk-anns\n")
    anns = authentication.api_key_for("oauth:ann")
    assert anns is not None
    assert anns.get_secret_value() == "dk-anns"
    assert authentication.limits_for("alice") == limits
    assert "dk-" not in repr(authentication.api_key_for("alice"))


def test_without_any_setting_there_is_no_authentication() -> None:
    assert open_authentication(load_settings()) is None


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


def test_the_file_is_in_the_state_folder_unless_told_otherwise(tmp_path: Path) -> None:
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
        (("create", "two words"), "a name is"),
        (("create", "oauth:ann"), "a name is"),
        (("create", "x" * 65), "a name is"),
        (("create", "alice", "--api-key"), "no API key was given"),
        (("revoke", "bob"), "there is no principal bob"),
        (("key", "bob"), "there is no principal bob"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_changes_nothing(
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
    names = [f"user{number}" for number in range(6)]
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


def test_a_directory_in_place_of_the_file_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadPrincipals, match="cannot be read"):
        open_authentication(load_settings(tokens_file=tmp_path))


async def test_a_principal_of_the_file_and_none_at_all_meet_the_same_server(tmp_path: Path) -> None:
    """Without the setting nothing is asked: the way it was on loopback before."""
    token = grant(file_in(tmp_path), "alice")
    async with serve_sandbox() as sandbox:
        with served(**at(sandbox.url)) as server:
            assert (await in_thread(post, server.url, None, INITIALIZE)).status_code == 200
            assert (await in_thread(post, server.url, token, INITIALIZE)).status_code == 200
