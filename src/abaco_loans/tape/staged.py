"""What a source hands over: a private, hashed, plain copy of one file of a tape."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

LINE_COLUMN = "_line"


class TextFormat(StrEnum):
    """How the private copy is written."""

    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedLine:
    """A line that is no row at all: wrong number of fields, a field too long, not JSON."""

    line: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedFile:
    """One file, ready to be read by an engine.

    ``name``: file name as the user knows it. ``sha256``: of the bytes as they arrived. ``path``: the private
    copy. ``header``: source column names. ``rows_expected``: rows that the copy must give, None where only
    reading can tell. ``has_line_column``: the copy was rewritten, its first column is ``_line``.
    ``header_line``: the line the header stands on in the original.
    """

    name: str
    path: str
    format: TextFormat
    sha256: str
    size_bytes: int
    header: tuple[str, ...]
    delimiter: str = ","
    rows_expected: int | None = None
    has_line_column: bool = False
    refused: tuple[RefusedLine, ...] = field(default_factory=tuple)
