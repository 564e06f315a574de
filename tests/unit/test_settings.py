import os
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nano_banana_mcp.settings import Settings, SettingsError, load_settings, misspelt_variables, variables


def test_nothing_set_gives_the_documented_defaults() -> None:
    settings = load_settings()
    assert settings.base_url == "https://api.defapi.org"
    assert settings.model == "google/gempix2"
    assert settings.timeout_seconds == 60.0
    assert settings.usable_key is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DEFAPI_TIMEOUT_SECONDS", "soon"),
        ("DEFAPI_TIMEOUT_SECONDS", "0"),
        ("DEFAPI_TIMEOUT_SECONDS", "inf"),
        ("DEFAPI_TIMEOUT_SECONDS", "nan"),
        ("DEFAPI_BASE_URL", "api.defapi.org"),
        ("DEFAPI_BASE_URL", "ftp://api.defapi.org"),
        ("DEFAPI_BASE_URL", "https://user:pass@api.defapi.org"),
        ("DEFAPI_BASE_URL", "https://api.defapi.org:port"),
        ("DEFAPI_BASE_URL", "http:// x"),
        ("NANO_BANANA_LEDGER_URL", "mysql://user:pass@host/db"),
        ("NANO_BANANA_LEDGER_URL", "pass"),
        ("NANO_BANANA_LEDGER_URL", "postgresql://user:pa@ss@host/db"),
        ("NANO_BANANA_LEDGER_URL", "postgresql://user:pass/word@host/db"),
        ("NANO_BANANA_STATE_DIR", "state"),
        ("NANO_BANANA_STATE_DIR", "~nobody-of-this-name/x"),
        ("NANO_BANANA_OUTPUT_DIR", "pictures"),
        ("NANO_BANANA_OUTPUT_DIR", "./pictures"),
        ("NANO_BANANA_INPUT_DIRS", "/tmp:pictures"),
        ("NANO_BANANA_INPUT_DIRS", "~nobody-of-this-name/x"),
        ("NANO_BANANA_REFERENCE_MAX_SIDE", "10"),
        ("NANO_BANANA_KEEP_DAYS", "-1"),
        ("NANO_BANANA_SANDBOX", "perhaps"),
        ("NANO_BANANA_SANDBOX_SECONDS", "-1"),
        ("NANO_BANANA_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{variable}: ")
    assert "\n" not in str(caught.value)
    assert "pass" not in str(caught.value)


def test_a_missing_driver_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANO_BANANA_LEDGER_URL", "postgresql://user:word@host/db")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"pip install '\.\[postgres\]'") as caught:
        load_settings()
    assert "word" not in str(caught.value)


def test_two_wrong_values_are_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAPI_TIMEOUT_SECONDS", "soon")
    monkeypatch.setenv("NANO_BANANA_LOG_LEVEL", "LOUD")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    "placeholder",
    [
        "${DEFAPI_API_KEY}",
        "${user_config.api_key}",
        " ${input:key} ",
        "$DEFAPI_API_KEY",
        "dk-your-key",
        "'DK-YOUR-KEY'",
        "your_api_key_here",
        "<your key>",
        "dk-...",
        "dk-…",
        "dk-",
        "dk-xxxxxxxx",
        "changeme",
        "dk-REPLACE_ME",
    ],
)
def test_a_placeholder_that_the_host_did_not_fill_in_is_no_key_and_is_reported(
    monkeypatch: pytest.MonkeyPatch, placeholder: str
) -> None:
    monkeypatch.setenv("DEFAPI_API_KEY", placeholder)
    settings = load_settings()
    assert settings.usable_key is None
    assert "placeholder" in (settings.key_problem or "")


def test_a_placeholder_in_any_other_setting_means_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAPI_TIMEOUT_SECONDS", "${user_config.timeout}")
    monkeypatch.setenv("DEFAPI_MODEL", "${user_config.model}")
    assert load_settings() == Settings()


