import ssl
from pathlib import Path

import pytest
from cryptography import x509

from nano_banana_mcp.common.certificates import UnusableCertificates, tls_context
from tests.support.certificates import Authority


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / "corporate.crt").write_text(Authority().pem)
    return folder / "corporate.crt"


def names(context: ssl.SSLContext) -> set[str]:
    """The common names of the trusted authorities."""
    subjects = (x509.load_der_x509_certificate(data).subject for data in context.get_ca_certs(binary_form=True))
    return {str(part.value) for subject in subjects for part in subject}


OURS = {"tests of nano-banana-mcp"}


def test_the_file_replaces_the_authorities_of_the_system(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = tls_context()
    assert names(context) == OURS
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_folder_serves_with_and_without_hashed_names(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "key.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_DIR", f"/no/such/folder:{file.parent}")
    assert names(tls_context()) == OURS


def test_file_and_folder_add_up(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.pem").write_text(Authority().pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(file.parent))
    assert len(tls_context().get_ca_certs()) == 2


def test_a_missing_folder_beside_a_good_file_is_ignored(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", "/no/such/folder")
    assert names(tls_context()) == OURS


def test_without_variables_the_systems_store_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    context = tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.cert_store_stats()["x509_ca"] > 50 or ssl.get_default_verify_paths().cafile is None
    monkeypatch.setenv("SSL_CERT_FILE", "")
    assert tls_context() is context


def test_a_context_is_built_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert tls_context() is tls_context()


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file or directory"), ("", "holds no certificates in PEM format"), ("rubbish", "holds no certif")],
)
def test_a_wrong_file_is_named_with_the_reason(
    content: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "wrong.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(UnusableCertificates, match=rf"SSL_CERT_FILE cannot be used: .*wrong\.pem.*{words}"):
        tls_context()


def test_a_folder_is_not_a_file_and_an_empty_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with pytest.raises(UnusableCertificates, match="SSL_CERT_DIR cannot be used: there are no certificates in"):
        tls_context()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path))
    with pytest.raises(UnusableCertificates, match="SSL_CERT_FILE cannot be used"):
        tls_context()
