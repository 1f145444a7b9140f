"""Speeds: how fast the book prepays and defaults, month by month [BMA Standard Formulas; DEFINITIONS].

Performing = not in default (90 DPD or written off, for the first time) before the month began.

MDR: balance at default of loans whose first default falls in the month / opening performing balance.

SMM: principal paid beyond schedule / (opening - scheduled principal), over performing loans with an instalment plan.
Loan by loan, the plan's balance is what was disbursed, capitalised and adjusted less the principal that fell due, up
to the opening. An opening above it is principal that is behind: all of it is scheduled, so paying it is no
prepayment. An opening below it is amortised as the plan would from there: principal due x opening / plan's balance,
rounded down to the scale of money. After maturity all of the opening is scheduled. Who pays less than is scheduled
prepays nothing.

The plan's balance is known from disbursement on; of a loan that is older than the panel, from the first opening
without arrears (then it is that opening). Until then the loan is left out. Openings, schedules and
payments of SMM are turned into reporting currency at one rate, that of the month's end, so that exchange is no speed.

Only periods that are whole calendar months have speeds. What the tapes do not say (snapshots: payments, and what was
before the first date) is empty, not 0.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

from abaco_loans.portfolio.view import (
    Asked,
    Column,
    Unit,
    Value,
    View,
    exact,
    keyed,
    percent,
    ratio,
    segment_node,
)
from abaco_loans.tape.template import filled

_QUERY = """
WITH known AS (
  SELECT *, :segment AS segment,
         MIN(CASE WHEN disbursement_date > period_start OR opening_days_past_due = 0 THEN period_start END)
           OVER (PARTITION BY loan_id) AS known_from,
         opening_principal > 0 AND (defaulted_on IS NULL OR defaulted_on > period_start) AS performing,
         defaulted_on > period_start AND defaulted_on <= as_of AS defaulting
  FROM panel
),
planned AS (
  SELECT *, performing AND period_start >= known_from AND first_due_date IS NOT NULL AS followed,
         CAST(SUM(CASE WHEN period_start = known_from THEN opening_principal ELSE 0 END) OVER (PARTITION BY loan_id)
              + COALESCE(SUM(CASE WHEN period_start >= known_from
                                  THEN disbursed_in_period + capitalised_in_period + adjusted_in_period
                                       - scheduled_principal_in_period ELSE 0 END)
                           OVER (PARTITION BY loan_id ORDER BY as_of
                                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
              AS DECIMAL(18,4)) AS plan
  FROM known
),
amortised AS (
  SELECT *, CASE WHEN plan <= 0 OR maturity_date <= as_of THEN opening_principal
                 WHEN plan <= opening_principal
                 THEN opening_principal - plan + LEAST(scheduled_principal_in_period, plan)
                 ELSE CAST(CAST(opening_principal * 10000 AS HUGEINT)
                           * CAST(LEAST(scheduled_principal_in_period, plan) * 10000 AS HUGEINT)
                           // NULLIF(CAST(plan * 10000 AS HUGEINT), 0) AS DECIMAL(18,0)) * 0.0001
            END AS due
  FROM planned
),
paid AS (
  SELECT *, CAST(due AS DECIMAL(18,4)) AS scheduled,
         CAST(GREATEST(LEAST(principal_paid_in_period, opening_principal) - due, 0) AS DECIMAL(18,4)) AS prepaid
  FROM amortised
)
SELECT segment, as_of,
       SUM(CASE WHEN performing THEN opening_principal_reporting WHEN opening_principal IS NOT NULL THEN 0 END),
       SUM(CASE WHEN opening_principal IS NULL THEN NULL WHEN defaulting THEN defaulted_balance_reporting ELSE 0 END),
       SUM(CASE WHEN unsaid THEN NULL WHEN followed THEN opening_principal * fx_rate ELSE 0 END),
       SUM(CASE WHEN unsaid THEN NULL WHEN followed THEN scheduled * fx_rate ELSE 0 END),
       SUM(CASE WHEN unsaid THEN NULL WHEN followed THEN prepaid * fx_rate ELSE 0 END)
FROM (SELECT *, principal_paid_in_period IS NULL AS unsaid FROM paid) p
WHERE as_of = LAST_DAY(as_of) AND period_start = CAST(DATE_TRUNC('month', as_of) AS DATE) - 1
GROUP BY segment, as_of
ORDER BY segment, as_of
"""


def smm(*, opening: Decimal, scheduled: Decimal, paid: Decimal) -> Decimal | None:
    """Single monthly mortality: principal paid beyond schedule, of what the schedule leaves (a fraction).

    All three are principal in one unit. None where the schedule leaves nothing. Source: BMA Standard Formulas.
    """
    with exact():
        return ratio(paid - scheduled, opening - scheduled)


def annualised(monthly: Decimal | None) -> Decimal | None:
    """1 - (1 - monthly)^12: CPR of an SMM, CDR of an MDR (fractions). A month that takes all takes all of a year."""
    if monthly is None:
        return None
    with exact():
        return 1 - max(1 - monthly, Decimal(0)) ** 12


def psa(cpr: Decimal, age: int) -> Decimal:
    """The speed as a percentage of the PSA curve, whose CPR is 0.2 % a month of age, 6 % from month 30 on.

    Args:
        cpr: a fraction a year.
        age: months since origination at the end of the month; from 1.
    """
    with exact():
        return cpr * 100 / (Decimal("0.002") * min(age, 30))


def level_payment_balance_factor(*, annual_rate: Decimal, term: int, age: int) -> Decimal:
    """What is left of one unit after ``age`` of ``term`` level monthly payments; the rate is a fraction a year."""
    with localcontext() as context:
        context.prec = 50
        growth = 1 + annual_rate / 12
        left = Decimal(term - age) / term
        if growth != 1:
            left = (growth**term - growth**age) / (growth**term - 1)
    with exact():
        return +left


def _speeds(asked: Asked) -> tuple[tuple[Value, ...], ...]:
    rows = []
    for segment, day, opening, defaulted, *prepaying in asked.rows(filled(_QUERY, segment=segment_node(asked))):
        followed, scheduled, prepaid = prepaying
        mdr, month = ratio(defaulted, opening), None
        if prepaid is not None:
            with exact():
                month = smm(opening=followed, scheduled=scheduled, paid=scheduled + prepaid)
        defaults = (opening, defaulted, percent(mdr, 1), percent(annualised(mdr), 1))
        prepayments = (followed, scheduled, prepaid, percent(month, 1), percent(annualised(month), 1))
        rows.append(keyed(asked, segment, day, *defaults, *prepayments))
    return tuple(rows)


SPEEDS = View(
    name="speeds",
    title="Speeds",
    text="Default and prepayment speeds of each month: MDR, CDR, SMM, CPR.",
    columns=(
        Column(name="as_of", unit=Unit.DATE, text="end of the month", key=True),
        Column(name="opening", unit=Unit.AMOUNT, text="opening performing balance"),
        Column(name="defaulted", unit=Unit.AMOUNT, text="balance of loans whose first default falls in the month"),
        Column(name="mdr", unit=Unit.PERCENT, text="defaulted of opening"),
        Column(name="cdr", unit=Unit.PERCENT, text="1 - (1 - MDR)^12"),
        Column(name="opening_with_plan", unit=Unit.AMOUNT, text="the same of loans whose plan the panel can follow"),
        Column(name="scheduled", unit=Unit.AMOUNT, text="their scheduled principal, re-amortised from the opening"),
        Column(name="prepaid", unit=Unit.AMOUNT, text="their principal paid beyond schedule"),
        Column(name="smm", unit=Unit.PERCENT, text="prepaid of opening_with_plan less scheduled"),
        Column(name="cpr", unit=Unit.PERCENT, text="1 - (1 - SMM)^12"),
    ),
    compute=_speeds,
)
