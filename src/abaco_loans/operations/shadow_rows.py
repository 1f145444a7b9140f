"""The loan rows that the sides of a shadow run gave, as relations of the engine that a bridge can read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InputError
from abaco_loans.operations.bridge_stations import LoanRows
from abaco_loans.releases import command
from abaco_loans.sources.plain import ReadOptions, as_staged
from abaco_loans.sources.stage import stage
from abaco_loans.tape.calculation import BY_DAYS, COLUMNS, finished
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.template import expression, filled
from abaco_loans.tape.tree import created

# A program's loan rows, read as a loan snapshot: its column here and the type it is read as. Customers are left out:
# a program names them as the tape does, and our own rows hold them masked.
_READ = {
    "loan_id": ("loan_id", "VARCHAR"),
    "outstanding": ("outstanding_principal", "DECIMAL(18,4)"),
    "days_past_due": ("days_past_due", "BIGINT"),
    "written_off": ("written_off", "BOOLEAN"),
    "written_off_balance": ("written_off_balance", "DECIMAL(18,4)"),
}
_TEXT = "SELECT NULLIF(TRIM(CAST(:column AS VARCHAR)), '')"
_STATE = """
SELECT loan_id, days_past_due, days_past_due AS risk_days,
       CASE WHEN written_off THEN 0 ELSE outstanding_principal END AS outstanding_usd,
       CASE WHEN written_off THEN COALESCE(written_off_balance, outstanding_principal) ELSE 0 END AS written_off_usd
"""
_WRONG = "SELECT COUNT(*) FILTER (WHERE :written IS NOT NULL AND :read IS NULL)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A column that a program wrote, as text and as what it is."""

    name: str
    text: exp.Expr
    typed: exp.Expr


def engine_rows(engine: Engine, path: Path, columns: Sequence[str], relation: str) -> LoanRows:
    """The rows of a catalogue release's own process."""
    engine.open(relation, [path])
    return LoanRows(relation=relation, columns=tuple(columns))


def program_rows(
    engine: Engine,
    path: Path,
    described: command.LoanRows,
    *,
    definition: Definition,
    relation: str,
    scratch: Path,
) -> LoanRows:
    """The rows that a program wrote to ``{loans_out}``, as a calculation table.

    Its balances, days and write-offs are its own; of the definition only the boundary is applied, which puts a balance
    into its bucket. A column without any value is one that it does not have.

    Raises:
        InputError: ``SHD-103`` a column is missing, or a value cannot be read; or what the file itself does wrong.
    """
    with_typed = f"{relation}_written"
    scratch.mkdir(mode=0o700)
    raw = stage(path, scratch)
    staged = as_staged(raw, ReadOptions())
    header = staged.header or engine.columns(staged)
    wanted = {ours: its for ours, its in described.columns.items() if ours in _READ}
    missing = [its for its in wanted.values() if its not in header]
    if missing:
        raise _unusable(f"the loan rows have no column {missing[0]!r}", described.format)
    found = [_column(ours, wanted.get(ours)) for ours in _READ]
    everything = [exp.alias_(item.text, f"text_{item.name}") for item in found]
    everything += [exp.alias_(item.typed, item.name) for item in found]
    engine.load(with_typed, staged, exp.select(*everything).from_("source"))
    _all_read(engine, with_typed, found, described.format)
    present = [item.name for item in found if _has_values(engine, with_typed, item.name)]
    absent = dict.fromkeys((name for name in COLUMNS if name not in _said(present)), "the loan rows lack it")
    state = filled(_STATE).from_(exp.to_table(with_typed))
    calculation = finished(state, definition, absent, "the loan rows lack it")
    engine.execute(created(relation, "TABLE", calculation.query))
    return LoanRows(relation=relation, columns=calculation.columns)


def _said(present: Collection[str]) -> set[str]:
    """The columns of the calculation table that a program's rows say."""
    found = {"loan_id", "total_receivable_usd", "outstanding_usd"}
    if "days_past_due" in present:
        found |= {*BY_DAYS, "days_past_due"}
    if "written_off" in present:
        found.add("written_off_usd")
    return found


def _column(ours: str, its: str | None) -> _Column:
    name, kind = _READ[ours]
    text = expression(_TEXT, column=exp.column(its, quoted=True) if its else exp.null())
    return _Column(name=name, text=text, typed=exp.TryCast(this=text.copy(), to=exp.DataType.build(kind)))


def _all_read(engine: Engine, relation: str, columns: Sequence[_Column], file: str) -> None:
    counts = [
        expression(_WRONG, written=exp.column(f"text_{item.name}"), read=exp.column(item.name)) for item in columns
    ]
    row = engine.rows(exp.select(*counts).from_(relation))[0]
    for item, count in zip(columns, row, strict=True):
        if count:
            raise _unusable(f"{count} value(s) of {item.name} in the loan rows cannot be read", file)


def _unusable(what: str, file: str) -> InputError:
    return InputError(
        what,
        code="SHD-103",
        where=f"{{loans_out}} ({file})",
        hint="plain numbers, days as whole numbers, true or false; describe the columns in release.yml",
    )


def _has_values(engine: Engine, relation: str, name: str) -> bool:
    return bool(engine.rows(exp.select(exp.Count(this=exp.column(name))).from_(relation))[0][0])
