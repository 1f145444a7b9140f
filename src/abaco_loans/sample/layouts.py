"""The rows of the three layouts, as text; column names are those of the contracts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from abaco_loans.sample.book import RATE_UNIT, REPORTING_CURRENCY, SECOND_CURRENCY, Kind, Loan, rounded
from abaco_loans.sample.dirt import DirtRules, Row
from abaco_loans.sample.state import LoanState, state_at

BUCKETED = (
    "loan_id",
    "measurement_date",
    "product",
    "company",
    "region",
    "term_bucket",
    "amount_bucket",
    "total_receivable_usd",
    "total_eligible_usd",
    "discounted_balance_usd",
    "cash_available_usd",
    "dpd_0_7_usd",
    "dpd_7_30_usd",
    "dpd_30_60_usd",
    "dpd_60_90_usd",
    "dpd_90_plus_usd",
)
SNAPSHOT = (
    "loan_id",
    "measurement_date",
    "customer_id",
    "outstanding_principal",
    "days_past_due",
    "disbursed_principal",
    "disbursement_date",
    "maturity_date",
    "interest_rate",
    "term_days",
    "currency",
    "fx_rate",
    "status",
    "product",
    "company",
    "region",
    "facility",
    "term_bucket",
    "amount_bucket",
    "written_off",
    "written_off_balance",
    "restructured",
    "accrued_interest",
    "total_eligible_usd",
    "cash_available_usd",
)
LOANS = (
    "loan_id",
    "customer_id",
    "disbursement_date",
    "maturity_date",
    "disbursed_principal",
    "interest_rate",
    "term_days",
    "frequency",
    "currency",
    "status",
    "product",
    "company",
    "region",
    "facility",
    "term_bucket",
    "amount_bucket",
    "written_off_date",
    "restructured_date",
)
SCHEDULES = ("loan_id", "due_date", "principal", "interest", "fees", "taxes", "valid_from", "currency")
TRANSACTIONS = (
    "transaction_id",
    "loan_id",
    "type",
    "date",
    "principal",
    "interest",
    "fees",
    "taxes",
    "currency",
)
RATES = ("date", "currency", "rate")

BUCKETED_DIRT = DirtRules(
    main="total_receivable_usd",
    numbers=("total_eligible_usd", "discounted_balance_usd", "cash_available_usd"),
    required=("measurement_date", "total_eligible_usd", "discounted_balance_usd", "cash_available_usd"),
    dates=("measurement_date",),
    negatives=("total_eligible_usd", "cash_available_usd"),
    texts=("product", "company", "region"),
    bucket="dpd_0_7_usd",
)
SNAPSHOT_DIRT = DirtRules(
    main="outstanding_principal",
    numbers=("days_past_due", "interest_rate", "accrued_interest"),
    required=("loan_id", "measurement_date", "days_past_due"),
    dates=("measurement_date", "disbursement_date", "maturity_date"),
    negatives=("outstanding_principal", "disbursed_principal"),
    texts=("product", "company", "region"),
)
LOANS_DIRT = DirtRules(
    main="disbursed_principal",
    numbers=("interest_rate", "term_days"),
    required=("loan_id", "disbursement_date"),
    dates=("disbursement_date", "maturity_date"),
    negatives=("disbursed_principal",),
    texts=("product", "company", "region"),
)
TRANSACTIONS_DIRT = DirtRules(
    main="principal",
    numbers=("interest", "fees", "taxes"),
    required=("loan_id", "type", "date"),
    dates=("date",),
)

_BUCKET_EDGES = (7, 30, 60, 90)
_TERM_EDGES = (30, 60, 90, 180, 365, 730)
_AMOUNT_EDGES = (
    (1_000, "1K"),
    (2_500, "2.5K"),
    (5_000, "5K"),
    (10_000, "10K"),
    (25_000, "25K"),
    (50_000, "50K"),
)
_HNL_PER_USD = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A loan on the as-of date; the ``*_usd`` amounts are integers of 1/10,000 USD."""

    loan: Loan
    state: LoanState
    rate: int
    receivable_usd: int
    eligible_usd: int
    discounted_usd: int
    cash_usd: int


def cents_text(cents: int) -> str:
    """Cents as a decimal text with two digits."""
    sign, cents = ("-", -cents) if cents < 0 else ("", cents)
    return f"{sign}{cents // 100}.{cents % 100:02d}"


def _usd_text(amount: int) -> str:
    whole, part = divmod(amount, 10_000)
    return f"{whole}.{part // 100:02d}" if part % 100 == 0 else f"{whole}.{part:04d}"


def rate_text(rate: int) -> str:
    """An exchange rate as a decimal text; 1 for the reporting currency."""
    return "1" if rate == RATE_UNIT else f"{rate // RATE_UNIT}.{rate % RATE_UNIT:08d}"


def _in_usd(cents: int, rate: int) -> int:
    """Cents of a currency in 1/10,000 USD, rounded half away from zero."""
    size = rounded(abs(cents) * 100 * rate, RATE_UNIT)
    return size if cents >= 0 else -size


def standing(loan: Loan, on: date, rates: Mapping[date, int], rng: random.Random) -> Standing:
    """The loan on the as-of date with what a borrowing base says of it.

    Eligible is 80 to 95 % of the receivable below 90 days past due and nothing from there on; discounted is
    85 to 97 % of eligible; cash is what was paid since the first of the month, at the rate of its day, held
    to 0..eligible.
    """
    state = state_at(loan, on)
    foreign = loan.draft.customer.currency != REPORTING_CURRENCY
    rate = rates[on] if foreign else RATE_UNIT
    receivable = _in_usd(state.outstanding, rate)
    share, discount = rng.randint(800, 950), rng.randint(850, 970)
    eligible = receivable * share // 100_000 * 100 if state.days_past_due < 90 else 0
    month = on.replace(day=1)
    cash = sum(
        _in_usd(item.total, rates[item.on] if foreign else RATE_UNIT)
        for item in loan.movements
        if item.kind is Kind.PAYMENT and month <= item.on <= on
    )
    return Standing(
        loan=loan,
        state=state,
        rate=rate,
        receivable_usd=receivable,
        eligible_usd=eligible,
        discounted_usd=eligible * discount // 100_000 * 100,
        cash_usd=max(0, min(cash, eligible)),
    )


