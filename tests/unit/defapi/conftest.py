from collections.abc import Iterator

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
