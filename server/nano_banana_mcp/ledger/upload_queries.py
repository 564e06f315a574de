"""The queries of uploads in SQL, the same for every database. Synchronous."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from typing import Any

from nano_banana_mcp.generations.uploads import Upload, UploadRequest

KEEP_REQUEST_SECONDS = 86_400.0
"""Time after its expiry for which a request is still answered with what has arrived."""

_UPLOAD_COLUMNS = ", ".join(field.name for field in fields(Upload))


class UploadQueries(ABC):
    """The part of :class:`~nano_banana_mcp.ledger.queries.SqlLedger` that stores uploads."""

    @abstractmethod
    def _fetch(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Any]: ...

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[None]: ...

    def save_upload_request(self, request: UploadRequest) -> None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`. Deletes old requests."""
        with self._transaction():
            self._fetch(
                "DELETE FROM upload_requests WHERE expires_at < :before",
                {"before": request.created_at - KEEP_REQUEST_SECONDS},
            )
            self._fetch(
                "DELETE FROM upload_pieces WHERE upload_id IN "
                "(SELECT upload_id FROM upload_requests WHERE expires_at < :now)",
                {"now": request.created_at},
            )
            self._fetch(
                "INSERT INTO upload_requests (upload_id, access_grant, principal, purpose, max_uploads, created_at, "
                "expires_at) VALUES (:upload_id, :grant, :principal, :purpose, :count, :created_at, :expires_at)",
                asdict(request),
            )

    def find_upload_request(self, upload_id: str, principal: str) -> UploadRequest | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self._request(
            "upload_id = :upload_id AND principal = :principal", {"upload_id": upload_id, "principal": principal}
        )

    def find_grant(self, grant: str) -> UploadRequest | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self._request("access_grant = :grant", {"grant": grant})

    def add_upload(self, upload: Upload, data: bytes, now: float, check: Callable[[int], None], today: float) -> bool:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        with self._transaction():
            self._lock_uploads()
            request = self._request("upload_id = :upload_id", {"upload_id": upload.upload_id})
            if request is None or not request.is_open(now):
                return False
            check(self.count_uploads(upload.principal, today))
            self._write_upload(upload, data)
            self._fetch(
                "UPDATE upload_requests SET used = used + 1 WHERE upload_id = :upload_id",
                {"upload_id": upload.upload_id},
            )
        return True

    def count_uploads(self, principal: str, since: float) -> int:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        [row] = self._fetch(
            "SELECT count(*) AS number FROM uploads WHERE principal = :principal AND created_at >= :since",
            {"principal": principal, "since": since},
        )
        return int(row["number"])

    def uploads_for(self, upload_id: str) -> list[Upload]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return self._uploads("WHERE upload_id = :upload_id ORDER BY created_at, reference_id", upload_id=upload_id)

    def find_upload(self, reference_id: str) -> Upload | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        uploads = self._uploads("WHERE reference_id = :reference_id", reference_id=reference_id)
        return uploads[0] if uploads else None

    def load_upload(self, reference_id: str) -> bytes | None:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        return None

    def recent_uploads(self, limit: int) -> list[Upload]:
        """Return the newest uploads of all principals, newest first."""
        return self._uploads("ORDER BY created_at DESC, reference_id LIMIT :limit", limit=limit)

    def delete_upload(self, reference_id: str) -> Upload | None:
        """Delete an upload. Returns it, or None if it does not exist."""
        with self._transaction():
            upload = self.find_upload(reference_id)
            self._fetch("DELETE FROM uploads WHERE reference_id = :reference_id", {"reference_id": reference_id})
        return upload

    def save_piece(self, upload_id: str, image: int, piece: int, data: bytes, max_bytes: int) -> bool:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        [stored] = self._fetch(
            "SELECT coalesce(sum(length(data)), 0) AS size FROM upload_pieces WHERE upload_id IN "
            "(SELECT upload_id FROM upload_requests WHERE principal = "
            "(SELECT principal FROM upload_requests WHERE upload_id = :upload_id))",
            {"upload_id": upload_id},
        )
        if stored["size"] + len(data) > max_bytes:
            return False
        self._fetch(
            "INSERT INTO upload_pieces (upload_id, image, piece, data) VALUES (:upload_id, :image, :piece, :data) "
            "ON CONFLICT (upload_id, image, piece) DO UPDATE SET data = excluded.data",
            {"upload_id": upload_id, "image": image, "piece": piece, "data": data},
        )
        return True

    def take_pieces(self, upload_id: str, image: int) -> dict[int, bytes]:
        """See :class:`~nano_banana_mcp.ledger.base.Ledger`."""
        values = {"upload_id": upload_id, "image": image}
        with self._transaction():
            rows = self._fetch(
                "SELECT piece, data FROM upload_pieces WHERE upload_id = :upload_id AND image = :image", values
            )
            self._fetch("DELETE FROM upload_pieces WHERE upload_id = :upload_id AND image = :image", values)
        return {row["piece"]: bytes(row["data"]) for row in rows}

    def _prune_uploads(self, older_than: float) -> None:
        self._fetch("DELETE FROM uploads WHERE created_at < :older_than", {"older_than": older_than})

    def _write_upload(self, upload: Upload, data: bytes) -> None:
        self._fetch(
            f"INSERT INTO uploads ({_UPLOAD_COLUMNS}) VALUES "  # noqa: S608 - our own column names
            f"({', '.join(f':{field.name}' for field in fields(Upload))})",
            asdict(upload),
        )

    def _lock_uploads(self) -> None:
        """Keep other processes from adding uploads until the end of this transaction, where its BEGIN does not."""
        return

    def _request(self, where: str, values: Mapping[str, Any]) -> UploadRequest | None:
        rows = self._fetch(
            "SELECT upload_id, access_grant, principal, purpose, max_uploads, created_at, expires_at, used "  # noqa: S608 - our own conditions
            f"FROM upload_requests WHERE {where}",
            values,
        )
        if not rows:
            return None
        row = dict(rows[0])
        grant, count = row.pop("access_grant"), row.pop("max_uploads")
        return UploadRequest(**row, grant=grant, count=count)

    def _uploads(self, where: str, **values: Any) -> list[Upload]:
        rows = self._fetch(f"SELECT {_UPLOAD_COLUMNS} FROM uploads {where}", values)  # noqa: S608 - our own names
        return [Upload(**dict(row)) for row in rows]
