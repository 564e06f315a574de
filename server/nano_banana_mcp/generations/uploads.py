"""Images that people bring: what was asked of them, and what has arrived. Pure."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

REQUEST_PREFIX = "up-"
"""Of the id of a request for uploads."""

UPLOAD_PREFIX = "ref-"
"""Of the id of an upload; no generation has it."""

GRANT = re.compile(r"[A-Za-z0-9_-]{43}")

GRANT_SECONDS = 900.0
"""Time for which images can be uploaded after they were asked for."""


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """A person was asked for images.

    Attributes:
        upload_id: Its public id.
        grant: The secret in the address of its page. Who has it may upload.
        principal: Owner of what is uploaded.
        purpose: What the images are for, shown to the person.
        count: Number of images that may be uploaded.
        used: Number of images that were uploaded.
        created_at: Unix time, seconds.
        expires_at: Unix time, seconds.
    """

    upload_id: str
    grant: str
    principal: str
    purpose: str | None
    count: int
    created_at: float
    expires_at: float
    used: int = 0

    def is_open(self, now: float) -> bool:
        """Whether an image may still be uploaded at ``now`` (Unix time, seconds)."""
        return self.used < self.count and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Upload:
    """An image that a person uploaded.

    Attributes:
        reference_id: Its public id, the last part of its resource URI.
        upload_id: The request that it answers.
        principal: Its owner.
        mime_type: MIME type of the stored bytes.
        width: Pixels.
        height: Pixels.
        created_at: Unix time, seconds.
    """

    reference_id: str
    upload_id: str
    principal: str
    mime_type: str
    width: int
    height: int
    created_at: float


def new_upload_request(principal: str, purpose: str | None, count: int, now: float) -> UploadRequest:
    """Return a request that is open from ``now`` (Unix time, seconds) for :data:`GRANT_SECONDS`."""
    return UploadRequest(
        f"{REQUEST_PREFIX}{secrets.token_hex(12)}",
        secrets.token_urlsafe(32),
        principal,
        purpose,
        count,
        created_at=now,
        expires_at=now + GRANT_SECONDS,
    )


def new_reference_id() -> str:
    """Return the id of a new upload."""
    return f"{UPLOAD_PREFIX}{secrets.token_hex(12)}"
