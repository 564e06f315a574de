"""The settings, from environment variables. Nothing is read at import: call :func:`load_settings`.

The fields are in the order of ``--help`` and of docs/settings.md, which is generated from here.
"""

from __future__ import annotations

import codecs
import difflib
import os
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from nano_banana_mcp.common.files import native_path, reason_of
from nano_banana_mcp.common.logging import LogFormat
from nano_banana_mcp.common.urls import LOOPBACK_HOSTS, http_url

PREFIX = "NANO_BANANA_"
"""Of the variables of all settings but the four that start with ``DEFAPI_``."""

SITE = "https://defapi.org"
"""Where people get a key and see their account."""

NEVER, ALWAYS = "never", "always"
"""Values of ``confirm`` besides numbers."""

EXAMPLE_KEY = "dk-your-key"
"""Placeholder for a key in documents and ready-made configuration entries."""

NO_STATE_FOLDER = (
    "This user has no home folder, so there is no folder for the server's state. Set NANO_BANANA_STATE_DIR."
)

_SAMPLE_KEY = re.compile(r"<.*>|.*\byour\b.*|(dk-)?(x{3,}|\.{2,}|…|(change|replace)-?me|placeholder)?", re.IGNORECASE)
"""Keys as they stand in examples."""

# `${user_config.x}`, or a plain $NAME as Gemini CLI leaves it, that the host application did not fill in.
_PLACEHOLDER = re.compile(r"\s*(\$\{[^}]*\}|\$[A-Z_]+)\s*")
_PREFIXES = re.compile(r"(NANO_?BAN+AN+AS?|DEF_?API)_")
"""The beginning of a setting's variable, also misspelt."""

_SCOPE = re.compile(r"[!#-\[\]-~]+")  # RFC 6749, section 3.3
_OTHER_VARIABLES = frozenset({"NANO_BANANA_TOKEN"})
"""Variables that entries of clients use and the server does not read."""

_SECRETS = ("DEFAPI_API_KEY", "NANO_BANANA_WEBHOOK_KEYS", "NANO_BANANA_LEDGER_URL")
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
_LOG_LEVEL_ALIASES = {
    "TRACE": "DEBUG",
    "VERBOSE": "DEBUG",
    "INFORMATION": "INFO",
    "NOTICE": "INFO",
    "WARN": "WARNING",
    "ERR": "ERROR",
    "CRITICAL": "ERROR",
    "FATAL": "ERROR",
}
"""Names of levels in other programs."""

_SWITCHES = {"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"}


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


def _addresses(value: str) -> str:
    addresses = [part.strip().strip("[]") for part in value.split(",") if part.strip()]
    if not addresses:
        raise ValueError("must name an address such as 127.0.0.1, or several with commas")
    if any(re.fullmatch(r"[^:]+:\d*|.*\]:\d*", address) for address in addresses):
        raise ValueError("must be addresses without a port: the port is NANO_BANANA_PORT")
    return ",".join(dict.fromkeys(addresses))


def _issuer_url(value: str) -> str:
    """Validate the URL and return it unchanged, since the issuer of a token is compared exactly."""
    url = http_url(value)
    if url is None:
        raise ValueError("must be an https URL such as https://login.example.org")
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK_HOSTS:
        raise ValueError("must be an https URL: over http, an attacker on the network could replace the keys")
    if parts.username or parts.password or parts.fragment:
        raise ValueError("must be a bare URL: no user name or fragment")
    return value.strip()


def _scopes(value: str) -> str:
    names = value.replace(",", " ").split()
    if not all(_SCOPE.fullmatch(name) for name in names):
        raise ValueError("must be names of scopes, separated by spaces or commas")
    return " ".join(names)


def _absolute(value: Path) -> Path:
    try:
        path = value.expanduser()
    except RuntimeError:
        raise ValueError("names the home folder of a user that does not exist") from None
    try:
        os.fsencode(path)
    except UnicodeEncodeError:  # from a UTF-8 file, in a locale without these characters
        path = Path(native_path(str(path)))
    if not path.is_absolute():
        raise ValueError("must be an absolute path (~ is allowed): hosts start the server in a folder of their choice")
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
    invalid = ValueError("is not a valid PostgreSQL URL. In its parts, write %40 for @, %2F for /, and so on")
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise invalid from None
    # A password with an unescaped character ends up in these parts, and they are part of every error message.
    names = f"{parts.get('host', '')}{parts.get('dbname', '')}"
    if "@" in names or not re.fullmatch(r"[0-9,]*", str(parts.get("port", ""))):
        raise invalid
    return SecretStr(url)


def _confirm(value: str) -> str:
    text = value.strip().lower()
    try:
        is_usable = text in (NEVER, ALWAYS) or 0 <= Decimal(text) < Decimal("Infinity")
    except InvalidOperation:  # no number, or NaN
        is_usable = False
    if not is_usable:
        raise ValueError(f"must be {NEVER}, {ALWAYS} or a number of credits")
    return text


