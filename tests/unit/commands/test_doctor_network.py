"""The report of ``doctor`` on the way to a host of images."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nano_banana_mcp.commands.checks import IMAGE_HOST, examine
from nano_banana_mcp.commands.findings import Finding
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from nano_banana_mcp.settings import load_settings
from tests.support.certificates import Authority
from tests.support.fake_internet import Host, listening
from tests.support.forward_proxy import ForwardProxy, forward_proxy
from tests.support.generations import new_generation, succeeded


@pytest.fixture
async def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ForwardProxy]:
    """A forward proxy to a host of images, which answers 404."""
    authority = Authority()
    trusted = tmp_path / "authority.pem"
    trusted.write_text(authority.pem)
    context = authority.server_context(tmp_path, [IMAGE_HOST, "pictures.example"], [])
    async with listening(Host(), context) as host, forward_proxy(("127.0.0.1", host.port)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "::1/128")
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        yield proxy


async def image_host(state: Path, base_url: str) -> list[Finding]:
    findings = await examine(load_settings(state_dir=state, base_url=base_url, api_key="dk-0123456789"))
    return [finding for finding in findings if finding.subject == "image host"]


async def test_the_usual_host_is_tried_through_the_proxy(proxy: ForwardProxy, tmp_path: Path) -> None:
    [finding] = await image_host(tmp_path / "state", "https://api.example.invalid")
    assert finding.is_good
    assert finding.text == f"{IMAGE_HOST} answers: finished pictures can be downloaded"
    assert (IMAGE_HOST, 443) in proxy.tunnels


async def test_the_host_of_the_newest_image_is_tried(proxy: ForwardProxy, tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "state")
    generation = ledger.begin(new_generation(), None)
    ledger.save(succeeded(generation.accepted("ta1", 101.0)))
    ledger.close()
    [finding] = await image_host(tmp_path / "state", "http://127.0.0.1:9")
    assert finding.is_good
    assert proxy.tunnels == [("pictures.example", 443)]


async def test_a_proxy_that_refuses_is_named(proxy: ForwardProxy, tmp_path: Path) -> None:
    proxy.status = "403 Forbidden"
    [finding] = await image_host(tmp_path / "state", "https://api.example.invalid")
    assert not finding.is_good
    assert "the proxy that HTTPS_PROXY names refused the connection (403)" in finding.text


async def test_a_stand_in_on_this_machine_has_no_host_of_its_own(proxy: ForwardProxy, tmp_path: Path) -> None:
    assert await image_host(tmp_path / "state", "http://127.0.0.1:9") == []
    assert proxy.tunnels == []