@pytest.mark.parametrize("value", ["", "   "])
def test_an_empty_key_is_no_key(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DEFAPI_API_KEY", value)
    assert load_settings().usable_key is None


@pytest.mark.parametrize("value", ["dk-a b", "dk-ключ", "dk-a\r\nX: y"])
def test_a_key_that_no_header_can_carry_is_no_key(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DEFAPI_API_KEY", value)
    settings = load_settings()
    assert settings.usable_key is None
    assert value not in (settings.key_problem or "")


def test_the_key_shows_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAPI_API_KEY", "dk-secret")
    assert "dk-secret" not in repr(load_settings())
    assert "dk-secret" not in str(load_settings())


def test_a_dotenv_of_the_working_directory_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DEFAPI_MODEL=someone/else\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings().model == "google/gempix2"


def test_a_named_env_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("DEFAPI_MODEL=from/file\nDEFAPI_TIMEOUT_SECONDS=5\nUNRELATED=1\n")
    monkeypatch.setenv("DEFAPI_TIMEOUT_SECONDS", "7")
    settings = load_settings(file)
    assert (settings.model, settings.timeout_seconds) == ("from/file", 7.0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_an_env_file_is_read_in_every_encoding_that_editors_and_powershell_write(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    content = f"NANO_BANANA_OUTPUT_DIR={tmp_path}/새벽\r\nDEFAPI_MODEL=google/nano-banana\r\n"
    file.write_bytes(content.encode(encoding))
    settings = load_settings(file)
    assert settings.output_dir == tmp_path / "새벽"
    assert settings.model == "google/nano-banana"


def test_an_env_file_in_another_encoding_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_bytes("# 설정\nDEFAPI_MODEL=m\n".encode("cp949"))
    with pytest.raises(SettingsError, match=r"settings\.env is neither UTF-8 nor UTF-16\. Save it as UTF-8\."):
        load_settings(file)


@pytest.mark.parametrize(
    ("value", "links"), [("OFF", "off"), ("false", "off"), ("0", "off"), ("On", "on"), ("yes", "on")]
)
def test_resource_links_take_the_usual_words_for_on_and_off(
    value: str, links: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NANO_BANANA_RESOURCE_LINKS", value)
    assert load_settings().resource_links == links


def test_a_named_env_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--env-file"):
        load_settings(tmp_path / "none.env")


def test_a_trailing_slash_of_the_base_url_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAPI_BASE_URL", "https://api.example.org/v1/")
    assert load_settings().base_url == "https://api.example.org/v1"


def test_the_state_folder_may_start_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANO_BANANA_STATE_DIR", "~/bananas")
    assert load_settings().state_path == Path.home() / "bananas"


def test_the_folders_for_images_may_start_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANO_BANANA_OUTPUT_DIR", "~/bananas")
    monkeypatch.setenv("NANO_BANANA_INPUT_DIRS", f"~/photos{os.pathsep}/srv/art{os.pathsep}")
    settings = load_settings()
    assert settings.output_dir == Path.home() / "bananas"
    assert settings.input_folders == (Path.home() / "photos", Path("/srv/art"))


def test_by_default_nothing_is_saved_and_no_folder_is_open() -> None:
    settings = load_settings()
    assert settings.output_dir is None
    assert settings.input_folders == ()


@pytest.mark.parametrize("quote", ['"', "'"])
def test_matching_quotes_around_a_value_are_removed(monkeypatch: pytest.MonkeyPatch, quote: str) -> None:
    """Docker's --env-file leaves them in the value."""
    monkeypatch.setenv("DEFAPI_API_KEY", f"{quote}dk-secret{quote}")
    monkeypatch.setenv("NANO_BANANA_PORT", f" {quote}8123{quote} ")
    monkeypatch.setenv("NANO_BANANA_KEEP_DAYS", quote * 2)
    settings = load_settings()
    assert settings.usable_key is not None
    assert settings.usable_key.get_secret_value() == "dk-secret"
    assert (settings.port, settings.keep_days) == (8123, None)


@pytest.mark.parametrize("value", ["\"dk-a'", '"', 'dk-"a"b'])
def test_other_quotes_stay_in_the_value(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DEFAPI_MODEL", value)
    assert load_settings().model == value


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("warn", "WARNING"),
        ("WARN", "WARNING"),
        (" warn ", "WARNING"),
        ("info", "INFO"),
        ("Debug", "DEBUG"),
        ("trace", "DEBUG"),
        ("critical", "ERROR"),
        ("fatal", "ERROR"),
        ("err", "ERROR"),
    ],
)
def test_a_log_level_is_read_in_any_case_and_warn_means_warning(
    monkeypatch: pytest.MonkeyPatch, value: str, level: str
) -> None:
    monkeypatch.setenv("NANO_BANANA_LOG_LEVEL", value)
    assert load_settings().log_level == level


def test_settings_of_older_versions_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("CACHE_MEGABYTES", "50"), ("MAX_SESSIONS", "10"), ("CALLER_SESSIONS", "10")):
        monkeypatch.setenv(f"NANO_BANANA_{name}", value)
    load_settings()


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("NANO_BANANA_CREDIT_PER_DAY", "Did you mean NANO_BANANA_CREDITS_PER_DAY?"),
        ("DEFAPI_APIKEY", "Did you mean DEFAPI_API_KEY?"),
        ("NANO_BANANA_API_KEY", "Did you mean DEFAPI_API_KEY?"),
        ("NANO_BANANA_MODEL", "Did you mean DEFAPI_MODEL?"),
        ("NANOBANANA_STATE_DIR", "Did you mean NANO_BANANA_STATE_DIR?"),
        ("NANO_BANNANA_KEEPDAYS", "Did you mean NANO_BANANA_KEEP_DAYS?"),
        ("NANO_BANANA_XYZ", "NANO_BANANA_XYZ is not a setting and has no effect."),
    ],
)
def test_a_misspelt_variable_is_named_with_the_setting_it_resembles(
    monkeypatch: pytest.MonkeyPatch, name: str, warning: str
) -> None:
    monkeypatch.setenv(name, "1")
    [line] = misspelt_variables()
    assert line.startswith(name)
    assert warning in line


def test_no_setting_and_no_variable_of_another_program_is_reported_as_misspelt() -> None:
    names = [*variables(), "nano_banana_port", "NANO_BANANA_TOKEN", "PATH", "NANO_BANANAS"]
    assert misspelt_variables(names) == []


@pytest.mark.parametrize(
    ("value", "above"),
    [("never", None), ("Always", "-Infinity"), ("0", "0"), (" 2.5 ", "2.5"), (2, "2"), (Decimal("0.5"), "0.5")],
)
def test_confirm_takes_two_words_and_numbers_of_credits(value: Any, above: str | None) -> None:
    assert load_settings(confirm=value).confirm_above == (None if above is None else Decimal(above))


@pytest.mark.parametrize("value", ["sometimes", "-1", "nan", "Infinity", "true", "1 credit"])
def test_confirm_takes_nothing_else(value: str) -> None:
    with pytest.raises(SettingsError, match="NANO_BANANA_CONFIRM: must be never, always or a number of credits"):
        load_settings(confirm=value)
