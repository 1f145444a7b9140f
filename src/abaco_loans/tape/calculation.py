"""The calculation table: the columns that every KPI is written over, whatever the layout of the tape.

A column that a layout or a definition cannot give is left out, with the reason; a KPI that needs it is then
not computable and says so. Money is in reporting currency, DECIMAL(18,4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from abaco_loans.tape.contract import Contract, Kind, Table
from abaco_loans.tape.definition import Boundary, Definition, Restructured
from abaco_loans.tape.template import date_node, filled, number_node, with_columns
from abaco_loans.tape.tree import exp, later

TABLE = "calculation"
BUCKET_EDGES = (0, 7, 30, 60, 90)
BUCKETS = ("dpd_0_7_usd", "dpd_7_30_usd", "dpd_30_60_usd", "dpd_60_90_usd", "dpd_90_plus_usd")
# Columns that put a balance where its days past due say.
BY_DAYS = (*BUCKETS, "past_due_15_usd", "past_due_180_usd")
DIMENSIONS = (
    "currency",
    "product",
    "company",
    "region",
    "facility",
    "term_bucket",
    "amount_bucket",
    "status",
)
UNPRICED = "unpriced"

COLUMNS: dict[str, str] = {
    "loan_id": "key of the loan",
    "customer_id": "the customer, masked",
    **dict.fromkeys(DIMENSIONS, "dimension of the tape"),
    "total_receivable_usd": "total receivable; for loans the outstanding principal",
    "total_eligible_usd": "receivable that is eligible for collection",
    "discounted_balance_usd": "receivable after discount",
    "cash_available_usd": "cash collected and available",
    "dpd_0_7_usd": "outstanding, 0 to under 7 days past due",
    "dpd_7_30_usd": "outstanding, 7 to under 30 days past due",
    "dpd_30_60_usd": "outstanding, 30 to under 60 days past due",
    "dpd_60_90_usd": "outstanding, 60 to under 90 days past due",
    "dpd_90_plus_usd": "outstanding, 90 days past due or more, and what is at risk whatever its days",
    "past_due_15_usd": "outstanding of loans at or past 15 days",
    "past_due_180_usd": "outstanding of loans at or past 180 days",
    "outstanding_usd": "outstanding principal after write-off and dust",
    "written_off_usd": "balance of loans that are written off",
    "days_past_due": "days past due under the definition in force",
    "interest_rate": "fraction a year",
    "disbursed_usd": "principal disbursed so far",
    "opening_outstanding_usd": "outstanding at the end of the month before",
    "disbursed_in_period_usd": "disbursed since the end of the month before",
    "opened_in_period": "1 where the loan was disbursed since the end of the month before",
    "disbursed_last_90_days": "1 where the loan was disbursed in the 90 days up to the date",
    "received_in_period_usd": "cash received since the end of the month before",
    "scheduled_in_period_usd": "cash that fell due since the end of the month before",
    "principal_paid_in_period_usd": "principal received since the end of the month before",
    "interest_fees_in_period_usd": "interest and fees received since the end of the month before",
    "written_off_in_period_usd": "balance of loans written off since the end of the month before",
    "reached_90_balance_usd": "balance at the moment the loan first reached 90 days past due",
    "recovered_after_90_usd": "principal received after that moment",
    "first_due_30_days_ago": "1 where the first instalment fell due at least 30 days before the date",
    "first_payment_default": "1 where that instalment ever reached 30 days past due",
    UNPRICED: "1 where the loan's currency has no rate",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calculation:
    """The query that makes the calculation table, the columns it has, and why the others are not there."""

    query: exp.Select
    columns: tuple[str, ...]
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The columns of the table that segment it."""
        return tuple(name for name in DIMENSIONS if name in self.columns)


def month_end_before(day: date) -> date:
    """The last day of the month before that of ``day``."""
    return day.replace(day=1) - timedelta(days=1)


