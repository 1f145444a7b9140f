"""The contract of a tape: tables, columns, keys, rules and how much may be refused.

Contracts are written in the format of the Open Data Contract Standard v3.1 (see ``contract_file``);
this module holds what the rest of the code works with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Kind(StrEnum):
    """The type of a column."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DATE = "date"
    BOOLEAN = "boolean"


class Severity(StrEnum):
    """What a broken rule does to its row."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table.

    ``required``: the tape must have the column. ``nullable``: a cell may be empty. ``minimum`` and
    ``maximum`` are inclusive, written as in the contract (a number or an ISO date). ``within`` names the
    column that this amount is a part of: an unreadable part lies between 0 and it.
    """

    name: str
    kind: Kind
    description: str = ""
    required: bool = False
    nullable: bool = True
    scale: int = 4
    pii: bool = False
    dimension: bool = False
    minimum: str | None = None
    maximum: str | None = None
    length_max: int = 500
    within: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A condition over the columns of one row that must hold; ``expression`` is SQL, unknown counts as holding."""

    code: str
    name: str
    expression: str
    severity: Severity
    description: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One file of a tape. ``key`` is empty where rows have no identity; ``amount`` measures what a row is worth."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    amount: tuple[str, ...] = ()
    optional: bool = False
    repeats: bool = False

    def column(self, name: str) -> Column:
        """The column of that name; KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names in the order of the contract."""
        return tuple(column.name for column in self.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a layout promises.

    ``limit_rows`` and ``limit_amount``: shares from 0 to 1 of rows and of amount that may be quarantined.
    ``limit_unmeasured``: quarantined rows whose amount cannot be measured; one more counts as over.
    ``arrives_every_h``: a tape is expected at least so often, in hours; ``arrives_within_h``: at most so many hours
    after the end of the day that it speaks of. None: nothing is expected.
    """

    layout: str
    version: str
    tables: tuple[Table, ...]
    limit_rows: Decimal
    limit_amount: Decimal
    limit_unmeasured: int = 0
    pii_patterns: tuple[str, ...] = ()
    arrives_every_h: int | None = None
    arrives_within_h: int | None = None
    source_name: str = ""

    def table(self, name: str) -> Table:
        """The table of that name; KeyError when there is none."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    def is_pii(self, column_name: str) -> bool:
        """Whether a column's name alone marks it as personal data."""
        return any(re.search(pattern, column_name, re.IGNORECASE) for pattern in self.pii_patterns)

    def masked_columns(self, table: Table) -> tuple[str, ...]:
        """Columns of the table that are masked: tagged, or with a telling name; keys of the tape never."""
        return tuple(
            column.name
            for column in table.columns
            if column.kind is Kind.TEXT and column.name not in table.key and (column.pii or self.is_pii(column.name))
        )
