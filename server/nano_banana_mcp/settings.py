"""What a user can set. Nothing is read at import: call :func:`load_settings`.

The field order is the order of ``--help`` and of the documents' table, which is generated from here.
"""

from __future__ import annotations

import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from nano_banana_mcp.common.urls import LOOPBACK_HOSTS, http_url

EXAMPLE_KEY = "dk-your-key"
"""What stands for a key in documents and ready-made entries."""
# Gemini CLI leaves a plain $NAME as it is where there is no such variable.
_UNFILLED = re.compile(r"\s*(\$\{[^}]*\}|\$[A-Z_]+)\s*")
_SCOPE = re.compile(r"[!#-\[\]-~]+")  # RFC 6749, section 3.3
_SECRETS = ("DEFAPI_API_KEY", "NANO_BANANA_WEBHOOK_KEYS", "NANO_BANANA_LEDGER_URL")
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LogFormat = Literal["text", "json"]


class SettingsError(ValueError):
    """A setting has a value that cannot be used. The text has one line a setting, ready to print.

    Args:
        variables: The environment variables with such values; empty where ``--env-file`` itself cannot be read.
    """

    def __init__(self, text: str, variables: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.variables = variables


def _base_url(value: str) -> str:
    url = http_url(value) if " " not in value.strip() else None
    if url is None:
        raise ValueError("must be an http(s) URL such as https://api.defapi.org")
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be a bare URL: no user name, query or fragment")
    return url.rstrip("/")


def _issuers_url(value: str) -> str:
    """As it is, to the last slash: a token's issuer is compared letter for letter."""
    url = http_url(value)
    if url is None:
        raise ValueError("must be an https URL such as https://login.example.org")
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK_HOSTS:
        raise ValueError("must be an https URL: who can change what travels could let anyone in")
    if parts.username or parts.password or parts.fragment:
        raise ValueError("must be a bare URL: no user name or fragment")
    return value.strip()


def _scopes(value: str) -> str:
    names = value.replace(",", " ").split()
    if not all(_SCOPE.fullmatch(name) for name in names):
        raise ValueError("must be names of scopes, with spaces or commas between them")
    return " ".join(names)


def _absolute(value: Path) -> Path:
    try:
        path = value.expanduser()
    except RuntimeError:
        raise ValueError("names the home of a user who does not exist") from None
    if not path.is_absolute():
        raise ValueError("must be an absolute path (~ is allowed): hosts start servers in folders of their own")
    return path


def _absolute_list(value: str) -> str:
    for part in value.split(os.pathsep):
        if part.strip():
            _absolute(Path(part.strip()))
    return value


def _ledger_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value().strip()
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be a PostgreSQL URL such as postgresql://user@host/database")
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise ValueError("needs the extra “postgres”: pip install '.[postgres]' in the project's folder") from None
    wrong = ValueError("is no PostgreSQL URL. In its parts, write %40 for @, %2F for /, and so on")
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise wrong from None
    # What a misread password leaves in these would be told with every error.
    names = f"{parts.get('host', '')}{parts.get('dbname', '')}"
    if "@" in names or not re.fullmatch(r"[0-9,]*", str(parts.get("port", ""))):
        raise wrong
    return SecretStr(url)


class Settings(BaseSettings):
    """The server's settings, from the environment or from the file that ``--env-file`` names."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True, populate_by_name=True
    )

    api_key: SecretStr | None = Field(
        None,
        validation_alias="DEFAPI_API_KEY",
        description="Your key for the image API (`dk-…`), from the defapi dashboard.",
    )
    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        "https://api.defapi.org",
        validation_alias="DEFAPI_BASE_URL",
        description="Where the image API is.",
    )
    model: str = Field(
        "google/gempix2",
        validation_alias="DEFAPI_MODEL",
        min_length=1,
        max_length=200,
        description="The model used when a call names none.",
    )
    timeout_seconds: float = Field(
        60.0,
        validation_alias="DEFAPI_TIMEOUT_SECONDS",
        gt=0,
        le=600,
        allow_inf_nan=False,
        description="Longest time for one whole request to the image API, in seconds.",
    )
    state_dir: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        None,
        validation_alias="NANO_BANANA_STATE_DIR",
        description="Folder for the server's state. Default: your system's folder for application state.",
    )
    ledger_url: Annotated[SecretStr, AfterValidator(_ledger_url)] | None = Field(
        None,
        validation_alias="NANO_BANANA_LEDGER_URL",
        description="`postgresql://…`, where several servers share one ledger. Not set: a file in the state folder.",
    )
    keep_days: float | None = Field(
        None,
        validation_alias="NANO_BANANA_KEEP_DAYS",
        gt=0,
        le=36_500,
        allow_inf_nan=False,
        description="Forget finished pictures so many days after their end. Not set: never.",
    )
    keep_megabytes: float | None = Field(
        None,
        validation_alias="NANO_BANANA_KEEP_MEGABYTES",
        gt=0,
        le=1e9,
        allow_inf_nan=False,
        description="Most disk space for pictures that came without a URL; the oldest go first. Not set: no limit.",
    )
    cache_megabytes: float = Field(
        200.0,
        validation_alias="NANO_BANANA_CACHE_MEGABYTES",
        ge=0,
        le=1e9,
        allow_inf_nan=False,
        description="Most disk space for copies of fetched pictures; the least used go first. 0: none are kept.",
    )
    output_dir: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        None,
        validation_alias="NANO_BANANA_OUTPUT_DIR",
        description="Folder in which finished pictures are saved at once. Not set: they are not saved.",
    )
    input_dirs: Annotated[str, AfterValidator(_absolute_list)] = Field(
        "",
        validation_alias="NANO_BANANA_INPUT_DIRS",
        description="Folders that reference pictures may be read from over stdio, with `:` (Windows: `;`) between.",
    )
    reference_max_side: int = Field(
        2048,
        validation_alias="NANO_BANANA_REFERENCE_MAX_SIDE",
        ge=256,
        le=8192,
        description="Longest side of a reference picture in pixels, if it is sent from here; a longer one is shrunk.",
    )
    sandbox: bool = Field(
        False,
        validation_alias="NANO_BANANA_SANDBOX",
        description="Use the built-in stand-in for the API: no key, no cost, drawn pictures.",
    )
    sandbox_seconds: float = Field(
        6.0,
        validation_alias="NANO_BANANA_SANDBOX_SECONDS",
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="How long a sandbox picture takes, in seconds.",
    )
    host: str = Field(
        "127.0.0.1",
        validation_alias="NANO_BANANA_HOST",
        min_length=1,
        description="Address that `serve --http` listens on.",
    )
    port: int = Field(
        8000,
        validation_alias="NANO_BANANA_PORT",
        ge=0,
        le=65535,
        description="Port that `serve --http` listens on; 0 for any free one.",
    )
    allowed_hosts: str = Field(
        "",
        validation_alias="NANO_BANANA_ALLOWED_HOSTS",
        description="Host names besides this machine's that HTTP requests may name (a reverse proxy's), with commas.",
    )
    tokens_file: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        None,
        validation_alias="NANO_BANANA_TOKENS_FILE",
        description="File of users and their hashed tokens (`nano-banana-mcp token`); HTTP requests then need one.",
    )
    oauth_issuer: Annotated[str, AfterValidator(_issuers_url)] | None = Field(
        None,
        validation_alias="NANO_BANANA_OAUTH_ISSUER",
        description="OAuth issuer, letter for letter, whose access tokens (JWT) HTTP requests may carry.",
    )
    oauth_audience: str | None = Field(
        None,
        validation_alias="NANO_BANANA_OAUTH_AUDIENCE",
        min_length=1,
        description="Audience that those tokens must name. Default: `/mcp` under NANO_BANANA_PUBLIC_URL.",
    )
    oauth_jwks_url: Annotated[str, AfterValidator(_issuers_url)] | None = Field(
        None,
        validation_alias="NANO_BANANA_OAUTH_JWKS_URL",
        description="Where the issuer's public keys are. Default: where its metadata says.",
    )
    oauth_scopes: Annotated[str, AfterValidator(_scopes)] = Field(
        "",
        validation_alias="NANO_BANANA_OAUTH_SCOPES",
        description="Scopes that those tokens must have, with spaces or commas.",
    )
    allow_unauthenticated: bool = Field(
        False,
        validation_alias="NANO_BANANA_ALLOW_UNAUTHENTICATED",
        description="Let `serve --http` listen beyond this machine without asking who calls.",
    )
    public_url: Annotated[str, AfterValidator(_base_url)] | None = Field(
        None,
        validation_alias="NANO_BANANA_PUBLIC_URL",
        description="Where `serve --http` is reached from the internet; the API then calls back and is hardly polled.",
    )
    webhook_keys: SecretStr | None = Field(
        None,
        validation_alias="NANO_BANANA_WEBHOOK_KEYS",
        description="Keys that sign callback addresses, with commas; the first signs. Not set: one is made and kept.",
    )
    calls_per_minute: int | None = Field(
        None,
        validation_alias="NANO_BANANA_CALLS_PER_MINUTE",
        ge=0,
        description="Most calls a minute of one caller; 0: no limit. Default: 120 with tokens, else none.",
    )
    open_tasks: int | None = Field(
        None,
        validation_alias="NANO_BANANA_OPEN_TASKS",
        ge=0,
        description="Most unfinished pictures of one caller; 0: no limit. Default: 20 with tokens, else none.",
    )
    credits_per_day: Decimal | None = Field(
        None,
        validation_alias="NANO_BANANA_CREDITS_PER_DAY",
        ge=0,
        allow_inf_nan=False,
        description="Most credits a day (UTC) of one caller; 0: no limit. Default: 50 with tokens, else none.",
    )
    total_calls_per_minute: int | None = Field(
        None,
        validation_alias="NANO_BANANA_TOTAL_CALLS_PER_MINUTE",
        ge=0,
        description="The same for all callers together. Default: 3000 with tokens, else none.",
    )
    total_open_tasks: int | None = Field(
        None,
        validation_alias="NANO_BANANA_TOTAL_OPEN_TASKS",
        ge=0,
        description="The same for all callers together. Default: 300 with tokens, else none.",
    )
    total_credits_per_day: Decimal | None = Field(
        None,
        validation_alias="NANO_BANANA_TOTAL_CREDITS_PER_DAY",
        ge=0,
        allow_inf_nan=False,
        description="The same for all callers together. Default: 1000 with tokens, else none.",
    )
    upstream_concurrency: int = Field(
        64,
        validation_alias="NANO_BANANA_UPSTREAM_CONCURRENCY",
        ge=1,
        le=1_000,
        description="Most requests to the image API at a time, submits and queries each.",
    )
    queries_per_second: float = Field(
        50.0,
        validation_alias="NANO_BANANA_QUERIES_PER_SECOND",
        gt=0,
        le=10_000,
        allow_inf_nan=False,
        description="Most queries a second to the image API in the long run; four seconds of them may come at once.",
    )
    max_request_megabytes: float = Field(
        64.0,
        validation_alias="NANO_BANANA_MAX_REQUEST_MEGABYTES",
        gt=0,
        le=1_024,
        allow_inf_nan=False,
        description="Largest HTTP request taken: room for four reference pictures of 10 MB as data URIs.",
    )
    max_sessions: int = Field(
        5_000,
        validation_alias="NANO_BANANA_MAX_SESSIONS",
        ge=1,
        description="Most sessions of clients of the older protocol at a time.",
    )
    caller_sessions: int = Field(
        100,
        validation_alias="NANO_BANANA_CALLER_SESSIONS",
        ge=1,
        description="Most such sessions of one caller with a token.",
    )
    log_level: LogLevel = Field(
        "WARNING",
        validation_alias="NANO_BANANA_LOG_LEVEL",
        description="What is logged, on stderr: DEBUG, INFO, WARNING or ERROR.",
    )
    log_format: LogFormat = Field(
        "text",
        validation_alias="NANO_BANANA_LOG_FORMAT",
        description="How: `text`, or `json` with one object a line.",
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_unfilled_placeholders(cls, values: Any) -> Any:
        """A host that fails to fill in ``${user_config.x}`` hands over the literal: that is "not set".

        The key keeps the literal, so that the answer to a call can name the cause.
        """
        if not isinstance(values, dict):
            return values
        kept = {
            name: value
            for name, value in values.items()
            if name in ("DEFAPI_API_KEY", "api_key") or not (isinstance(value, str) and _UNFILLED.fullmatch(value))
        }
        level, form = kept.get("NANO_BANANA_LOG_LEVEL"), kept.get("NANO_BANANA_LOG_FORMAT")
        cased = {"NANO_BANANA_LOG_LEVEL": level.upper()} if isinstance(level, str) else {}
        return kept | cased | ({"NANO_BANANA_LOG_FORMAT": form.lower()} if isinstance(form, str) else {})

    @property
    def allowed_host_names(self) -> list[str]:
        """``allowed_hosts`` as a list."""
        return [name.strip() for name in self.allowed_hosts.split(",") if name.strip()]

    @property
    def input_folders(self) -> tuple[Path, ...]:
        """``input_dirs`` as absolute paths."""
        parts = [part.strip() for part in self.input_dirs.split(os.pathsep)]
        return tuple(Path(part).expanduser() for part in parts if part)

    @property
    def usable_key(self) -> SecretStr | None:
        """The key, or None where there is none that could be sent (see :attr:`key_problem`)."""
        return self.api_key if self.key_problem is None else None

    @property
    def key_problem(self) -> str | None:
        """Why there is no usable key, in words that may be shown to anyone; None where there is one."""
        key = self.api_key.get_secret_value().strip() if self.api_key else ""
        if not key:
            return "No API key is set."
        if _UNFILLED.fullmatch(key):
            return "DEFAPI_API_KEY holds a placeholder (`${…}`) that the host application did not fill in."
        if key == EXAMPLE_KEY:
            return f"DEFAPI_API_KEY holds a placeholder ({EXAMPLE_KEY}): put your own key in its place."
        if not (key.isascii() and key.isprintable()) or " " in key:
            return "DEFAPI_API_KEY holds characters that no key has (spaces, line breaks or non-ASCII letters)."
        return None

    @property
    def state_path(self) -> Path:
        """The folder for state: `NANO_BANANA_STATE_DIR`, or the platform's own."""
        if self.state_dir is not None:
            return self.state_dir
        import platformdirs

        return platformdirs.user_state_path("nano-banana-mcp", appauthor=False)


def load_settings(env_file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings from the environment, and before it from ``env_file`` if one is named.

    ``overrides`` are field names (``sandbox=True``) and win over both.

    Raises:
        SettingsError: a value cannot be used, or the file cannot be read.
    """
    if env_file is not None and not env_file.is_file():
        raise SettingsError(f"--env-file: there is no file {env_file}")
    by_variable = {variable_of(name): value for name, value in overrides.items()}
    try:
        return Settings(_env_file=env_file, **by_variable)
    except ValidationError as error:
        variables = tuple(str(problem["loc"][0]) for problem in error.errors() if problem["loc"])
        raise SettingsError("\n".join(_line(problem) for problem in error.errors()), variables) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--env-file: cannot read {env_file}: {error}") from None


def load_usable_settings(env_file: Path | None = None, **overrides: Any) -> tuple[Settings, str | None]:
    """As :func:`load_settings`, with the default in place of each wrong value.

    Returns:
        The settings, and the text of the :class:`SettingsError`; None if nothing is wrong.
    """
    try:
        return load_settings(env_file, **overrides), None
    except SettingsError as error:
        if not error.variables:  # the file
            settings, _ = load_usable_settings(None, **overrides)
        else:
            wrong = [name for name in Settings.model_fields if variable_of(name) in error.variables]
            defaults = {name: Settings.model_fields[name].default for name in wrong}
            settings = load_settings(env_file, **(overrides | defaults))
        return settings, str(error)


def variable_of(field: str) -> str:
    """The environment variable of a settings field."""
    return str(Settings.model_fields[field].validation_alias)


def _line(problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    text = problem["msg"].removeprefix("Value error, ")
    value = str(problem["input"])
    # A URL with a user name may have a password.
    shown = "" if name in _SECRETS or "@" in value else f" (it is {value[:80]!r})"
    return f"{name}: {text[:1].lower()}{text[1:]}{shown}"