def dimensions_of(contract: Contract) -> tuple[str, ...]:
    """Columns that the contract marks as dimensions, over all its tables."""
    return tuple(
        dict.fromkeys(column.name for table in contract.tables for column in table.columns if column.dimension)
    )


def not_borne(layout: str, definition: Definition) -> str:
    """Why a bucketed tape cannot bear a definition; empty when it can."""
    if layout != "bucketed":
        return ""
    if definition.boundary is not Boundary.AT_LEAST:
        return "the tape's buckets begin at a day (at least), the definition counts more than"
    if definition.write_off_after_days is not None:
        return "a bucketed tape has no days past due to write off by"
    if definition.dust_share:
        return "a bucketed tape has no disbursed amounts to tell dust by"
    if definition.restructured is Restructured.AT_RISK:
        return "a bucketed tape does not say which loans are restructured"
    return ""


def bucketed_calculation(
    relation: str, table: Table, present: Sequence[str], definition: Definition, day: date | None
) -> Calculation:
    """The calculation table of a bucketed tape: its own columns at ``day``; None: of all rows."""
    reason = not_borne("bucketed", definition)
    wanted = [column for column in table.columns if column.name in present and column.name in COLUMNS]
    risky = set(BY_DAYS)
    kept = [column.name for column in wanted if not (reason and column.name in risky)]
    absent = dict.fromkeys(COLUMNS, "a bucketed tape does not have it")
    absent.update({name: reason for name in risky if reason})
    return Calculation(
        query=later(_bucketed_query, relation, tuple(kept), day),
        columns=tuple(kept),
        absent={name: why for name, why in absent.items() if name not in kept},
    )


def _bucketed_query(relation: str, kept: Sequence[str], day: date | None) -> exp.Select:
    query = exp.select(*(exp.column(name, quoted=True) for name in kept)).from_(relation)
    return query if day is None else query.where(exp.column("measurement_date", quoted=True).eq(date_node(day)))


_STATE = {
    "loan_id": "VARCHAR",
    "customer_id": "VARCHAR",
    "outstanding_principal": "DECIMAL(18,4)",
    "days_past_due": "BIGINT",
    "disbursed_principal": "DECIMAL(18,4)",
    "disbursement_date": "DATE",
    "interest_rate": "DECIMAL(18,6)",
    "currency": "VARCHAR",
    "fx_rate": "DECIMAL(18,8)",
    "status": "VARCHAR",
    "product": "VARCHAR",
    "company": "VARCHAR",
    "region": "VARCHAR",
    "facility": "VARCHAR",
    "term_bucket": "VARCHAR",
    "amount_bucket": "VARCHAR",
    "written_off": "BOOLEAN",
    "written_off_balance": "DECIMAL(18,4)",
    "restructured": "BOOLEAN",
    "total_eligible_usd": "DECIMAL(18,4)",
    "cash_available_usd": "DECIMAL(18,4)",
}

