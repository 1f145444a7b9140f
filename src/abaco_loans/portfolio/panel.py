"""The panel: loan states at dates with what happened in each period, over `tape.panel` or a series of snapshots.

One row a loan and date; columns in `portfolio.columns`. Roll-forward of DEFINITIONS, for every row, in loan currency:
opening + disbursed + capitalised + adjusted + reinstated - principal paid - written off - dust forgiven = closing.
In reporting currency the same with ``currency_effect_in_period_reporting``: what the opening and the flows of the
period are worth more at the rate of ``as_of`` than at their own.

The panel is a view over the facts (a row a loan and date) and the loans (a row a loan): what can be derived from
them is derived when it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from abaco_loans.portfolio.columns import (
    ATTRIBUTES,
    CURRENCY_EFFECT,
    EVENTS,
    MONEY,
    MONEY_TYPE,
    REPAID,
    WRITTEN_OFF,
)
from abaco_loans.tape.definition import Definition, Restructured
from abaco_loans.tape.template import date_node, expression, number_node
from abaco_loans.tape.tree import exp

PANEL = "panel"

# In the period; column of the panel → what moved in the facts.
_FLOWS = {
    "disbursed_in_period": "disbursed_now",
    "capitalised_in_period": "capitalised_now",
    "adjusted_in_period": "adjusted_now",
    "received_in_period": "received_now",
    "recovered_in_period": "recovered_now",
    "recovered_principal_in_period": "recovered_principal_now",
    "interest_fees_in_period": "interest_fees_now",
    "scheduled_in_period": "scheduled_now",
    "scheduled_principal_in_period": "scheduled_principal_now",
}
# What stands at a date, or moves from one standing to another: in reporting currency at the rate of that date.
_STANDING = {
    "outstanding_principal": "SELECT f.outstanding_principal",
    "written_off_balance": "SELECT f.written_off_balance",
    "dust_forgiven": "SELECT f.dust_forgiven",
    "first_30_balance": "SELECT CASE WHEN a.thirty_at <= f.as_of THEN a.thirty_balance END",
    "first_60_balance": "SELECT CASE WHEN a.sixty_at <= f.as_of THEN a.sixty_balance END",
    "first_90_balance": "SELECT CASE WHEN a.ninety_at <= f.as_of THEN a.ninety_balance END",
    "defaulted_balance": "SELECT CASE WHEN a.defaulted_at <= f.as_of THEN a.defaulted_balance END",
    "recovered_after_90": "SELECT CASE WHEN a.ninety_at <= f.as_of THEN f.principal_paid - a.ninety_repaid ELSE 0 END",
}
_LOST = "SELECT f.written_off_balance - COALESCE(f.lost_then, 0) + COALESCE(f.recovered_principal_now, 0)"
# The same, but not known of the first date of a series of snapshots.
_SINCE = {
    "reinstated_in_period": "SELECT GREATEST(-(:lost), 0)",
    "written_off_in_period": "SELECT GREATEST(:lost, 0)",
    "dust_forgiven_in_period": "SELECT f.dust_forgiven - COALESCE(f.dust_then, 0)",
}
_OPENING = {"opening_principal": "outstanding_then", "opening_written_off": "lost_then"}
_OPENED = "SELECT CASE WHEN f.as_of_then IS NULL THEN 0 ELSE (:before) * f.rate_then END"
_EFFECT = """
SELECT COALESCE(f.outstanding_then * (f.rate - f.rate_then), 0)
       + (:disbursed + :capitalised + :adjusted - :paid) * f.rate
       - (:disbursed_usd + :capitalised_usd + :adjusted_usd - :paid_usd)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelSource:
    """Where a panel comes from.

    Attributes:
        facts: relation with a row a loan and date.
        loans: relation with a row a loan; None where the facts are those of snapshots and hold everything.
        first: the first date, of which a series of snapshots does not know what was before; None for rebuilt loans.
        foreign: whether the facts have rates and amounts in reporting currency.
        definition: boundary and edges of the buckets.
    """

    facts: str
    loans: str | None
    first: date | None
    foreign: bool
    definition: Definition


def panel_of(source: PanelSource) -> exp.Select:
    """The panel, with every column of `portfolio.columns`."""
    query = exp.select("f.loan_id", "f.as_of", "f.period_start", "a.currency").from_(
        exp.alias_(exp.to_table(source.facts), "f", table=True)
    )
    if source.loans:
        query = query.join(
            exp.alias_(exp.to_table(source.loans), "a", table=True), on=expression("SELECT a.loan_id = f.loan_id")
        )
    made = {**_attributes(), **_state(source), **_events(), **_money(source)}
    query = query.select(*(exp.alias_(node, name, quoted=True) for name, node in made.items()), copy=False)
    if source.loans is None:
        for column in list(query.find_all(exp.Column)):
            if column.table == "a":
                column.set("table", exp.to_identifier("f"))
    return query


def _attributes() -> dict[str, exp.Expr]:
    return {name: exp.column(name, table="a") for name in ATTRIBUTES}


def _state(source: PanelSource) -> dict[str, exp.Expr]:
    definition = source.definition
    bucket = bucket_node(_of("days_past_due"), definition)
    restructured = "SELECT COALESCE(a.restructured_date <= f.as_of, FALSE)" if source.loans else "SELECT f.restructured"
    at_risk: exp.Expr = exp.false()
    if definition.restructured is Restructured.AT_RISK:
        at_risk = expression("SELECT (:it) AND f.outstanding_principal > 0", it=expression(restructured))
    return {
        "days_past_due": exp.cast(_of("days_past_due"), "BIGINT"),
        "oldest_unpaid_due_date": _of("oldest_unpaid_due_date"),
        "dpd_bucket": bucket,
        "state": _named(_of("written_off"), _of("repaid"), bucket),
        "opening_state": _named(
            _of("written_off_then"), _of("repaid_before"), bucket_node(_of("days_past_due_then"), definition)
        ),
        "opening_days_past_due": exp.cast(_of("days_past_due_then"), "BIGINT"),
        "written_off": _of("written_off"),
        "restructured": expression(restructured),
        "at_risk": at_risk,
        "fx_rate": exp.cast(_of("rate") if source.foreign else number_node(1), "DECIMAL(18,8)"),
        "unpriced": _of("unpriced") if source.foreign else exp.false(),
    }