def bucketed_row(at: Standing) -> Row:
    """The row of an open loan on a bucketed tape."""
    draft = at.loan.draft
    bucket = sum(at.state.days_past_due >= edge for edge in _BUCKET_EDGES)
    buckets = [0] * (len(_BUCKET_EDGES) + 1)
    buckets[bucket] = at.receivable_usd
    return [
        draft.loan_id,
        at.state.on.isoformat(),
        draft.product,
        draft.customer.company,
        draft.customer.region,
        term_bucket(at.loan),
        amount_bucket(at.loan),
        *map(_usd_text, (at.receivable_usd, at.eligible_usd, at.discounted_usd, at.cash_usd, *buckets)),
    ]


def snapshot_row(at: Standing) -> Row:
    """The row of an open or written-off loan on a snapshot, in the loan's currency unless ``*_usd``."""
    loan, state = at.loan, at.state
    draft = loan.draft
    return [
        draft.loan_id,
        state.on.isoformat(),
        draft.customer.customer_id,
        cents_text(state.outstanding),
        str(state.days_past_due),
        cents_text(draft.disbursed),
        draft.disbursed_on.isoformat(),
        loan.matures_on.isoformat(),
        _rate_bp_text(draft.rate_bp),
        str(_term_days(loan)),
        draft.customer.currency,
        rate_text(at.rate),
        status(state),
        draft.product,
        draft.customer.company,
        draft.customer.region,
        draft.facility,
        term_bucket(loan),
        amount_bucket(loan),
        _flag(state.is_written_off),
        cents_text(state.written_off_balance),
        _flag(state.is_restructured),
        cents_text(state.accrued_interest),
        _usd_text(at.eligible_usd),
        _usd_text(at.cash_usd),
    ]


def loan_row(loan: Loan, state: LoanState) -> Row:
    """The row of ``loans.csv``; the status is that of the as-of date."""
    draft = loan.draft
    return [
        draft.loan_id,
        draft.customer.customer_id,
        draft.disbursed_on.isoformat(),
        loan.matures_on.isoformat(),
        cents_text(draft.disbursed),
        _rate_bp_text(draft.rate_bp),
        str(_term_days(loan)),
        "one_time" if draft.is_one_time else "monthly",
        draft.customer.currency,
        status(state),
        draft.product,
        draft.customer.company,
        draft.customer.region,
        draft.facility,
        term_bucket(loan),
        amount_bucket(loan),
        loan.written_off_on.isoformat() if loan.written_off_on else "",
        loan.restructured_on.isoformat() if loan.restructured_on else "",
    ]


def schedule_rows(loan: Loan) -> Iterator[Row]:
    """Every schedule version in full, oldest first."""
    loan_id, currency = loan.draft.loan_id, loan.draft.customer.currency
    for version in loan.schedules:
        for row in version:
            yield [
                loan_id,
                row.due.isoformat(),
                cents_text(row.principal),
                cents_text(row.interest),
                cents_text(row.fees),
                cents_text(row.taxes),
                row.valid_from.isoformat(),
                currency,
            ]


def transaction_rows(loan: Loan, first_number: int) -> Iterator[Row]:
    """The movements of a loan by date; transactions are numbered through the whole book."""
    loan_id, currency = loan.draft.loan_id, loan.draft.customer.currency
    for number, item in enumerate(loan.movements, start=first_number):
        yield [
            f"T{number:09d}",
            loan_id,
            item.kind.value,
            item.on.isoformat(),
            cents_text(item.principal),
            cents_text(item.interest),
            cents_text(item.fees),
            cents_text(item.taxes),
            currency,
        ]


def rate_rows(rates: Mapping[date, int]) -> Iterator[Row]:
    """One row a day for the second currency."""
    for day, rate in rates.items():
        yield [day.isoformat(), SECOND_CURRENCY, rate_text(rate)]


def status(state: LoanState) -> str:
    """The status that a servicer would show."""
    if state.is_written_off:
        return "Written off"
    if state.is_repaid:
        return "Complete"
    if state.days_past_due >= 90:
        return "Default"
    return "Late" if state.days_past_due else "Current"


def term_bucket(loan: Loan) -> str:
    """Band of the term in days, e.g. ``31-60 Days``."""
    days, low = _term_days(loan), 0
    for edge in _TERM_EDGES:
        if days <= edge:
            return f"{low}-{edge} Days"
        low = edge + 1
    return f"{low}+ Days"


def amount_bucket(loan: Loan) -> str:
    """Band of the disbursed amount in USD at a round rate, e.g. ``2.5K-5K``."""
    scale = _HNL_PER_USD if loan.draft.customer.currency == SECOND_CURRENCY else 1
    low = "0"
    for edge, name in _AMOUNT_EDGES:
        if loan.draft.disbursed < edge * 100 * scale:
            return f"{low}-{name}"
        low = name
    return f"{low}+"


def _term_days(loan: Loan) -> int:
    return (loan.matures_on - loan.draft.disbursed_on).days


def _rate_bp_text(rate_bp: int) -> str:
    return f"{rate_bp // 10_000}.{rate_bp % 10_000:04d}"


def _flag(is_set: bool) -> str:
    return "true" if is_set else "false"