# A product of wide decimals is the dearest thing here, so what is in reporting currency is not multiplied by 1.
_SNAPSHOT = """
WITH rows AS (:rows), priced AS (
  SELECT *, CAST(CASE WHEN currency = :reporting THEN 1 ELSE fx_rate END AS DECIMAL(38,8)) AS rate,
         outstanding_principal <= 0 OR COALESCE(disbursed_principal > 0
           AND outstanding_principal < :dust_share * disbursed_principal, FALSE) AS repaid
  FROM rows
), ended AS (
  SELECT *, CASE WHEN days_past_due > :grace_days AND NOT repaid THEN days_past_due ELSE 0 END AS dpd,
         CASE WHEN COALESCE(written_off, written_off_balance > 0) THEN TRUE WHEN repaid THEN FALSE
              ELSE days_past_due > :write_off_after END AS lost
  FROM priced
), valued AS (
  SELECT *, CASE WHEN repaid OR lost THEN 0 WHEN currency = :reporting THEN outstanding_principal
              ELSE CAST(outstanding_principal * rate AS DECIMAL(18,4)) END AS balance_usd,
         CASE WHEN lost THEN CAST(CASE WHEN written_off_balance > 0 THEN written_off_balance
              ELSE outstanding_principal END * rate AS DECIMAL(18,4)) ELSE 0 END AS lost_usd
  FROM ended
)
SELECT loan_id, customer_id, currency, product, company, region, facility, term_bucket, amount_bucket, status,
       total_eligible_usd, cash_available_usd, interest_rate, dpd AS days_past_due,
       balance_usd AS outstanding_usd, lost_usd AS written_off_usd,
       CAST(disbursed_principal * rate AS DECIMAL(18,4)) AS disbursed_usd,
       CASE WHEN disbursement_date > :month_start AND disbursement_date <= :day
            THEN CAST(disbursed_principal * rate AS DECIMAL(18,4)) ELSE 0 END AS disbursed_in_period_usd,
       CASE WHEN disbursement_date > :month_start AND disbursement_date <= :day THEN 1 ELSE 0 END
         AS opened_in_period,
       CASE WHEN disbursement_date > :ninety_ago AND disbursement_date <= :day THEN 1 ELSE 0 END
         AS disbursed_last_90_days,
       CASE WHEN rate IS NULL THEN 1 ELSE 0 END AS unpriced,
       CASE WHEN restructured AND :at_risk AND balance_usd > 0 THEN 36500 ELSE dpd END AS risk_days
FROM valued
"""


def snapshot_calculation(
    relation: str, present: Sequence[str], definition: Definition, day: date, reporting_currency: str
) -> Calculation:
    """The calculation table of a loan snapshot at ``day``; days past due are the tape's own."""
    defaults: dict[str, exp.Expr] = {
        "currency": exp.Literal.string(reporting_currency),
        "restructured": exp.false(),
    }
    rows = with_columns(relation, _STATE, frozenset(present), defaults).where(
        exp.column("measurement_date", quoted=True).eq(date_node(day))
    )
    after = definition.write_off_after_days
    state = filled(
        _SNAPSHOT,
        rows=rows,
        reporting=exp.Literal.string(reporting_currency),
        dust_share=number_node(definition.dust_share),
        grace_days=number_node(definition.grace_days),
        write_off_after=exp.null() if after is None else number_node(after),
        **_period(day, definition),
    )
    optional = {
        name
        for name in (*DIMENSIONS, "customer_id", "interest_rate", "total_eligible_usd", "cash_available_usd")
        if name not in present and name != "currency"
    }
    if "disbursed_principal" not in present:
        optional |= {"disbursed_usd", "disbursed_in_period_usd"}
    if "disbursement_date" not in present:
        optional |= {"disbursed_in_period_usd", "opened_in_period", "disbursed_last_90_days"}
    absent = dict.fromkeys(optional, "this tape does not have it")
    if after is None and not {"written_off", "written_off_balance"} & set(present):
        absent["written_off_usd"] = "this tape has no written_off, and the definition writes nothing off by days"
    return finished(state, definition, absent, "a loan snapshot does not have it")


def tape_calculation(
    contract: Contract,
    relation: str,
    present: Sequence[str],
    definition: Definition,
    day: date,
    reporting_currency: str,
    *,
    alone: bool = False,
) -> Calculation:
    """The calculation table at ``day`` of a tape of one file; ``alone``: the tape has no other day."""
    if contract.layout == "bucketed":
        return bucketed_calculation(relation, contract.table("tape"), present, definition, None if alone else day)
    return snapshot_calculation(relation, present, definition, day, reporting_currency)


