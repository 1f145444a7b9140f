"""A mapping takes a source's own column names, units, formats and codes to the contract."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field
from enum import StrEnum


class Unit(StrEnum):
    """In what unit the source writes a rate."""

    AS_IS = "as_is"
    PERCENT = "percent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Where a contract column comes from. ``codes`` takes the source's codes to ours; others are refused."""

    source: str
    unit: Unit = Unit.AS_IS
    codes: MappingType[str, str] = field(default_factory=dict)
    date_format: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """How the source writes numbers and dates. ``date`` is ``iso`` or a strptime pattern."""

    decimal: str = "."
    thousands: str = ""
    date: str = "iso"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMapping:
    """The mapping of one file: contract column → field of the source. ``file`` is its name without folder."""

    table: str
    fields: MappingType[str, Field]
    formats: Formats = field(default_factory=Formats)
    file: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    sheet: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A column that a tape was to have and has not: the name it was looked for by, and one there that is like it."""

    table: str
    column: str
    source: str
    like: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """How one source's tapes of one layout are read.

    Of the mapping that is chosen for a tape: ``unread``, columns that the tape was to have and has not, and
    ``rivals``, the names of other mappings that read as many.
    """

    name: str
    layout: str
    tables: tuple[TableMapping, ...]
    description: str = ""
    source_name: str = ""
    unread: tuple[Unread, ...] = ()
    rivals: tuple[str, ...] = ()

    def table(self, name: str) -> TableMapping | None:
        """The mapping of that table, if the source has it."""
        return next((table for table in self.tables if table.table == name), None)
