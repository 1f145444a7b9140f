"""Type cells of one column through a real engine: texts in; value, rounding and reasons out."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlglot import exp

from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.tape import cells
from abaco_loans.tape.contract import Column, Kind, Rule, Table
from abaco_loans.tape.mapping import Field, Formats, TableMapping
from abaco_loans.tape.staged import StagedFile, TextFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What became of one cell; ``value`` is None for an empty or refused one."""

    value: Any
    rounded: bool
    issues: tuple[tuple[str, str, str], ...]

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(code for code, _, _ in self.issues)


class TypingBench:
    """One engine that types table after table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = DuckDB(scratch=folder, folders=[], memory_mb=500, threads=1)
        self.used = False

    def column(
        self,
        texts: Sequence[str],
        column: Column,
        *,
        field: Field | None = None,
        formats: Formats | None = None,
        masked: bool = False,
    ) -> list[Typed]:
        """Each text as a cell of ``column`` (its name must be ``it``)."""
        fields = {"n": Field(source="n"), "it": field or Field(source="it")}
        table = Table(name="t", columns=(Column(name="n", kind=Kind.INTEGER), column))
        rows = [(str(number), text) for number, text in enumerate(texts)]
        found = self.table(rows, ("n", fields["it"].source), table, fields, formats, ["it"] if masked else [])
        return [Typed(value=row[1], rounded=bool(rounded), issues=issues) for row, rounded, issues in found]

    def table(
        self,
        rows: Sequence[Sequence[str]],
        header: tuple[str, ...],
        table: Table,
        fields: dict[str, Field],
        formats: Formats | None = None,
        masked: Sequence[str] = (),
    ) -> list[tuple[tuple[Any, ...], int | None, tuple[tuple[str, str, str], ...]]]:
        """(values, rounded cells, issues) of each row."""
        path = self.folder / "cells.csv"
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
        staged = StagedFile(
            name="cells.csv", path=str(path), format=TextFormat.CSV, sha256="", size_bytes=0, header=header
        )
        mapping = TableMapping(table="t", fields=fields, formats=formats or Formats())
        if self.used:
            self.engine.execute(exp.Drop(tables=[exp.to_table("typed")], kind="TABLE"))
        self.used = True
        assert self.engine.load("typed", staged, cells.typed_query(table, mapping)) == len(rows)
        names = [column.name for column in table.columns]
        listed = self.engine.rows(cells.issues_query(table, mapping, "typed", masked))
        issues = {row: tuple(tuple(item) for item in found if item) for row, found in listed}
        columns = [exp.column(name, quoted=True) for name in names]
        values = self.engine.rows(exp.select("rowid", "_rounded", "_raw", *columns).from_("typed").order_by("rowid"))
        for number, _, raw, *_ in values:
            assert (raw is None) is (number not in issues), "a faulty row must say why, and only that"
        return [(tuple(row[3:]), row[1], issues.get(row[0], ())) for row in values]


def rule(code: str, expression: str) -> Rule:
    from abaco_loans.tape.contract import Severity

    return Rule(code=code, name=code, expression=expression, severity=Severity.ERROR)
