"""A ZIP archive that is sent while it is made."""

from __future__ import annotations

import io
from zipfile import ZIP_STORED, ZipFile

from nano_banana_mcp.gallery.archive import ArchiveStream


def test_the_pieces_are_an_archive_of_plain_stored_files() -> None:
    files = {"고양이.png": b"\x89PNG" * 5_000, "a.jpg": b"", "b.webp": b"RIFF"}
    stream = ArchiveStream()
    pieces = [stream.add(name, data, modified_at=1_790_000_000.0) for name, data in files.items()]
    assert [len(piece) >= len(data) for piece, data in zip(pieces, files.values(), strict=True)] == [True] * 3
    with ZipFile(io.BytesIO(b"".join([*pieces, stream.close()]))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files
        for entry in archive.infolist():
            assert entry.compress_type == ZIP_STORED
            assert not entry.flag_bits & 0x08, "some programs cannot read sizes behind stored data"
            assert entry.date_time == (2026, 9, 21, 14, 13, 20)


def test_a_time_before_the_first_of_zip_is_that_one() -> None:
    stream = ArchiveStream()
    with ZipFile(io.BytesIO(stream.add("a", b"a", modified_at=1.0) + stream.close())) as archive:
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)
