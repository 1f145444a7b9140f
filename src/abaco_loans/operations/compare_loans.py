"""Two releases' loan rows side by side, on the engine: which loans differ, in which columns, by how much.

A loan that has one row on each side is compared value by value. One that has several rows somewhere is compared by all
its rows in sorted order, so nothing hides behind equal sums. Such loans are told apart first, so that the many
others need no grouping. Only counts, sums and the loans on top come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InvariantError
from abaco_loans.kpi.result import text_of
from abaco_loans.operations.bridge_rows import JOINED, LOAN_ID
from abaco_loans.operations.bridge_stations import LoanRows, typed
from abaco_loans.tape.calculation import COLUMNS, kind_of
from abaco_loans.tape.contract import Kind
from abaco_loans.tape.template import expression, filled, number_node
from abaco_loans.tape.tree import created, exp

_DIFFERING = "compared_differing"
_REPEATED = "compared_repeated"
# They hold the sum of any rows, whatever the values.
_SUMS = {Kind.DECIMAL: "DECIMAL(38,4)", Kind.INTEGER: "DECIMAL(38,0)"}

_COUNTS = """
WITH given AS (:rows), loans AS (SELECT COUNT(*) AS row_count FROM given GROUP BY loan_id)
SELECT COUNT(*), COUNT(CASE WHEN row_count > 1 THEN 1 END) FROM loans
"""
_TWICE = """
WITH o AS (:old), n AS (:new), twice AS (
  SELECT loan_id FROM o GROUP BY loan_id HAVING COUNT(*) > 1
  UNION SELECT loan_id FROM n GROUP BY loan_id HAVING COUNT(*) > 1
)
SELECT loan_id FROM twice
"""
_IS_REPEATED = """
SELECT EXISTS (SELECT 1 FROM compared_repeated AS r WHERE r.loan_id IS NOT DISTINCT FROM given.loan_id)
"""
_IN_BOTH = "SELECT o.row_count IS NOT NULL AND n.row_count IS NOT NULL"
_SIDES = """
SELECT COUNT(CASE WHEN rows_new = 0 THEN 1 END), COUNT(CASE WHEN rows_old = 0 THEN 1 END),
       COUNT(CASE WHEN rows_old > 0 AND rows_new > 0 THEN 1 END)
