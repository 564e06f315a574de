from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from nano_banana_mcp.images.download.fetcher import ImageFetcher
from nano_banana_mcp.images.local.local_files import LocalFiles
from tests.support.certificates import Authority
from tests.support.fake_internet import PUBLIC, Host, Internet, NewFetcher, Trap, listening
from tests.support.image_samples import INSIDE, OUTSIDE

NAMES = ["pictures.example", "cdn.example", "xn--bcher-kva.example", "under_score.example"]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{kind}_proxy", raising=False)
        monkeypatch.delenv(f"{kind}_PROXY".upper(), raising=False)


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def host(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Host]:
    """A TLS server whose certificate is for NAMES and the address PUBLIC."""
    context = authority.server_context(tmp_path_factory.mktemp("tls"), NAMES, [PUBLIC])
    async with listening(Host(), context) as host:
        yield host


@pytest.fixture
async def sandbox() -> AsyncIterator[Host]:
    """A plain HTTP server on loopback."""
    async with listening(Host(), None) as host:
        yield host


@pytest.fixture
def trap() -> Iterator[Trap]:
    trap = Trap()
    yield trap
    trap.close()


@pytest.fixture
def internet(host: Host) -> Internet:
    """Every checked address is the TLS server."""
    return Internet(("127.0.0.1", host.port))


@pytest.fixture
async def new_fetcher(internet: Internet, authority: Authority) -> AsyncIterator[NewFetcher]:
    fetchers: list[ImageFetcher] = []

    def new(**options: Any) -> ImageFetcher:
        seams: dict[str, Any] = {
            "resolve": internet.resolve,
            "connect_to": internet.connect_to,
            "ssl_context": authority.client_context(),
        }
        fetchers.append(ImageFetcher(**(seams | options)))
        return fetchers[-1]

    yield new
    for fetcher in fetchers:
        await fetcher.aclose()


@pytest.fixture
def fetcher(new_fetcher: NewFetcher) -> ImageFetcher:
    return new_fetcher()


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """An allowed folder with pictures in it, and a disallowed one beside it that has the same prefix."""
    folder = tmp_path / "allowed"
    (folder / "sub").mkdir(parents=True)
    (folder / "cat.png").write_bytes(INSIDE)
    (folder / "sub" / "새벽 등대.png").write_bytes(INSIDE)
    evil = tmp_path / "allowed-evil"
    evil.mkdir()
    (evil / "secret.png").write_bytes(OUTSIDE)
    (tmp_path / "secret.png").write_bytes(OUTSIDE)
    return folder


@pytest.fixture
def files(allowed: Path) -> LocalFiles:
    return LocalFiles([allowed])
