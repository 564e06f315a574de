"""Settings with wrong values, of which a server over stdio makes the best."""

from __future__ import annotations

from pathlib import Path

import pytest

from nano_banana_mcp.settings import Settings, load_usable_settings
from nano_banana_mcp.stdio.session import open_session


def test_right_settings_are_used_beside_a_wrong_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NANO_BANANA_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("NANO_BANANA_PORT", "eighty")
    monkeypatch.setenv("DEFAPI_TIMEOUT_SECONDS", "soon")
    settings, problem = load_usable_settings(sandbox=True)
    assert (settings.state_dir, settings.sandbox) == (tmp_path, True)
    assert (settings.port, settings.timeout_seconds) == (8000, 60.0)
    assert problem is not None
    assert [line.partition(":")[0] for line in problem.splitlines()] == ["DEFAPI_TIMEOUT_SECONDS", "NANO_BANANA_PORT"]


def test_nothing_is_reported_where_nothing_is_wrong() -> None:
    settings, problem = load_usable_settings()
    assert problem is None
    assert settings == Settings()


def test_a_missing_file_of_settings_is_reported_and_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NANO_BANANA_PORT", "81")
    settings, problem = load_usable_settings(tmp_path / "none")
    assert settings.port == 81
    assert problem == f"--env-file: there is no file {tmp_path / 'none'}"


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        pytest.param(["serve", "--http"], {}, id="HTTP"),
        pytest.param(["--env-file", "x"], {}, id="a file of settings"),
        pytest.param(["doctor"], {}, id="another command"),
        pytest.param([], {"NANO_BANANA_SANDBOX": "perhaps"}, id="an unusual value"),
        pytest.param([], {"nano_banana_confirm": "always"}, id="a name in small letters"),
    ],
)
def test_the_real_server_starts_at_once_where_discovery_might_be_another(
    arguments: list[str], environment: dict[str, str]
) -> None:
    assert open_session(arguments, environment) is None