def _named(lost: exp.Expr, repaid: exp.Expr, bucket: exp.Expr) -> exp.Expr:
    return expression(
        "SELECT CASE WHEN :is_lost THEN :lost WHEN :is_repaid THEN :repaid ELSE :bucket END",
        is_lost=lost,
        lost=exp.Literal.string(WRITTEN_OFF),
        is_repaid=repaid,
        repaid=exp.Literal.string(REPAID),
        bucket=bucket,
    )


def bucket_node(days: exp.Expr, definition: Definition) -> exp.Expr:
    """The name of the bucket that days past due fall into; NULL where the method does not count them."""
    node = exp.case().when(exp.Is(this=days.copy(), expression=exp.null()), exp.null())
    node = node.when(exp.EQ(this=days.copy(), expression=number_node(0)), exp.Literal.string(definition.buckets[0]))
    for name, floor in list(zip(definition.buckets[1:], definition.bucket_floors, strict=True))[::-1]:
        node = node.when(exp.GTE(this=days.copy(), expression=number_node(floor)), exp.Literal.string(name))
    return node


def _events() -> dict[str, exp.Expr]:
    of = {
        "first_30_on": "thirty_at",
        "first_60_on": "sixty_at",
        "first_90_on": "ninety_at",
        "defaulted_on": "defaulted_at",
        "first_missed_on": "first_missed_at",
    }
    found = {
        name: expression("SELECT CASE WHEN (:at) <= f.as_of THEN :at END", at=exp.column(column, table="a"))
        for name, column in of.items()
    }
    found["first_due_date"] = exp.column("first_due_date", table="a")
    return {name: found[name] for name in EVENTS}


def _money(source: PanelSource) -> dict[str, exp.Expr]:
    """Every amount in loan currency, its twin in reporting currency, and the currency effect."""
    local, twins = _local(source), {}
    effect: exp.Expr = number_node(0)
    if source.foreign:
        twins = _reporting(source, local)
        effect = _currency_effect(local, twins)
    found = {name: exp.cast(local[name], MONEY_TYPE) for name in MONEY}
    found |= {f"{name}_reporting": exp.cast(twins.get(name, local[name]).copy(), MONEY_TYPE) for name in MONEY}
    return {**found, CURRENCY_EFFECT: exp.cast(effect, MONEY_TYPE)}


def _local(source: PanelSource) -> dict[str, exp.Expr]:
    recovered = _now(source, "recovered_principal_now")
    return {
        "disbursed_principal": _of("disbursed"),
        "principal_paid_in_period": expression(
            "SELECT (:paid) - :recovered", paid=_now(source, "principal_paid_now"), recovered=recovered
        ),
        **{name: _now(source, column) for name, column in _FLOWS.items()},
        **{name: expression(sql) for name, sql in _STANDING.items()},
        **{name: _since(source, expression(sql, lost=expression(_LOST))) for name, sql in _SINCE.items()},
        **{
            name: _since(source, expression("SELECT COALESCE(:before, 0)", before=_of(column)))
            for name, column in _OPENING.items()
        },
    }


def _reporting(source: PanelSource, local: dict[str, exp.Expr]) -> dict[str, exp.Expr]:
    recovered = _now(source, "recovered_principal_now_usd")
    at_rate = (*_STANDING, *_SINCE)
    return {
        "disbursed_principal": _of("disbursed_usd"),
        "principal_paid_in_period": expression(
            "SELECT (:paid) - :recovered", paid=_now(source, "principal_paid_now_usd"), recovered=recovered
        ),
        **{name: _now(source, f"{column}_usd") for name, column in _FLOWS.items()},
        **{name: expression("SELECT (:amount) * f.rate", amount=local[name]) for name in at_rate},
        **{
            name: _since(
                source,
                expression(
                    "SELECT CASE WHEN f.as_of_then IS NULL THEN 0 ELSE (:before) * f.rate_then END", before=_of(column)
                ),
            )
            for name, column in _OPENING.items()
        },
    }


def _currency_effect(local: dict[str, exp.Expr], twins: dict[str, exp.Expr]) -> exp.Expr:
    names = {"disbursed": "disbursed_in_period", "capitalised": "capitalised_in_period"}
    names |= {"adjusted": "adjusted_in_period", "paid": "principal_paid_in_period"}
    values = {key: exp.paren(local[name].copy()) for key, name in names.items()}
    values |= {f"{key}_usd": exp.paren(twins[name].copy()) for key, name in names.items()}
    return expression(_EFFECT, **values)


def _of(column: str) -> exp.Expr:
    return exp.column(column, table="f")


def _now(source: PanelSource, column: str) -> exp.Expr:
    """What moved in the period: nothing where a rebuilt loan had no movement, unknown where snapshots do not say."""
    return expression("SELECT COALESCE(:moved, 0)", moved=_of(column)) if source.loans else _of(column)


def _since(source: PanelSource, node: exp.Expr) -> exp.Expr:
    if source.first is None:
        return node
    return expression("SELECT CASE WHEN f.as_of > :first THEN :known END", first=date_node(source.first), known=node)
