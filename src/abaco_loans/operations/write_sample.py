"""Write a synthetic book to a folder: the three tapes of `abaco sample`."""

from __future__ import annotations

import csv
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from abaco_loans.errors import WorldError
from abaco_loans.sample import layouts
from abaco_loans.sample.conduct import make_book
from abaco_loans.sample.dirt import DirtRules, DirtyRow, Row, Spoiler
from abaco_loans.sample.drafts import exchange_rates, stream
from abaco_loans.sample.spec import SampleSpec

BUCKETED_FILE = "bucketed.csv"
SNAPSHOT_FILE = "snapshot.csv"
LOANS_FILE = "servicing/loans.csv"
SCHEDULES_FILE = "servicing/schedules.csv"
TRANSACTIONS_FILE = "servicing/transactions.csv"
RATES_FILE = "servicing/rates.csv"

_NO_DIRT = DirtRules(main="", numbers=(), required=(), dates=())


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSummary:
    """What was written.

    ``rows`` counts data rows by file, duplicates included. Each loan is open, repaid or written off as of
    ``end``; ``customers`` is how many borrowed. ``dirty`` has one entry a spoiled row, by file and line.
    """

    end: date
    rows: dict[str, int]
    loans: int
    open_loans: int
    repaid_loans: int
    written_off_loans: int
    customers: int
    dirty: tuple[DirtyRow, ...]

    def dirty_by_kind(self) -> dict[str, dict[str, int]]:
        """Spoiled rows by file, then by kind."""
        counts: dict[str, Counter[str]] = {}
        for row in self.dirty:
            counts.setdefault(row.file, Counter())[row.kind.value] += 1
        return {file: dict(sorted(kinds.items())) for file, kinds in counts.items()}


class _Table:
    """One open CSV file: header, then rows, each perhaps spoiled."""

    def __init__(
        self,
        stack: ExitStack,
        folder: Path,
        file: str,
        columns: tuple[str, ...],
        rules: DirtRules,
        spec: SampleSpec,
    ) -> None:
        handle = stack.enter_context((folder / file).open("w", encoding="utf-8", newline=""))
        self._writer = csv.writer(handle, lineterminator="\n")
        self._writer.writerow(columns)
        self._file = file
        share = 0.0 if rules is _NO_DIRT else float(spec.dirty_share)
        self._spoiler = Spoiler(columns, rules, share, stream(spec, f"dirt/{file}")) if share else None
        self._line = 1
        self.dirty: list[DirtyRow] = []

    @property
    def rows(self) -> int:
        """Data rows written so far."""
        return self._line - 1

    def write(self, row: Row) -> None:
        if self._spoiler is None:
            self._line += 1
            self._writer.writerow(row)
            return
        for written, kind, column in self._spoiler.spoil(row):
            self._line += 1
            self._writer.writerow(written)
            if kind is not None:
                self.dirty.append(DirtyRow(file=self._file, line=self._line, column=column, kind=kind))


def write_sample(spec: SampleSpec, folder: Path) -> SampleSummary:
    """Write ``bucketed.csv``, ``snapshot.csv`` and ``servicing/`` into a folder, over an earlier sample.

    The bucketed tape has the open loans of ``spec.end``, the snapshot also the written-off ones (with
    outstanding 0), the servicing extract the whole history. Same spec, same bytes.

    Raises:
        WorldError: ``SAMPLE-201`` when the folder cannot be written.
    """
    try:
        (folder / "servicing").mkdir(parents=True, exist_ok=True)
        (folder / RATES_FILE).unlink(missing_ok=True)
        with ExitStack() as stack:
            return _write(spec, folder, stack)
    except OSError as error:
        raise WorldError(
            f"The sample could not be written: {error.strerror or error}.",
            code="SAMPLE-201",
            where=str(folder),
            hint="choose a folder that you may write to, with enough space",
        ) from error


def _write(spec: SampleSpec, folder: Path, stack: ExitStack) -> SampleSummary:
    def table(file: str, columns: tuple[str, ...], rules: DirtRules = _NO_DIRT) -> _Table:
        return tables.setdefault(file, _Table(stack, folder, file, columns, rules, spec))

    tables: dict[str, _Table] = {}
    bucketed = table(BUCKETED_FILE, layouts.BUCKETED, layouts.BUCKETED_DIRT)
    snapshot = table(SNAPSHOT_FILE, layouts.SNAPSHOT, layouts.SNAPSHOT_DIRT)
    loans = table(LOANS_FILE, layouts.LOANS, layouts.LOANS_DIRT)
    schedules = table(SCHEDULES_FILE, layouts.SCHEDULES)
    transactions = table(TRANSACTIONS_FILE, layouts.TRANSACTIONS, layouts.TRANSACTIONS_DIRT)
    rates = exchange_rates(spec) if spec.currencies == 2 else {}
    if rates:
        sheet = table(RATES_FILE, layouts.RATES)
        for row in layouts.rate_rows(rates):
            sheet.write(row)
    rng = stream(spec, "eligible")
    kinds: Counter[str] = Counter()
    customers: set[str] = set()
    numbered = 1
    for loan in make_book(spec):
        at = layouts.standing(loan, spec.end, rates, rng)
        kinds["written off" if at.state.is_written_off else "repaid" if at.state.is_repaid else "open"] += 1
        customers.add(loan.draft.customer.customer_id)
        if at.state.outstanding:
            bucketed.write(layouts.bucketed_row(at))
        if not at.state.is_repaid:
            snapshot.write(layouts.snapshot_row(at))
        loans.write(layouts.loan_row(loan, at.state))
        for row in layouts.schedule_rows(loan):
            schedules.write(row)
        for row in layouts.transaction_rows(loan, numbered):
            transactions.write(row)
        numbered += len(loan.movements)
    return SampleSummary(
        end=spec.end,
        rows={file: part.rows for file, part in tables.items()},
        loans=spec.loans,
        open_loans=kinds["open"],
        repaid_loans=kinds["repaid"],
        written_off_loans=kinds["written off"],
        customers=len(customers),
        dirty=tuple(mark for part in tables.values() for mark in part.dirty),
    )
