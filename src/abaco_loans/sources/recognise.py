"""What kind of file this is: by its bytes, never by its name."""

from __future__ import annotations

from enum import StrEnum

from abaco_loans.errors import InputError


class FileFormat(StrEnum):
    """Formats that a tape may have."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    EXCEL = "excel"
    GZIP = "gzip"
    ZIP = "zip"


_REFUSED: dict[bytes, str] = {
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x7fELF": "a program",
    b"SQLite format 3": "an SQLite database",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
}


def recognise(head: bytes, *, name: str) -> FileFormat:
    """The format of a file that begins with ``head`` (its first few kilobytes).

    Raises:
        InputError: ``SRC-101`` empty file; ``SRC-102`` a file that is no tape.
    """
    if not head.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n\x00"):
        raise InputError(
            "the file is empty",
            code="SRC-101",
            where=name,
            hint="ask the sender for the tape again; the last good outputs stay as they are",
        )
    if head.startswith(b"PAR1"):
        return FileFormat.PARQUET
    if head.startswith(b"\x1f\x8b"):
        return FileFormat.GZIP
    if head.startswith(b"PK\x03\x04"):
        return FileFormat.ZIP
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return FileFormat.EXCEL
    for magic, what in _REFUSED.items():
        if head.startswith(magic):
            raise InputError(
                f"the file is {what}, not a tape",
                code="SRC-102",
                where=name,
                hint="hand over CSV, Parquet, Excel or newline JSON",
            )
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return FileFormat.JSON
    if b"\x00" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(
            "the file is binary, not a tape",
            code="SRC-102",
            where=name,
            hint="hand over CSV, Parquet, Excel or newline JSON",
        )
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise InputError(
            "the file is a web page or XML, not a tape",
            code="SRC-102",
            where=name,
            hint="the download may have failed: open it in a browser to see why",
        )
    return FileFormat.CSV
