"""The relations of a servicing extract with every optional column there, whatever the tape has."""

from __future__ import annotations

from collections.abc import Mapping

from abaco_loans.tape.template import with_columns
from abaco_loans.tape.tree import exp

_MONEY = "DECIMAL(18,4)"
_ZERO = exp.Literal.number(0)
_LOANS = {
    "loan_id": "VARCHAR",
    "customer_id": "VARCHAR",
    "disbursement_date": "DATE",
    "maturity_date": "DATE",
    "disbursed_principal": _MONEY,
    "interest_rate": "DECIMAL(18,6)",
    "term_days": "BIGINT",
    "frequency": "VARCHAR",
    "currency": "VARCHAR",
    "status": "VARCHAR",
    "product": "VARCHAR",
    "company": "VARCHAR",
    "region": "VARCHAR",
    "facility": "VARCHAR",
    "term_bucket": "VARCHAR",
    "amount_bucket": "VARCHAR",
    "written_off_date": "DATE",
    "restructured_date": "DATE",
    "total_eligible_usd": _MONEY,
    "cash_available_usd": _MONEY,
}
_SCHEDULES = {
    "loan_id": "VARCHAR",
    "due_date": "DATE",
    "valid_from": "DATE",
    "principal": _MONEY,
    "interest": _MONEY,
    "fees": _MONEY,
    "taxes": _MONEY,
    "other": _MONEY,
}
_MOVES = {
    "loan_id": "VARCHAR",
    "type": "VARCHAR",
    "date": "DATE",
    "principal": _MONEY,
    "interest": _MONEY,
    "fees": _MONEY,
    "taxes": _MONEY,
    "other": _MONEY,
    "add_balance": _MONEY,
    "reduce_balance": _MONEY,
}
_AMOUNTS = ("principal", "interest", "fees", "taxes", "other", "add_balance", "reduce_balance")

LOANS, SCHEDULES, MOVES, RATES = (
    "servicing_loans",
    "servicing_schedules",
    "servicing_moves",
    "servicing_rates",
)
RELATIONS = (LOANS, SCHEDULES, MOVES, RATES)


def normal_views(
    relations: Mapping[str, str], present: Mapping[str, frozenset[str]], reporting_currency: str
) -> dict[str, exp.Select]:
    """Queries of the four relations that `panel_query` reads, with every optional column there.

    Args:
        relations: table of the contract → relation with its accepted, masked rows.
        present: table of the contract → columns that the tape has.
        reporting_currency: ISO code that empty currencies mean.
    """
    zeros: dict[str, exp.Expr] = dict.fromkeys(_AMOUNTS, _ZERO)
    floor = exp.cast(exp.Literal.string("0001-01-01"), "DATE")
    rates = exp.select(
        exp.alias_(exp.cast(exp.null(), "DATE"), "date"),
        exp.alias_(exp.cast(exp.null(), "VARCHAR"), "currency"),
        exp.alias_(exp.cast(exp.null(), "DECIMAL(18,8)"), "rate"),
    ).where(exp.false())
    if "rates" in relations:
        rates = exp.select("date", "currency", "rate").from_(relations["rates"])
    return {
        LOANS: with_columns(
            relations["loans"], _LOANS, present["loans"], {"currency": exp.Literal.string(reporting_currency)}
        ),
        SCHEDULES: with_columns(
            relations["schedules"], _SCHEDULES, present["schedules"], {**zeros, "valid_from": floor}
        ),
        MOVES: with_columns(relations["transactions"], _MOVES, present["transactions"], zeros),
        RATES: rates,
    }
