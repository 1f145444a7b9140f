"""Look through an Excel workbook before a reader opens it: how far it unpacks, how far its sheets reach.

A reader of workbooks unpacks members without a limit, whatever size they state, and holds a sheet as a full
rectangle: one cell at XFD1048576 asks it for half a terabyte, and the process dies. So both are measured first.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator

from abaco_loans.errors import InputError

_CHUNK = 1 << 20
_OVERLAP = 64
_ANY_SIZE = 1 << 62
_CELL = re.compile(rb"""\br\s*=\s*["']([A-Z]{1,3})([0-9]{1,7})["']""")
_AREA_FREE = 5_000_000
_AREA_PER_CELL = 20


def is_workbook(names: set[str]) -> bool:
    """Whether an archive with these members is an Excel workbook (.xlsx, .xlsm)."""
    return "xl/workbook.xml" in names


def check_workbook(archive: zipfile.ZipFile, limit: int, name: str) -> None:
    """Refuse a workbook that unpacks to more than ``limit`` bytes, or has a sheet too wide for its few cells.

    Raises:
        InputError: ``SRC-105``.
    """
    unpacked = 0
    for member in archive.infolist():
        is_sheet = member.filename.startswith("xl/worksheets/")
        cells, rows, columns, tail = 0, 0, 0, b""
        for chunk in _truly(archive, member):
            unpacked += len(chunk)
            if unpacked > limit:
                raise InputError(
                    "the compressed file expands far beyond what a tape does",
                    code="SRC-105",
                    where=name,
                    hint="if it is genuine, save it as CSV and hand that over",
                )
            if is_sheet:
                found = _CELL.findall(tail + chunk)
                cells += len(found)
                rows = max(rows, max((int(row) for _, row in found), default=0))
                columns = max(columns, max((_number(column) for column in {column for column, _ in found}), default=0))
                tail = chunk[-_OVERLAP:]
        if rows * columns > max(_AREA_FREE, _AREA_PER_CELL * cells):
            raise InputError(
                f"a sheet reaches over {rows} rows and {columns} columns, and is all but empty",
                code="SRC-105",
                where=name,
                hint="delete the stray cells far right or far down, or save the sheet as CSV",
            )


def _truly(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """What a member really unpacks to, not what it says it does."""
    member.file_size = _ANY_SIZE
    with archive.open(member) as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _number(column: bytes) -> int:
    number = 0
    for letter in column:
        number = number * 26 + letter - 64
    return number
