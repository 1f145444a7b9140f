"""The columns of the panel: one row a loan and date, from disbursement on. Terms as in DEFINITIONS.

``period_start`` is the date before ``as_of`` (the month end before, for the first one): a period runs from the day
after it to ``as_of``. Amounts are in loan currency; for every column in `MONEY` there is a ``*_reporting`` twin in
reporting currency: balances and transfers at the rate of ``as_of``, flows at the rate of their date, openings at
the rate of ``period_start``. A twin is NULL where the currency has no rate.
"""

from __future__ import annotations

ATTRIBUTES: dict[str, tuple[str, str]] = {
    "customer_id": ("VARCHAR", "the customer, masked"),
    "product": ("VARCHAR", "dimension of the tape"),
    "company": ("VARCHAR", "dimension of the tape"),
    "region": ("VARCHAR", "dimension of the tape"),
    "facility": ("VARCHAR", "dimension of the tape"),
    "term_bucket": ("VARCHAR", "dimension of the tape"),
    "amount_bucket": ("VARCHAR", "dimension of the tape"),
    "status": ("VARCHAR", "status in the source's words"),
    "disbursement_date": ("DATE", "date of disbursement"),
    "maturity_date": ("DATE", "date of the last instalment"),
    "interest_rate": ("DECIMAL(18,6)", "fraction a year"),
    "term_days": ("BIGINT", "term in days"),
    "frequency": ("VARCHAR", "one_time, monthly, ..."),
    "total_eligible_usd": ("DECIMAL(18,4)", "eligible amount, where the source has it"),
    "cash_available_usd": ("DECIMAL(18,4)", "cash available, where the source has it"),
}

MONEY: dict[str, str] = {
    "disbursed_principal": "principal disbursed so far",
    "outstanding_principal": "outstanding at the date, after write-off and dust",
    "written_off_balance": "balance of a loan that is written off",
    "dust_forgiven": "what was left when the loan was repaid; negative when more was paid than owed",
    "opening_principal": "outstanding at period_start",
    "opening_written_off": "written-off balance at period_start",
    "disbursed_in_period": "principal disbursed",
    "capitalised_in_period": "interest and charges added to principal",
    "adjusted_in_period": "other adjustments of the balance by the source, with their sign",
    "reinstated_in_period": "balance brought back from written off",
    "principal_paid_in_period": "principal received while the loan was not written off",
    "written_off_in_period": "balance newly written off",
    "dust_forgiven_in_period": "change of dust_forgiven",
    "received_in_period": "all cash received, recoveries too",
    "recovered_in_period": "all cash received while the loan was written off",
    "recovered_principal_in_period": "principal in recovered_in_period",
    "interest_fees_in_period": "interest and fees received",
    "scheduled_in_period": "cash that fell due under the schedule in force at as_of",
    "scheduled_principal_in_period": "principal in scheduled_in_period",
    "first_30_balance": "balance on first_30_on",
    "first_60_balance": "balance on first_60_on",
    "first_90_balance": "balance on first_90_on",
    "defaulted_balance": "balance on defaulted_on",
    "recovered_after_90": "principal received after first_90_on, so far",
}

# Columns that count the days a loan took to get late; each is NULL until as_of has come to it.
EVENTS: dict[str, tuple[str, str]] = {
    "first_30_on": ("DATE", "day on which the loan first reached 30 DPD, if it had by as_of"),
    "first_60_on": ("DATE", "the same for 60 DPD"),
    "first_90_on": ("DATE", "the same for 90 DPD"),
    "defaulted_on": ("DATE", "first_90_on, or the day the loan was first written off if that was before"),
    "first_due_date": ("DATE", "due date of the first instalment"),
    "first_missed_on": ("DATE", "day on which the first instalment reached 30 DPD, if it had by as_of"),
}

STATE: dict[str, tuple[str, str]] = {
    "days_past_due": ("BIGINT", "days past due under the definition; NULL where it does not count the loan"),
    "oldest_unpaid_due_date": ("DATE", "due date of the oldest instalment that is not covered"),
    "dpd_bucket": ("VARCHAR", "current, 1-6, 7-29, ..., 90+ (edges and boundary of the definition)"),
    "state": ("VARCHAR", "dpd_bucket, or written off, or repaid"),
    "opening_state": ("VARCHAR", "state at period_start; NULL where the loan had no row then"),
    "opening_days_past_due": ("BIGINT", "days past due at period_start"),
    "written_off": ("BOOLEAN", "whether the loan is written off at the date"),
    "restructured": ("BOOLEAN", "whether the loan has been restructured"),
    "at_risk": ("BOOLEAN", "counts as at risk whatever its DPD (restructured: at_risk)"),
    "fx_rate": ("DECIMAL(18,8)", "reporting currency for one unit at as_of; 1 for reporting currency, NULL without"),
    "unpriced": ("BOOLEAN", "an amount of the loan has no rate, so that its *_reporting columns may be NULL"),
}

KEYS: dict[str, tuple[str, str]] = {
    "loan_id": ("VARCHAR", "key of the loan"),
    "as_of": ("DATE", "the date"),
    "period_start": ("DATE", "the date before; the period begins on the day after it"),
    "currency": ("VARCHAR", "currency of the loan"),
}

MONEY_TYPE = "DECIMAL(18,4)"
CURRENCY_EFFECT = "currency_effect_in_period_reporting"
WRITTEN_OFF, REPAID, MISSING = "written off", "repaid", "missing"


def columns() -> dict[str, tuple[str, str]]:
    """Every column of the panel: name → (SQL type, what it is)."""
    money = {name: (MONEY_TYPE, text) for name, text in MONEY.items()}
    twins = {f"{name}_reporting": (MONEY_TYPE, f"{text}, in reporting currency") for name, text in MONEY.items()}
    effect = {CURRENCY_EFFECT: (MONEY_TYPE, "what opening and flows are worth more at the rate of as_of than before")}
    return {**KEYS, **ATTRIBUTES, **STATE, **EVENTS, **money, **twins, **effect}
