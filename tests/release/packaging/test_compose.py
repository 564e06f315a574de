"""compose.yaml: every service is confined, several replicas share what they must, and no secret is in the file."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from nano_banana_mcp.cli import build_parser
from tests.release.packaging.documented_names import longest_end_seconds
from tests.support.paths import ROOT

TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVER = SERVICES["server"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("cap_add", []) in ([], ["NET_BIND_SERVICE"])
    assert "privileged" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_everything_that_a_service_refers_to_exists(name: str) -> None:
    service = SERVICES[name]
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]


def test_there_are_several_servers_and_only_the_proxy_is_reached_from_outside() -> None:
    assert SERVER["deploy"]["replicas"] > 1
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"proxy"}
    assert COMPOSE["networks"]["back"]["internal"] is True
    assert SERVICES["postgres"]["networks"] == ["back"]


def test_replicas_share_the_ledger_the_key_of_the_webhook_and_the_tokens() -> None:
    environment = SERVER["environment"]
    assert environment["NANO_BANANA_LEDGER_URL"].startswith("postgresql://")
    assert "NANO_BANANA_WEBHOOK_KEYS" in environment
    mounted = {volume.split(":")[1]: volume for volume in SERVER["volumes"]}
    tokens = environment["NANO_BANANA_TOKENS_FILE"].rpartition("/")[0]
    assert mounted[tokens].endswith(":ro")
    assert SERVICES["admin"]["environment"] == environment
    assert not any(volume.endswith(":ro") for volume in SERVICES["admin"]["volumes"])


def test_no_secret_is_in_the_file_and_none_may_be_forgotten() -> None:
    given = re.findall(r"\$\{(\w+)(:\?[^}]*)?\}", TEXT)
    assert given
    required = {name for name, needed in given if needed}
    assert {name for name, _ in given} == required
    assert required == {"DOMAIN", "DEFAPI_API_KEY", "POSTGRES_PASSWORD", "NANO_BANANA_WEBHOOK_KEYS"}
    for name in required:
        assert name in TEXT.partition("\nname:")[0], "the comment at the top lists them"
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"KEY|PASSWORD|SECRET", variable):
                assert re.fullmatch(r"\$\{[^}]*\}", value), variable


def test_every_setting_can_be_changed_without_editing_the_file() -> None:
    for name in ("server", "admin"):
        assert SERVICES[name]["env_file"] == [{"path": ".env", "required": False}]
    # What `environment` sets takes precedence over .env, so it must come from there, or be of this file's own making.
    own = {"NANO_BANANA_LEDGER_URL", "NANO_BANANA_PUBLIC_URL", "NANO_BANANA_TOKENS_FILE"}
    for variable, value in SERVER["environment"].items():
        assert variable in own or value.startswith(f"${{{variable}"), variable
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {".env", "compose.override.yaml"} <= set(ignored)


def test_a_server_gets_longer_to_end_than_it_gives_its_calls() -> None:
    assert SERVER["stop_grace_period"].endswith("s")
    assert int(SERVER["stop_grace_period"][:-1]) >= longest_end_seconds()


def test_every_service_that_stays_has_a_health_check() -> None:
    built = "HEALTHCHECK" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for name, service in SERVICES.items():
        if "profiles" not in service:
            assert "healthcheck" in service or (built and service["image"] == "nano-banana-mcp"), name


def test_the_command_line_accepts_the_commands_of_the_containers() -> None:
    for name in ("server", "admin"):
        if command := SERVICES[name].get("command"):
            build_parser().parse_args(command)