FROM compared_differing
"""
_COLUMN = "SELECT COUNT(CASE WHEN :differs THEN 1 END), COALESCE(SUM(CASE WHEN :differs THEN :move END), 0)"
_TOP = "SELECT loan_id, :move FROM compared_differing WHERE :differs ORDER BY ABS(:move) DESC, loan_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanDifference:
    """What a loan has more in the candidate; None for a text. ``loan_id`` is empty where the rows have none."""

    loan_id: str
    difference: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnComparison:
    """A column over the loans that both sides have.

    Attributes:
        column: of the calculation table.
        loans: how many differ in it; NULL against a value differs.
        difference: candidate less baseline over these loans; None for a text.
        top: the first of these loans, by absolute difference and then by id; texts by id.
    """

    column: str
    loans: int
    difference: Decimal | None
    top: tuple[LoanDifference, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """JSON-ready; numbers are text."""
        largest, loan = None, None
        if self.top and self.top[0].difference is not None:
            largest, loan = self.top[0].difference.copy_abs(), self.top[0].loan_id
        return {
            "column": self.column,
            "loans": self.loans,
            "difference": text_of(self.difference),
            "largest": text_of(largest),
            "largest_loan": loan,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanComparison:
    """Loans of two releases.

    Attributes:
        both: loans that both have.
        only_baseline: loans without a row in the candidate.
        only_candidate: loans without a row in the baseline.
        duplicates_baseline: loans with several rows in the baseline.
        duplicates_candidate: loans with several rows in the candidate.
        differing: loans of ``both`` that differ in a value or in their number of rows.
        columns: those that both have, in the order of the calculation table.
    """

    both: int
    only_baseline: int
    only_candidate: int
    duplicates_baseline: int
    duplicates_candidate: int
    differing: int
    columns: tuple[ColumnComparison, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.only_baseline or self.only_candidate or self.differing)

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "both": self.both,
            "only_baseline": self.only_baseline,
            "only_candidate": self.only_candidate,
            "duplicates_baseline": self.duplicates_baseline,
            "duplicates_candidate": self.duplicates_candidate,
            "differing": self.differing,
            "columns": [item.as_dict() for item in self.columns],
        }


def compare_loans(engine: Engine, baseline: LoanRows, candidate: LoanRows, *, listed: int = 10) -> LoanComparison:
    """Compare loan by loan what two releases gave.

    Args:
        engine: holds both relations.
        baseline: the rows to come from.
        candidate: the rows to come to.
        listed: how many loans to list of each column, at least one.
    """
    if LOAN_ID not in baseline.columns or LOAN_ID not in candidate.columns:
        raise InvariantError("rows without a loan_id are not compared by loan")
    shared = [name for name in COLUMNS if name in baseline.columns and name in candidate.columns and name != LOAN_ID]
    old, new = (typed(rows, [LOAN_ID]) for rows in (baseline, candidate))
    (loans, repeated_old), (_, repeated_new) = (engine.rows(filled(_COUNTS, rows=side))[0] for side in (old, new))
    sides = [typed(rows, [LOAN_ID, *shared]) for rows in (baseline, candidate)]
    if repeated_old or repeated_new:
        engine.execute(created(_REPEATED, "TABLE", filled(_TWICE, old=old, new=new), replace=True))
        parts = [
            _differing([_by_loan(_kept(side, repeated), shared, repeated) for side in sides], shared, repeated)
            for repeated in (False, True)
        ]
        engine.execute(created(_DIFFERING, "TABLE", exp.union(*parts, distinct=False, copy=False), replace=True))
    else:
        query = _differing([_by_loan(side, shared, False) for side in sides], shared, False)
        engine.execute(created(_DIFFERING, "TABLE", query, replace=True))
    only_baseline, only_candidate, differing = engine.rows(filled(_SIDES))[0]
    columns = _columns(engine, shared, max(listed, 1))
    for table in (_DIFFERING, _REPEATED):
        engine.execute(exp.Drop(tables=[exp.to_table(table)], kind="TABLE", exists=True))
    return LoanComparison(
        both=loans - only_baseline,
        only_baseline=only_baseline,
        only_candidate=only_candidate,
        duplicates_baseline=repeated_old,
        duplicates_candidate=repeated_new,
        differing=differing,
        columns=columns,
    )


def _kept(side: exp.Select, repeated: bool) -> exp.Select:
    """The rows of the loans that have several rows on either side, or of the others."""
    condition = expression(_IS_REPEATED)
    query = exp.select("*").from_(side.subquery("given"), copy=False)
    return query.where(condition if repeated else exp.not_(condition), copy=False)


def _by_loan(side: exp.Select, shared: Sequence[str], repeated: bool) -> exp.Select:
    """One row a loan: by column its value (``v_``); of several rows their values in order, and their sum (``sum_``).

    The rows as wholes in order come too: the same values may be paired otherwise.
    """
    items: dict[str, exp.Expr] = {"row_count": exp.Count(this=exp.Star()) if repeated else number_node(1)}
    for index, name in enumerate(shared):
        items[f"v_{index}"] = _sorted(_column(name)) if repeated else _column(name)
        if repeated and kind_of(name) in _SUMS:
            items[f"sum_{index}"] = exp.Sum(this=exp.cast(_column(name), _sum_type(name), copy=False))
    if repeated:
        items["whole"] = _sorted(exp.Tuple(expressions=[_column(name) for name in (LOAN_ID, *shared)]))
    query = exp.select(LOAN_ID, *(exp.alias_(node, name, copy=False) for name, node in items.items()), copy=False)
    query.from_(side.subquery("rows_of_loans"), copy=False)
    return query.group_by(LOAN_ID, copy=False) if repeated else query


def _sorted(node: exp.Expr) -> exp.Expr:
    return exp.ArrayAgg(this=exp.Order(this=node, expressions=[exp.Ordered(this=node.copy())]))


def _differing(sides: Sequence[exp.Select], shared: Sequence[str], repeated: bool) -> exp.Select:
    """The loans that differ: their rows on either side, by column whether (``is_``) and by how much (``by_``)."""
    names = [f"v_{index}" for index in range(len(shared))]
    numbers = [index for index, name in enumerate(shared) if kind_of(name) in _SUMS]
    amounts = {index: f"sum_{index}" if repeated else names[index] for index in numbers}
    compared = [*names, "whole"] if repeated else names
    ends = [(side, name) for name in dict.fromkeys((*compared, *amounts.values())) for side in "on"]
    joined = filled(JOINED, old=sides[0], new=sides[1]).select(
        exp.alias_(expression(_IN_BOTH), "in_both"),
        *(exp.alias_(exp.column(name, table=side), f"{side}_{name}", copy=False) for side, name in ends),
        copy=False,
    )
    differs = {
        name: exp.and_(
            exp.column("in_both"), exp.NullSafeNEQ(this=exp.column(f"o_{name}"), expression=exp.column(f"n_{name}"))
        )
        for name in compared
    }
    items: list[exp.Expr] = [exp.alias_(differs[name], f"is_{index}") for index, name in enumerate(names)]
    for index, name in amounts.items():
        old, new = (
            exp.func("COALESCE", exp.cast(exp.column(f"{side}_{name}"), _sum_type(shared[index])), number_node(0))
            for side in "on"
        )
        items.append(exp.alias_(exp.Sub(this=new, expression=old), f"by_{index}", copy=False))
    query = exp.select(LOAN_ID, "rows_old", "rows_new", *items, copy=False)
    query.from_(joined.subquery("joined", copy=False), copy=False)
    return query.where(exp.or_(exp.column("rows_old").neq(exp.column("rows_new")), *differs.values()), copy=False)


def _columns(engine: Engine, shared: Sequence[str], listed: int) -> tuple[ColumnComparison, ...]:
    """Every column over the loans that differ."""
    flags = [exp.column(f"is_{index}") for index in range(len(shared))]
    moves = [exp.column(f"by_{index}") if kind_of(name) in _SUMS else exp.null() for index, name in enumerate(shared)]
    if not shared:
        return ()
    both = [filled(_COLUMN, differs=flag, move=move).expressions for flag, move in zip(flags, moves, strict=True)]
    row = engine.rows(exp.select(*(item for pair in both for item in pair), copy=False).from_(_DIFFERING))[0]
    found = []
    for name, flag, move, count, total in zip(shared, flags, moves, row[::2], row[1::2], strict=True):
        lines = engine.rows(filled(_TOP, differs=flag, move=move).limit(listed)) if count else []
        found.append(
            ColumnComparison(
                column=name,
                loans=count,
                difference=total if kind_of(name) in _SUMS else None,
                top=tuple(LoanDifference(loan_id=loan_id or "", difference=by) for loan_id, by in lines),
            )
        )
    return tuple(found)


def _sum_type(name: str) -> str:
    return "DECIMAL(38,6)" if name == "interest_rate" else _SUMS[kind_of(name)]


def _column(name: str) -> exp.Column:
    return exp.column(name, quoted=True)
