from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest
import stamina


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests count the connections that arrive."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def instant_pauses() -> Iterator[None]:
    """No pause between attempts; their number stays the client's own (the cap is out of reach)."""
    with stamina.set_testing(True, attempts=99, cap=True):
        yield


@pytest.fixture
def real_pauses() -> Iterator[None]:
    """The pauses as they are, for tests on a virtual clock."""
    with stamina.set_testing(False):
        yield


@pytest.fixture(scope="session")
def one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One certificate of certifi's bundle."""
    end = "-----END CERTIFICATE-----\n"
    path = tmp_path_factory.mktemp("certificates") / "one.pem"
    path.write_text(Path(certifi.where()).read_text("utf-8").partition(end)[0] + end)
    return path


@pytest.fixture(autouse=True)
def quick_clients(monkeypatch: pytest.MonkeyPatch, one_certificate: Path) -> None:
    """To load the whole bundle, for each client anew, takes longer than most of these tests."""
    monkeypatch.setenv("SSL_CERT_FILE", str(one_certificate))
