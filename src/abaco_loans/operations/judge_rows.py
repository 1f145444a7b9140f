"""Judge the typed rows of one file: which are accepted, which are duplicates, which are quarantined and why.

Invariant, for every file: rows in = accepted + quarantined + duplicates.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from abaco_loans.engines.base import Engine
from abaco_loans.tape import cells, faults, reasons, rows
from abaco_loans.tape.contract import Contract, Table
from abaco_loans.tape.mapping import TableMapping
from abaco_loans.tape.masking import MaskingKey, mask_table
from abaco_loans.tape.memory import remembered
from abaco_loans.tape.staged import StagedFile, TextFormat
from abaco_loans.tape.tree import counting, created, exp, later


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something unusual that refuses nothing. ``amount`` is what it is worth, where that can be said."""

    code: str
    text: str
    count: int
    amount: Decimal | None = None

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "code": self.code,
            "text": self.text,
            "count": self.count,
            "amount": None if self.amount is None else format(self.amount, "f"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How many rows of a file were refused for one reason in one column."""

    table: str
    file: str
    column: str
    code: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """One file of the tape and where its rows went. Amounts are in the contract's measure, None if unmeasured."""

    table: str
    name: str
    sha256: str
    rows_in: int
    accepted: int
    quarantined: int
    duplicates: int
    present: tuple[str, ...]
    refused: str
    accepted_relation: str
    unreadable_lines: int = 0
    amount_accepted: Decimal | None = None
    amount_quarantined: Decimal | None = None
    unmeasured: int = 0
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RowJudge:
    """Judges the relation ``typed_<table>``, which `tape.cells` made from a file.

    Leaves in the engine the views ``accepted_<table>`` (masked) and ``refused_<table>`` and, where there are
    faults, the table ``issues_<table>`` (of the view ``faults_<table>``, where cells are at fault).
    """

    table: Table
    mapping: TableMapping
    contract: Contract
    staged: StagedFile
    engine: Engine
    key: MaskingKey
    scratch: Path

    @property
    def present(self) -> tuple[str, ...]:
        """The contract's columns that the file has."""
        return tuple(name for name in self.table.column_names if name in self.mapping.fields)

    def judge(self, count: int) -> tuple[FileReport, list[Warned]]:
        """Judge the ``count`` rows of the relation, and account for every one."""
        name = self.table.name
        left_out, warned = self._duplicates()
        bad, rounded = self._first(later(rows.unreadable_query, self._relation("typed")))
        duplicates, conflicts = self._left_out_counts(left_out)
        self._make_views(left_out)
        if rounded:
            warned.append(self._warned("WARN-101", int(rounded)))
        warned += self._rule_warnings()
        lines = len(self.staged.refused)
        refusals = self._list_issues(left_out, bad=int(bad), conflicts=conflicts)
        amount_accepted, amount_quarantined, unmeasured = self._amounts(int(bad) + conflicts)
        report = FileReport(
            table=name,
            name=self.staged.name,
            sha256=self.staged.sha256,
            rows_in=count + lines,
            accepted=count - int(bad) - conflicts - duplicates,
            quarantined=int(bad) + conflicts + lines,
            duplicates=duplicates,
            present=self.present,
            refused=self._relation("refused"),
            accepted_relation=self._relation("accepted"),
            unreadable_lines=lines,
            amount_accepted=amount_accepted,
            amount_quarantined=amount_quarantined,
            unmeasured=unmeasured + lines,
            refusals=tuple(refusals),
        )
        return report, warned

    def _relation(self, kind: str) -> str:
        return f"{kind}_{self.table.name}"

    def _first(self, query: exp.Expr) -> tuple[Any, ...]:
        return self.engine.rows(query)[0]

    def _create(self, kind: str, name: str, query: exp.Expr) -> str:
        self.engine.execute(later(created, name, kind, query))
        return name

    def _duplicates(self) -> tuple[str | None, list[Warned]]:
        """The relation of rows that are left out as duplicates or in conflict, if there are any."""
        table, typed, present = self.table, self._relation("typed"), self.present
        key = rows.present_key(table, present)
        parts: list[exp.Select] = []
        warned: list[Warned] = []
        if key:
            keys = self._create("TABLE", self._relation("keys"), later(rows.repeated_keys_query, typed, key))
            if self._first(later(counting, keys))[0]:
                parts.append(rows.keyed_verdicts_query(typed, keys, key, present))
        whole = not key or table.column(key[0]).nullable
        extra = int(self._first(later(rows.repeated_rows_query, typed, present, key))[0]) if whole else 0
        if extra and table.repeats:
            warned.append(self._warned("WARN-102", extra))
        elif extra:
            parts.append(rows.whole_row_verdicts_query(typed, present, key))
            warned.append(self._warned("WARN-103", extra))
        if not parts:
            return None, warned
        both = parts[0] if len(parts) == 1 else exp.union(*parts, distinct=False)
        return self._create("TABLE", self._relation("left_out"), both), warned

    def _warned(self, code: str, count: int) -> Warned:
        return Warned(code=code, count=count, text=f"{self.staged.name}: {reasons.WARNINGS[code]}")

    def _left_out_counts(self, left_out: str | None) -> tuple[int, int]:
        """How many rows are duplicates, and how many in conflict."""
        if left_out is None:
            return 0, 0
        found = self.engine.rows(later(rows.verdicts_query, left_out))
        counts = {str(verdict): int(number) for verdict, number in found}
        return counts.get(rows.DUPLICATE, 0), counts.get(rows.CONFLICT, 0)

    def _make_views(self, left_out: str | None) -> None:
        typed = self._relation("typed")
        masks = {
            column: self._create("TABLE", f"mask_{self.table.name}_{column}", mask_table(typed, column, self.key))
            for column in self.contract.masked_columns(self.table)
            if column in self.present
        }
        accepted = later(rows.accepted_query, typed, self.present, left_out, masks)
        self._create("VIEW", self._relation("accepted"), accepted)
        self._create("VIEW", self._relation("refused"), later(rows.refused_query, typed, self.present, left_out))

    def _rule_warnings(self) -> list[Warned]:
        codes = remembered(rows.warning_codes, self.table, self.present)
        if not codes:
            return []
        counts = self._first(later(rows.broken_query, self.table, self.present, self._relation("accepted")))
        texts = {rule.code: rule.description for rule in self.table.rules}
        return [
            Warned(code=code, count=int(count), text=f"{self.staged.name}: not so: {texts[code].removesuffix('.')}")
            for code, count in zip(codes, counts, strict=True)
            if count
        ]

    def _list_issues(self, left_out: str | None, *, bad: int, conflicts: int) -> list[Refusal]:
        """Make ``issues_<table>`` where there are faults, and count them by column and code."""
        typed = self._relation("typed")
        parts: list[exp.Select] = []
        if bad:
            # A view: what it is made of is the same for every tape of the layout, the file's name is not.
            masked = self.contract.masked_columns(self.table)
            listed = later(cells.issues_query, self.table, self.mapping, typed, masked)
            faulty = self._create("VIEW", self._relation("faults"), later(faults.each_issue_query, listed))
            parts.append(exp.select("*").from_(faulty))
        if conflicts and left_out:
            parts.append(faults.conflicts_query(typed, left_out, rows.present_key(self.table, self.present)))
        queries = [faults.located_query(part, typed, self.staged) for part in parts]
        if self.staged.refused:
            queries.append(faults.refused_lines_query(self._load_refused_lines(), self.staged))
        if not queries:
            return []
        everything = queries[0] if len(queries) == 1 else exp.union(*queries, distinct=False)
        relation = self._create("TABLE", self._relation("issues"), everything)
        return [
            Refusal(table=self.table.name, file=self.staged.name, column=column or "", code=code, rows=int(number))
            for column, code, number in self.engine.rows(faults.counts_query(relation))
        ]

    def _load_refused_lines(self) -> str:
        """The lines that are no rows, as a relation; there may be very many."""
        relation = self._relation("lines")
        path = self.scratch / f"{relation}.csv"
        header = ("line", "code", "detail")
        with path.open("x", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(header)
            writer.writerows((item.line, item.code, item.detail) for item in self.staged.refused)
        listing = StagedFile(
            name=self.staged.name, path=str(path), format=TextFormat.CSV, sha256="", size_bytes=0, header=header
        )
        line = exp.alias_(exp.cast(exp.column("line"), "BIGINT"), "line")
        self.engine.load(relation, listing, exp.select(line, "code", "detail").from_("source"))
        return relation

    def _amounts(self, refused_rows: int) -> tuple[Decimal | None, Decimal | None, int]:
        """What is accepted and what is quarantined is worth, and how many rows cannot be measured."""
        if not remembered(rows.has_amount, self.table, self.present):
            return None, None, 0
        total = later(rows.total_query, self.table, self.present, self._relation("accepted"))
        accepted = Decimal(self._first(total)[0])
        if not refused_rows:
            return accepted, Decimal(0), 0
        relations = self._relation("refused"), self._relation("issues")
        refused, number = self._first(later(rows.measured_query, self.table, self.present, *relations))
        return accepted, Decimal(refused), int(number or 0)


def over_limit(report: FileReport, contract: Contract) -> str:
    """Why the quarantined share of a file is over the contract's limit; empty when it is under."""
    if not report.quarantined:
        return ""
    if Decimal(report.quarantined) > contract.limit_rows * report.rows_in:
        return f"{report.quarantined} of {report.rows_in} rows ({_percent(report.quarantined, report.rows_in)})"
    if report.unmeasured > contract.limit_unmeasured:
        return (
            f"the amount of {report.unmeasured} quarantined row(s) cannot be measured, which counts as over"
            " (limitUnmeasured in the contract)"
        )
    if report.amount_quarantined and report.amount_accepted is not None:
        total = report.amount_accepted + report.amount_quarantined
        if report.amount_quarantined > contract.limit_amount * total:
            return f"{_percent(report.amount_quarantined, total)} of the amount"
    return ""


def _percent(part: Decimal | int, whole: Decimal | int) -> str:
    return f"{Decimal(part) * 100 / Decimal(whole):.1f} %"