def snapshot_sources(definition: Definition) -> dict[str, frozenset[str]]:
    """Which columns of a snapshot each column of its calculation table is made of, but for the days past due."""
    rate = frozenset({"currency", "fx_rate"})
    balance = rate | {"outstanding_principal", "written_off", "written_off_balance"}
    if definition.dust_share:
        balance |= {"disbursed_principal"}
    late = frozenset({"days_past_due"})
    held = balance if definition.write_off_after_days is None else balance | late
    lent = rate | {"disbursed_principal"}
    opened = frozenset({"disbursement_date"})
    return {
        **{name: frozenset({name}) for name in _STATE},
        **dict.fromkeys(BY_DAYS, balance),
        "total_receivable_usd": held,
        "outstanding_usd": held,
        "written_off_usd": held,
        "days_past_due": balance | late,
        "disbursed_usd": lent,
        "disbursed_in_period_usd": lent | opened,
        "opened_in_period": opened,
        "disbursed_last_90_days": opened,
        UNPRICED: rate,
    }


def at_risk_sources(definition: Definition) -> tuple[str, ...]:
    """Which columns of a snapshot say how much of a balance is past due."""
    return ("days_past_due", "restructured") if definition.restructured is Restructured.AT_RISK else ("days_past_due",)


def _period(day: date, definition: Definition) -> dict[str, exp.Expr]:
    at_risk = definition.restructured is Restructured.AT_RISK
    return {
        "day": date_node(day),
        "month_start": date_node(month_end_before(day)),
        "ninety_ago": date_node(day - timedelta(days=90)),
        "at_risk": exp.true() if at_risk else exp.false(),
    }


def finished(state: exp.Select, definition: Definition, left_out: Mapping[str, str], reason: str) -> Calculation:
    """The calculation table of loan states: buckets and PAR columns from days at risk, under the boundary.

    Args:
        state: columns of `COLUMNS` but the buckets, and ``risk_days``.
        definition: the boundary in force.
        left_out: columns that ``state`` has in name only, with why.
        reason: why a column that ``state`` does not have is absent.
    """
    balance = exp.column("outstanding_usd")
    days = exp.column("risk_days")
    floors = [definition.reaches(edge) if edge else 0 for edge in BUCKET_EDGES]

    def between(low: int, high: int | None) -> exp.Expr:
        inside: exp.Expr = exp.GTE(this=days.copy(), expression=number_node(low))
        if high is not None:
            inside = exp.and_(inside, exp.LT(this=days.copy(), expression=number_node(high)))
        return (
            exp.case()
            .when(inside, balance.copy())
            .else_(
                exp.case()
                .when(exp.Is(this=days.copy(), expression=exp.null()), exp.null())
                .else_(exp.cast(number_node(0), "DECIMAL(18,4)"))
            )
        )

    columns: dict[str, exp.Expr] = {
        str(item.alias_or_name): exp.column(item.alias_or_name, quoted=True)
        for item in state.expressions
        if item.alias_or_name != "risk_days"
    }
    columns["total_receivable_usd"] = balance
    for name, low, high in zip(BUCKETS, floors, [*floors[1:], None], strict=True):
        columns[name] = between(low, high)
    for edge in (15, 180):
        columns[f"past_due_{edge}_usd"] = between(definition.reaches(edge), None)
    kept = {name: node for name, node in columns.items() if name not in left_out}
    query = exp.select(*(exp.alias_(node.copy(), name, quoted=True) for name, node in kept.items())).from_(
        state.subquery("state")
    )
    return Calculation(
        query=query,
        columns=tuple(name for name in kept if name in COLUMNS),
        absent={name: left_out.get(name, reason) for name in COLUMNS if name not in kept},
    )


def is_money(column: str) -> bool:
    """Whether a column of the calculation table is an amount in reporting currency."""
    return column.endswith("_usd")


def kind_of(column: str) -> Kind:
    """The type of a column of the calculation table."""
    if is_money(column) or column == "interest_rate":
        return Kind.DECIMAL
    text = {"loan_id", "customer_id", *DIMENSIONS}
    return Kind.TEXT if column in text else Kind.INTEGER