Confirm = Annotated[str, BeforeValidator(str), AfterValidator(_confirm)]
"""When a person is asked before credits are spent: ``never``, ``always``, or above a number of credits, as text."""


class Settings(BaseSettings):
    """The settings, from the environment or from the file that ``--env-file`` names."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    api_key: SecretStr | None = Field(
        None,
        validation_alias="DEFAPI_API_KEY",
        description="Your key for the image API (`dk-…`), from the defapi dashboard.",
    )
    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        "https://api.defapi.org",
        validation_alias="DEFAPI_BASE_URL",
        description="Address of the image API.",
    )
    model: str = Field(
        "google/gempix2",
        validation_alias="DEFAPI_MODEL",
        min_length=1,
        max_length=200,
        description="Model of calls that name none.",
    )
    timeout_seconds: float = Field(
        60.0,
        validation_alias="DEFAPI_TIMEOUT_SECONDS",
        gt=0,
        le=600,
        allow_inf_nan=False,
        description="Maximum time of one request to the image API, in seconds.",
    )
    state_dir: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        None,
        description="Folder for the server's state. Default: the folder for application state of your system.",
    )
    ledger_url: Annotated[SecretStr, AfterValidator(_ledger_url)] | None = Field(
        None,
        description="`postgresql://…` if several servers share one ledger. Not set: a file in the state folder.",
    )
    keep_days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        allow_inf_nan=False,
        description="Days after which the prompt, options, URLs and bytes of a finished image are deleted. "
        "Not set: never.",
    )
    keep_megabytes: float | None = Field(
        None,
        gt=0,
        le=1e9,
        allow_inf_nan=False,
        description="Maximum disk space of all stored images; the oldest are deleted first. Not set: no limit.",
    )
    cache_megabytes: float = Field(
        200.0,
        ge=0,
        le=1e9,
        allow_inf_nan=False,
        description="No effect since 0.2.0: images are stored for good. See NANO_BANANA_KEEP_MEGABYTES.",
    )
    output_dir: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        None,
        description="Folder to which finished images are saved. Not set: they are not saved there.",
    )
    input_dirs: Annotated[str, AfterValidator(_absolute_list)] = Field(
        "",
        description="Folders from which reference images may be read over stdio, separated by `:` (Windows: `;`).",
    )
    reference_max_side: int = Field(
        2048,
        ge=256,
        le=8192,
        description="Maximum side of a reference image in pixels; a larger file or data URI is shrunk.",
    )
    sandbox: bool = Field(
        False,
        description="Use the built-in stand-in for the API: no key, no cost, drawn images.",
    )
    sandbox_seconds: float = Field(
        6.0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="Time that a sandbox image takes, in seconds.",
    )
    host: Annotated[str, AfterValidator(_addresses)] = Field(
        "127.0.0.1",
        description="Address on which `serve --http` listens, or several, separated by commas.",
    )
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        description="Port on which `serve --http` listens; 0 for any free port.",
    )
    allowed_hosts: str = Field(
        "",
        description="Further host names that HTTP requests may use (those of a reverse proxy), separated by commas.",
    )
    tokens_file: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        None,
        description="File of users and their hashed tokens (`nano-banana-mcp token`); HTTP requests then need a token.",
    )
    oauth_issuer: Annotated[str, AfterValidator(_issuer_url)] | None = Field(
        None,
        description="OAuth issuer whose access tokens (JWT) HTTP requests may carry; compared exactly.",
    )
    oauth_audience: str | None = Field(
        None,
        min_length=1,
        description="Audience that these tokens must name. Default: `/mcp` under NANO_BANANA_PUBLIC_URL.",
    )
    oauth_jwks_url: Annotated[str, AfterValidator(_issuer_url)] | None = Field(
        None,
        description="Address of the issuer's public keys. Default: as in its metadata.",
    )
    oauth_scopes: Annotated[str, AfterValidator(_scopes)] = Field(
        "",
        description="Scopes that these tokens must have, separated by spaces or commas.",
    )
    allow_unauthenticated: bool = Field(
        False,
        description="Let `serve --http` accept other machines without authentication.",
    )
    public_url: Annotated[str, AfterValidator(_base_url)] | None = Field(
        None,
        description="Address of `serve --http` on the internet, where the API calls back. Tasks are polled until a "
        "callback arrives; then only safety queries remain.",
    )
    webhook_keys: SecretStr | None = Field(
        None,
        description="Keys that sign callback addresses and confirmations, with commas; the first signs. "
        "Not set: generated.",
    )
    calls_per_minute: int | None = Field(
        None,
        ge=0,
        description="Maximum calls per minute of one caller; 0: no limit. "
        "Default: 120 with tokens or OAuth, else no limit.",
    )
    open_tasks: int | None = Field(
        None,
        ge=0,
        description="Maximum unfinished images of one caller; 0: no limit. "
        "Default: 20 with tokens or OAuth, else no limit.",
    )
    credits_per_day: Decimal | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Maximum credits per day (UTC) of one caller; 0: no limit. "
        "Default: 50 with tokens or OAuth, else no limit.",
    )
    total_calls_per_minute: int | None = Field(
        None,
        ge=0,
        description="Maximum calls per minute of all callers together; 0: no limit. "
        "Default: 3000 with tokens or OAuth, else no limit.",
    )
    total_open_tasks: int | None = Field(
        None,
        ge=0,
        description="Maximum unfinished images of all callers together; 0: no limit. "
        "Default: 300 with tokens or OAuth, else no limit.",
    )
    total_credits_per_day: Decimal | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Maximum credits per day (UTC) of all callers together; 0: no limit. "
        "Default: 1000 with tokens or OAuth, else no limit.",
    )
    confirm: Confirm = Field(
        NEVER,
        description="Ask a person before credits are spent: `never`, `always`, or above this many credits for a call.",
    )
    trust_resolver: bool = Field(
        False,
        description="Download images also from names that resolve to 198.18.0.0/15 (fake-IP DNS of proxy programs).",
    )
    uploads_per_day: int = Field(
        200,
        ge=0,
        description="Maximum images that one caller may upload per day (UTC); 0: no limit.",
    )
    upstream_concurrency: int = Field(
        64,
        ge=1,
        le=1_000,
        description="Maximum concurrent submits, and maximum concurrent queries, to the image API.",
    )
    queries_per_second: float = Field(
        50.0,
        gt=0,
        le=10_000,
        allow_inf_nan=False,
        description="Maximum average rate of queries to the image API; a burst may contain those of four seconds.",
    )
    max_request_megabytes: float = Field(
        64.0,
        gt=0,
        le=1_024,
        allow_inf_nan=False,
        description="Maximum size of an HTTP request. The default fits four 10 MB reference images as data URIs.",
    )
    max_sessions: int = Field(
        5_000,
        ge=1,
        description="No effect since 0.2.0.",
    )
    caller_sessions: int = Field(
        100,
        ge=1,
        description="No effect since 0.2.0.",
    )
    resource_links: Literal["on", "off"] = Field(
        "on",
        validation_alias="NANO_BANANA_RESOURCE_LINKS",
        description="`off`: results carry no `resource_link`, for clients that fail on one.",
    )
    log_level: LogLevel = Field(
        "WARNING",
        description="Lowest level of the log on stderr: DEBUG, INFO, WARNING or ERROR.",
    )
    log_format: LogFormat = Field(
        "text",
        description="Format of the log: `text`, or `json` with one object a line.",
    )

    @model_validator(mode="before")
    @classmethod
    def _normalize(cls, values: Any) -> Any:
        """Remove quotes around values and placeholders that the host did not fill in.

        Docker's ``--env-file`` leaves quotes in the value. A placeholder means "not set", except in the key, where an
        error can name it as the cause.
        """
        if not isinstance(values, dict):
            return values
        settings: dict[str, Any] = {}
        for name, given in values.items():
            value = _without_quotes(given) if isinstance(given, str) else given
            is_key = name in ("DEFAPI_API_KEY", "api_key")
            if isinstance(value, str) and not is_key and (_PLACEHOLDER.fullmatch(value) or (given and not value)):
                continue
            settings[name] = value
        if isinstance(level := settings.get("log_level"), str):
            settings["log_level"] = _LOG_LEVEL_ALIASES.get(level.strip().upper(), level.strip().upper())
        if isinstance(form := settings.get("log_format"), str):
            settings["log_format"] = form.lower()
        if isinstance(links := settings.get("NANO_BANANA_RESOURCE_LINKS"), str):
            settings["NANO_BANANA_RESOURCE_LINKS"] = _SWITCHES.get(links.lower(), links.lower())
        return settings

    @property
    def listen_addresses(self) -> list[str]:
        """The addresses of ``host``."""
        return self.host.split(",")

    @property
    def allowed_host_names(self) -> list[str]:
        """The names of ``allowed_hosts``."""
        return [name.strip() for name in self.allowed_hosts.split(",") if name.strip()]

    @property
    def confirm_above(self) -> Decimal | None:
        """Credits above which a person confirms a call: -Infinity for every call, None for none."""
        if self.confirm == NEVER:
            return None
        return Decimal("-Infinity" if self.confirm == ALWAYS else self.confirm)

    @property
    def input_folders(self) -> tuple[Path, ...]:
        """The folders of ``input_dirs`` as absolute paths."""
        parts = [part.strip() for part in self.input_dirs.split(os.pathsep)]
        return tuple(Path(part).expanduser() for part in parts if part)

    @property
    def usable_key(self) -> SecretStr | None:
        """The key, or None if there is no key that could be sent (see :attr:`key_problem`)."""
        return self.api_key if self.key_problem is None else None

    @property
    def key_problem(self) -> str | None:
        """Why there is no usable key, safe to show to any caller; None if there is one."""
        key = self.api_key.get_secret_value().strip() if self.api_key else ""
        if not key:
            return "No API key is set."
        if _PLACEHOLDER.fullmatch(key):
            return "DEFAPI_API_KEY holds a placeholder (`${…}`) that the host application did not fill in."
        if _SAMPLE_KEY.fullmatch(key.replace("_", "-")):
            return "DEFAPI_API_KEY holds the placeholder of an example. Replace it with your own key."
        if not (key.isascii() and key.isprintable()) or " " in key:
            return "DEFAPI_API_KEY holds characters that no key has (spaces, line breaks or non-ASCII letters)."
        return None

    @property
    def state_path(self) -> Path:
        """The state folder: ``state_dir``, or the folder for application state of this system.

        Raises:
            SettingsError: NANO_BANANA_STATE_DIR is not set, and this user has no home folder.
        """
        if self.state_dir is not None:
            return self.state_dir
        import platformdirs

        try:
            path = platformdirs.user_state_path("nano-banana-mcp", appauthor=False)
        except RuntimeError:  # neither HOME nor an entry in the user database
            path = None
        if path is None or not path.is_absolute():
            raise SettingsError(NO_STATE_FOLDER, ("NANO_BANANA_STATE_DIR",))
        return path


def load_settings(env_file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings from the environment and from ``env_file``; the environment takes precedence.

    Args:
        env_file: A file of ``NAME=value`` lines, or None.
        overrides: Values by field name (``sandbox=True``), which take precedence over both.

    Raises:
        SettingsError: A value is unusable, or the file cannot be read.
    """
    if env_file is not None and not env_file.is_file():
        raise SettingsError(f"--env-file: there is no file {env_file}")
    values = {str(Settings.model_fields[name].validation_alias or name): value for name, value in overrides.items()}
    try:
        encoding = None if env_file is None else _encoding_of(env_file)
        return Settings(_env_file=env_file, _env_file_encoding=encoding, **values)
    except ValidationError as error:
        variables = tuple(_variable_at(problem) for problem in error.errors() if problem["loc"])
        raise SettingsError("\n".join(_line(problem) for problem in error.errors()), variables) from None
    except OSError as error:
        raise SettingsError(f"--env-file: cannot read {env_file}: {reason_of(error)}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"--env-file: {env_file} is neither UTF-8 nor UTF-16. Save it as UTF-8.") from None


def _encoding_of(file: Path) -> str:
    """Return the encoding of a text file: UTF-8, or UTF-16 as PowerShell writes it."""
    with file.open("rb") as opened:
        head = opened.read(2)
    if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if b"\0" in head:
        return "utf-16-be" if head.startswith(b"\0") else "utf-16-le"
    return "utf-8-sig"


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
    """Return the environment variable of a settings field."""
    alias = Settings.model_fields[field].validation_alias
    return f"{PREFIX}{field.upper()}" if alias is None else str(alias)


def variables() -> list[str]:
    """Return the environment variables of all settings, in the order of ``--help``."""
    return [variable_of(field) for field in Settings.model_fields]


def misspelt_variables(names: Iterable[str] | None = None) -> list[str]:
    """Return one warning for each variable that looks like a setting and is none.

    Args:
        names: Names of variables; None for those of the environment.
    """
    known_names = {_PREFIXES.sub("", name): name for name in variables()}
    warnings = []
    for name in sorted(os.environ if names is None else names):
        upper = name.upper()
        if not _PREFIXES.match(upper) or upper in known_names.values() or upper in _OTHER_VARIABLES:
            continue
        similar = difflib.get_close_matches(_PREFIXES.sub("", upper), known_names, n=1)
        hint = f" Did you mean {known_names[similar[0]]}?" if similar else ""
        warnings.append(f"{name} is not a setting and has no effect.{hint}")
    return warnings


def _without_quotes(value: str) -> str:
    text = value.strip()
    is_quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if is_quoted else value


def _variable_at(problem: Any) -> str:
    place = str(problem["loc"][0]) if problem["loc"] else "settings"  # a field, or its alias
    return variable_of(place) if place in Settings.model_fields else place


def _line(problem: Any) -> str:
    name = _variable_at(problem)
    text = problem["msg"].removeprefix("Value error, ")
    value = str(problem["input"])
    # A URL with a user name may contain a password.
    shown = "" if name in _SECRETS or "@" in value else f" (it is {value[:80]!r})"
    return f"{name}: {text[:1].lower()}{text[1:]}{shown}"
