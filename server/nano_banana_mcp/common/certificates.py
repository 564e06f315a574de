"""The certificate authorities that outgoing connections trust: those of the environment, or else of the system."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import sys
from functools import lru_cache
from pathlib import Path

_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.\d+")
"""Names by which OpenSSL finds certificates in a folder (``openssl rehash``)."""

_SUFFIXES = (".pem", ".crt", ".cer")


class UnusableCertificates(ValueError):
    """SSL_CERT_FILE or SSL_CERT_DIR cannot be used. The text names the variable, the file and the reason."""


def tls_context() -> ssl.SSLContext:
    """Return the context of all outgoing TLS connections.

    SSL_CERT_FILE and SSL_CERT_DIR name the trusted authorities; without them, the system's store does. A context is
    built once for each value of the two: loading a store takes tens of milliseconds.

    Raises:
        UnusableCertificates: A variable names no certificates.
    """
    return _context(os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", ""))


@lru_cache(maxsize=4)
def _context(file: str, folders: str) -> ssl.SSLContext:
    if not file and not folders:
        return _system_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if file:
        try:
            context.load_verify_locations(cafile=file)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise UnusableCertificates(f"SSL_CERT_FILE cannot be used: {_reason(Path(file), error)}") from None
    has_certificates = [_load_folder(context, Path(folder)) for folder in folders.split(os.pathsep) if folder]
    if not file and not any(has_certificates):
        raise UnusableCertificates(f"SSL_CERT_DIR cannot be used: there are no certificates in {folders}")
    return context


def _load_folder(context: ssl.SSLContext, folder: Path) -> bool:
    """Trust the certificates of a folder. Returns whether it has any; OpenSSL itself ignores a missing folder."""
    try:
        names = [path.name for path in folder.iterdir()]
    except (OSError, ValueError):
        return False
    if any(map(_HASHED_NAME.fullmatch, names)):
        context.load_verify_locations(capath=folder)
        return True
    loaded = 0
    for name in names:
        if name.lower().endswith(_SUFFIXES):
            with contextlib.suppress(OSError):  # a private key, or a file of another user
                context.load_verify_locations(cafile=folder / name)
                loaded += 1
    return loaded > 0


def _reason(file: Path, error: Exception) -> str:
    if not isinstance(error, ssl.SSLError) and isinstance(error, OSError):
        return f"{file}: {error.strerror}"
    return f"{file} holds no certificates in PEM format"


def _system_context() -> ssl.SSLContext:
    if sys.platform in ("win32", "darwin"):
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the system itself verifies
    # OpenSSL reads the system's store on the others; truststore would read it again for each connection.
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and not (paths.capath and any(Path(paths.capath).iterdir())):
        import certifi

        context.load_verify_locations(certifi.where())  # an image without ca-certificates
    return context
