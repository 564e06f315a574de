from __future__ import annotations

import os
from pathlib import Path

import pytest

import artefacts
from tests.support.in_turn import in_turn


@pytest.fixture(autouse=True)
def all_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a person, since packages are downloaded here."""
    monkeypatch.delenv("SSL_CERT_FILE")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that a release has, built once in a run of the tests, however many processes share the run."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the folder of the whole run
    dist = folder / "dist"
    with in_turn(f"dist-{folder.name}"):
        if not (dist / "SHA256SUMS").exists():  # the last file to be written
            artefacts.dist(dist)
    return dist


@pytest.fixture(scope="session")
def wheel(made: Path) -> Path:
    """The wheel of that release."""
    [wheel] = made.glob("*.whl")
    return wheel
