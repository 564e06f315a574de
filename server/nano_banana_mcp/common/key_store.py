"""The API key in the keyring of this system (Keychain, Credential Locker, Secret Service): the extra ``keyring``."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from pydantic import SecretStr

SERVICE = "nano-banana-mcp"
ACCOUNT = "DEFAPI_API_KEY"


class NoKeyring(Exception):
    """There is no keyring that can be used. The text says why."""


def has_extra() -> bool:
    """Whether the extra ``keyring`` is installed. Nothing is imported."""
    return find_spec("keyring") is not None


def check_keyring() -> None:
    """Check that keys can be stored.

    Raises:
        NoKeyring: They cannot.
    """
    if not has_extra():
        raise NoKeyring(
            "the extra “keyring” is not installed. Install it with `uv tool install '.[keyring]'` in the folder of the "
            "source"
        )
    import keyring
    from keyring.backends import fail, null

    if isinstance(keyring.get_keyring(), fail.Keyring | null.Keyring):
        raise NoKeyring("this system has no keyring, or none that is unlocked for this user")


def stored_key() -> SecretStr | None:
    """The stored key; None if no key is stored, or no keyring can be read. It may block: call it in a thread."""
    if not has_extra():
        return None
    _find_session_bus()
    import keyring
    from keyring.errors import KeyringError

    try:
        key = keyring.get_password(SERVICE, ACCOUNT)
    except (KeyringError, OSError):
        return None
    return SecretStr(key) if key else None


def _find_session_bus() -> None:
    """Name the session bus, where the Secret Service is: many hosts do not pass its variable on."""
    if sys.platform == "linux":
        bus = Path(f"/run/user/{os.getuid()}/bus")
        if bus.exists():
            os.environ.setdefault("DBUS_SESSION_BUS_ADDRESS", f"unix:path={bus}")


def store_key(key: SecretStr) -> None:
    """Store the key, in place of an earlier one.

    Raises:
        NoKeyring: It cannot be stored.
    """
    check_keyring()
    import keyring
    from keyring.errors import KeyringError

    try:
        keyring.set_password(SERVICE, ACCOUNT, key.get_secret_value())
    except (KeyringError, OSError) as error:
        raise NoKeyring(f"the keyring refuses the key: {error}") from None


def remove_key() -> bool:
    """Remove the stored key. Returns whether there was one.

    Raises:
        NoKeyring: It cannot be removed.
    """
    check_keyring()
    import keyring
    from keyring.errors import KeyringError

    if stored_key() is None:
        return False
    try:
        keyring.delete_password(SERVICE, ACCOUNT)
    except (KeyringError, OSError) as error:
        raise NoKeyring(f"the keyring does not remove the key: {error}") from None
    return True
