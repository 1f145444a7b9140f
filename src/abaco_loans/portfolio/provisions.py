"""Provisions: expected credit loss by stage, IFRS 9 (DEFINITIONS, "expected credit loss").

ECL = Σ over years of marginal PD × LGD × EAD / (1 + rate)^t. A loan has as many years as it has begun ones left
until maturity, one when it is past it. A loss of year y is discounted by y whole years, but by no more than the
whole years that the loan has left: a loan of 40 days is not discounted, one of exactly three years by 1, 2 and 3.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache

from abaco_loans.portfolio.policy import StageRisk
from abaco_loans.portfolio.view import Asked, Column, Unit, Value, View, keyed, percent, ratio, segment_node
from abaco_loans.tape.template import filled, number_node
from abaco_loans.tape.tree import exp

NOT_STAGED = "not staged"
# Holds amounts of 38 digits times shares of 28 without rounding, so that the order of rows does not matter.
SUM_DIGITS = 100

# A written-off or repaid loan has nothing outstanding. Whole years by calendar: month and day tell the last one.
# A loan in default, or with less than a year left, is not discounted: its rate tells no group apart.
_GROUPS = """
SELECT segment, as_of, stage, product, CASE WHEN whole > 0 THEN rate END AS rate, whole, part, COUNT(*), SUM(ead)
FROM (
  SELECT *, CAST(EXTRACT(YEAR FROM until) - EXTRACT(YEAR FROM as_of) AS INTEGER)
              - CASE WHEN until_day < this_day THEN 1 ELSE 0 END AS whole,
         CASE WHEN until IS NULL THEN NULL WHEN until_day <> this_day THEN 1 ELSE 0 END AS part
  FROM (
    SELECT *, EXTRACT(MONTH FROM until) * 100 + EXTRACT(DAY FROM until) AS until_day,
           EXTRACT(MONTH FROM as_of) * 100 + EXTRACT(DAY FROM as_of) AS this_day
    FROM (
      SELECT *, CASE WHEN stage = 3 THEN NULL WHEN maturity_date < as_of THEN as_of ELSE maturity_date END AS until
      FROM (
        SELECT :segment AS segment, as_of, product, maturity_date, interest_rate AS rate,
               outstanding_principal_reporting AS ead,
               CASE WHEN days_past_due IS NULL THEN NULL WHEN days_past_due > :stage_3 THEN 3
                    WHEN days_past_due > :stage_2 OR (restructured AND :restructured) THEN 2 ELSE 1 END AS stage
        FROM panel WHERE outstanding_principal_reporting > 0
      ) g
    ) h
  ) i
) j
GROUP BY segment, as_of, stage, product, CASE WHEN whole > 0 THEN rate END, whole, part
ORDER BY segment, as_of, stage NULLS LAST
"""


@lru_cache(maxsize=50_000)
def loss_share(
    risk: StageRisk, whole_years: int | None, years: int | None, rate: Decimal | None
) -> tuple[Decimal, Decimal]:
    """PD over the loan's years, and the expected loss as a share of EAD, discounted; both to 28 digits.

    Args:
        risk: of the stage. Beyond its last year nothing is added to the PD.
        whole_years: complete years left: the most that is discounted; None (no maturity, in default): nothing is.
        years: years left, begun ones too; None (no maturity): all that ``risk`` has.
        rate: effective rate, a fraction a year; None or below 0: no discount.
    """
    lived = len(risk.pd) if years is None else min(max(years, 1), len(risk.pd))
    growth = 1 + max(Fraction(rate or 0), Fraction(0))
    loss, before = Fraction(0), Decimal(0)
    for year, cumulative in enumerate(risk.pd[:lived], start=1):
        loss += Fraction(cumulative - before) / growth ** min(year, whole_years or 0)
        before = cumulative
    loss *= Fraction(risk.lgd)
    return before, ratio(loss.numerator, loss.denominator) or Decimal(0)


class _Sums:
    """What is added up of one segment, date and stage."""

    def __init__(self) -> None:
        self.loans = 0
        self.ead = self.pd = self.lgd = self.ecl = Decimal(0)


def _compute(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    policy = asked.policy.provisions
    if policy is None:
        return ()
    query = filled(
        _GROUPS,
        segment=segment_node(asked),
        stage_2=number_node(policy.stage_2_after_days),
        stage_3=number_node(policy.stage_3_after_days),
        restructured=exp.true() if policy.restructured_is_stage_2 else exp.false(),
    )
    found: dict[tuple[str, date, int | None], _Sums] = defaultdict(_Sums)
    with localcontext() as context:
        context.prec = SUM_DIGITS
        for segment, as_of, stage, product, rate, whole, part, loans, ead in asked.rows(query):
            sums = found[segment, as_of, stage]
            sums.loans += loans
            sums.ead += ead
            if stage is None:
                continue
            risk = policy.table(product).of(stage)
            pd, share = loss_share(risk, whole, None if whole is None else whole + part, rate)
            sums.pd += pd * ead
            sums.lgd += risk.lgd * ead
            sums.ecl += share * ead
    return tuple(_row(asked, key, sums) for key, sums in found.items())


def _row(asked: Asked, key: tuple[str, date, int | None], sums: _Sums) -> tuple[Value, ...]:
    segment, as_of, stage = key
    if stage is None:
        return keyed(asked, segment, as_of, NOT_STAGED, sums.loans, sums.ead, None, None, None, None)
    return keyed(
        asked,
        segment,
        as_of,
        str(stage),
        sums.loans,
        sums.ead,
        percent(sums.pd, sums.ead),
        percent(sums.lgd, sums.ead),
        ratio(sums.ecl, 1),
        percent(sums.ecl, sums.ead),
    )


PROVISIONS = View(
    name="provisions",
    policy="provisions",
    title="Provisions",
    text=(
        "Expected credit loss by stage, with the release's PD and LGD. Stage 1: loss within 12 months; 2: over the "
        "life; 3: in default. The panel has no accrued interest, so EAD is the outstanding principal. Written-off "
        "loans are left out. Discounted at the loan's rate, in whole years that the loan still has."
    ),
    columns=(
        Column(name="as_of", unit=Unit.DATE, text="the date", key=True),
        Column(
            name="stage", unit=Unit.TEXT, text="1, 2 or 3; not staged where days past due are not counted", key=True
        ),
        Column(name="loans", unit=Unit.COUNT, text="loans with something outstanding"),
        Column(name="ead", unit=Unit.AMOUNT, text="exposure at default: outstanding principal"),
        Column(name="pd", unit=Unit.PERCENT, text="probability of default, weighted by EAD: 12 months, life, or 100 %"),
        Column(name="lgd", unit=Unit.PERCENT, text="loss given default, weighted by EAD"),
        Column(name="ecl", unit=Unit.AMOUNT, text="expected credit loss, discounted"),
        Column(name="coverage", unit=Unit.PERCENT, text="ecl / ead"),
    ),
    compute=_compute,
)
