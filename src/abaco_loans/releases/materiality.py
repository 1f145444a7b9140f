"""Materiality: a difference that crosses a line is critical however small it is.

Lines are the thresholds of the catalogue and the covenants (a line is breached at or beyond it), and the stages of
IFRS 9 (DEFINITIONS, "expected credit loss").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from abaco_loans.kpi.catalogue import Direction, Thresholds
from abaco_loans.tape.template import filled, number_node
from abaco_loans.tape.tree import exp

if TYPE_CHECKING:  # its files are read by pydantic, which takes 0.2 s to import
    from abaco_loans.portfolio.policy import Covenant, Provisions


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """What no KPI may cross unseen: thresholds by KPI, and covenants."""

    thresholds: Mapping[str, Thresholds] = field(default_factory=dict)
    covenants: tuple[Covenant, ...] = ()

    def crossed(self, kpi: str, baseline: Decimal, candidate: Decimal, *, whole: bool = True) -> tuple[str, ...]:
        """The lines of which the two values stand on different sides, in words.

        ``whole``: they are of the whole book, and not of a segment, of which covenants say nothing.
        """
        covenants = self.covenants if whole else ()
        lines = [(f"covenant {item.name!r}", item.limit, item.direction) for item in covenants if item.kpi == kpi]
        if found := self.thresholds.get(kpi):
            thresholds = (("warning threshold", found.warning), ("critical threshold", found.critical))
            lines = [*((name, limit, found.direction) for name, limit in thresholds), *lines]
        return tuple(
            f"{name} {limit:f}"
            for name, limit, direction in lines
            if _breached(baseline, limit, direction) != _breached(candidate, limit, direction)
        )


def _breached(value: Decimal, limit: Decimal, direction: Direction) -> bool:
    return value >= limit if direction is Direction.HIGH_IS_BAD else value <= limit


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMove:
    """Loans whose IFRS 9 stage differs: 1, 2, 3, or None where the loan is not staged.

    ``balance_usd``: their outstanding principal on the candidate's side.
    """

    baseline: int | None
    candidate: int | None
    loans: int
    balance_usd: Decimal

    @property
    def words(self) -> str:
        """The move in words."""
        stages = ("not staged" if stage is None else f"stage {stage}" for stage in (self.baseline, self.candidate))
        return f"{self.loans} loan(s) of {self.balance_usd:f} go {' → '.join(stages)}"


_MOVES = """
SELECT b.stage, c.stage, COUNT(*), COALESCE(SUM(c.outstanding_usd), 0)
FROM (SELECT loan_id, :baseline_stage AS stage FROM baseline) b
JOIN (SELECT loan_id, outstanding_usd, :candidate_stage AS stage FROM candidate) c ON c.loan_id = b.loan_id
WHERE b.stage IS DISTINCT FROM c.stage GROUP BY b.stage, c.stage ORDER BY 1 NULLS LAST, 2 NULLS LAST
"""


def stage_moves_query(baseline: str, candidate: str, provisions: Provisions, *, restructured: bool) -> exp.Select:
    """The rows of :class:`StageMove`: loans in both relations whose stage differs.

    Args:
        baseline: relation with ``loan_id, outstanding_usd, days_past_due``, one row a loan.
        candidate: the same of the other side.
        provisions: the days at which stages begin, and whether a restructured loan is of stage 2.
        restructured: whether both relations have the column ``restructured``.
    """
    query = filled(
        _MOVES,
        baseline_stage=_stage(provisions, restructured=restructured),
        candidate_stage=_stage(provisions, restructured=restructured),
    )
    for table in query.find_all(exp.Table):
        table.set("this", exp.to_identifier({"baseline": baseline, "candidate": candidate}[table.name], quoted=True))
    return query


def _stage(provisions: Provisions, *, restructured: bool) -> exp.Expr:
    """The stage of a row: more than so many days past due; none without a balance or without days past due."""
    days = exp.column("days_past_due")
    late: exp.Expr = exp.GT(this=days.copy(), expression=number_node(provisions.stage_2_after_days))
    if restructured and provisions.restructured_is_stage_2:
        late = exp.or_(late, exp.column("restructured"))
    return (
        exp.case()
        .when(exp.or_(exp.Is(this=days.copy(), expression=exp.null()), exp.column("outstanding_usd") <= 0), exp.null())
        .when(exp.GT(this=days, expression=number_node(provisions.stage_3_after_days)), number_node(3))
        .when(late, number_node(2))
        .else_(number_node(1))
    )
