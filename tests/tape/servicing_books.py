"""Small servicing books: loaded into a real engine, and read back through `panel_query`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from sqlglot import exp

from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.operations.rebuild import is_foreign, make_facts
from abaco_loans.portfolio.calculation import panel_calculation
from abaco_loans.portfolio.panel import PANEL, PanelSource, panel_of
from abaco_loans.tape import servicing
from abaco_loans.tape.calculation import month_end_before
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.panel import FACTS, LOANS
from abaco_loans.tape.staged import StagedFile, TextFormat
from abaco_loans.tape.template import date_node, filled
from tests.tape.servicing_reference import Loan, Rates, State

_MONEY = ("principal", "interest", "fees", "taxes", "other", "penalties", "add_balance", "reduce_balance")
_LOANS = ("loan_id", "disbursement_date", "disbursed_principal", "currency", "frequency", "written_off_date")
_COLUMNS: dict[str, tuple[str, ...]] = {
    "loans": (*_LOANS, "restructured_date"),
    "schedules": ("loan_id", "due_date", "valid_from", *_MONEY[:5]),
    "transactions": ("loan_id", "type", "date", *_MONEY),
    "rates": ("date", "currency", "rate"),
}
_TYPES = {"rate": "DECIMAL(18,8)", "disbursed_principal": "DECIMAL(18,4)", "valid_from": "DATE", "date": "DATE"}


class Bench:
    """A real engine and a folder; books are loaded into it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loaded: set[str] = set()
        self.held: tuple[Sequence[Loan], Rates] | None = None
        self.engine = DuckDB(scratch=folder, folders=[folder], memory_mb=500, threads=1)

    def load(self, loans: Sequence[Loan], rates: Rates) -> None:
        """Write the book as text, read it by the engine, make the four normal relations."""
        if (loans, rates) == self.held:
            return
        self.held = (loans, rates)
        tables: dict[str, list[Sequence[object]]] = {
            "loans": [[getattr(loan, name) for name in _COLUMNS["loans"]] for loan in loans],
            "schedules": [
                [loan.loan_id, *(getattr(item, name) for name in _COLUMNS["schedules"][1:])]
                for loan in loans
                for item in loan.schedule
            ],
            "transactions": [
                [loan.loan_id, *(getattr(item, name) for name in _COLUMNS["transactions"][1:])]
                for loan in loans
                for item in loan.moves
            ],
            "rates": [(day, currency, rate) for currency, days in rates.items() for day, rate in days.items()],
        }
        for name, rows in tables.items():
            self._read(name, rows)
        for name, query in _views().items():
            self.engine.execute(exp.Create(this=exp.to_table(name), kind="TABLE", expression=query, replace=True))

    def _read(self, name: str, rows: Iterable[Sequence[object]]) -> None:
        path, columns = self.folder / f"{name}.csv", _COLUMNS[name]
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
        staged = StagedFile(name=name, path=str(path), format=TextFormat.CSV, sha256="", size_bytes=0, header=columns)
        if name in self.loaded:
            self.engine.execute(exp.Drop(tables=[exp.to_table(f"raw_{name}")], kind="TABLE"))
        self.loaded.add(name)
        self.engine.load(f"raw_{name}", staged, _typed(name))

    def panel(self, definition: Definition, dates: Sequence[date]) -> dict[tuple[str, date], State]:
        """What the engine says of every loan and date."""
        before = month_end_before(dates[0])
        self._make(definition, [before, *dates])
        names = [field.name for field in fields(State)]
        asked = (
            exp.select("loan_id", "as_of", *names)
            .from_(PANEL)
            .where(exp.column("as_of").neq(date_node(month_end_before(dates[0]))))
        )
        rows = self.engine.rows(asked)
        found = {(row[0], row[1]): State(**dict(zip(names, row[2:], strict=True))) for row in rows}
        assert len(found) == len(rows), "a loan and date stands twice in the panel"
        return found

    def _make(self, definition: Definition, dates: Sequence[date]) -> None:
        foreign = is_foreign(self.engine, "USD")
        make_facts(self.engine, definition, dates, "USD", foreign=foreign)
        source = PanelSource(facts=FACTS, loans=LOANS, first=None, foreign=foreign, definition=definition)
        self.engine.execute(
            exp.Create(this=exp.to_table(PANEL), kind="VIEW", expression=panel_of(source), replace=True)
        )

    def calculation(self, definition: Definition, day: date) -> dict[str, dict[str, Any]]:
        """The calculation table at a day, by loan."""
        before = month_end_before(day)
        self._make(definition, [before, day])
        made = panel_calculation(_COLUMNS["loans"], definition, [day], [before])
        return {str(row[0]): dict(zip(made.columns, row, strict=True)) for row in self.engine.rows(made.query)}


@cache
def _views() -> dict[str, exp.Select]:
    present = {name: frozenset(columns) for name, columns in _COLUMNS.items()}
    return servicing.normal_views({name: f"raw_{name}" for name in _COLUMNS}, present, "USD")


@cache
def _typed(name: str) -> exp.Select:
    casts = ", ".join(f'CAST("{column}" AS {_type(column)}) AS "{column}"' for column in _COLUMNS[name])
    return filled(f"SELECT {casts} FROM source")


def _type(column: str) -> str:
    if column in _MONEY:
        return "DECIMAL(18,4)"
    return _TYPES.get(column, "DATE" if column.endswith("_date") else "VARCHAR")
