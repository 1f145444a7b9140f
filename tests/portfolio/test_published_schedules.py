"""Loans whose amortisation was published, and what is plain to see of each: paid, late, half paid, skipped, reversed.

The terms and the checked figures are those of the publications that `mortgagemath` is validated against; it writes out
the whole schedule. What is owed and since when follows from the schedule by looking at it.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from mortgagemath import (
    BalanceTracking,
    Compounding,
    DayCount,
    EarlyPayoffWarning,
    LoanParams,
    PaymentFrequency,
    PaymentRounding,
    RateChange,
    amortization_schedule,
)
from sqlglot import exp

from abaco_loans.operations.rebuild import make_facts
from abaco_loans.portfolio.panel import PANEL, PanelSource, panel_of
from abaco_loans.sample.book import months_after
from abaco_loans.tape.calculation import month_end_before
from abaco_loans.tape.definition import Boundary, Definition
from abaco_loans.tape.panel import FACTS, LOANS
from tests.tape.servicing_books import Bench
from tests.tape.servicing_reference import Due, Loan, Move

HALF_UP, UP, DOWN, HALF_EVEN = (
    PaymentRounding.ROUND_HALF_UP,
    PaymentRounding.ROUND_UP,
    PaymentRounding.ROUND_DOWN,
    PaymentRounding.ROUND_HALF_EVEN,
)
OPENED = date(2000, 1, 31)
PLAIN = Definition(name="plain", version="1")
DAY = timedelta(days=1)
# Months between two instalments; of the other frequencies, days.
MONTHS = {PaymentFrequency.MONTHLY: 1, PaymentFrequency.QUARTERLY: 3, PaymentFrequency.ANNUAL: 12}
DAYS = {PaymentFrequency.BIWEEKLY: 14}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Terms of a loan, and what its source says: the first instalment, and balances after some instalments."""

    terms: LoanParams
    payment: Decimal
    balances: dict[int, Decimal]


def said(
    principal: str,
    rate: str,
    months: int,
    payment: str,
    balances: dict[int, str] | None = None,
    *,
    up: PaymentRounding = HALF_UP,
    interest: PaymentRounding = HALF_UP,
    **more: Any,
) -> Published:
    terms = LoanParams(
        principal=Decimal(principal),
        annual_rate=Decimal(rate),
        term_months=months,
        payment_rounding=up,
        interest_rounding=interest,
        **more,
    )
    after = {number: Decimal(balance) for number, balance in (balances or {}).items()}
    return Published(terms=terms, payment=Decimal(payment), balances=after)


ANNUAL: dict[str, Any] = {"compounding": Compounding.ANNUAL, "payment_frequency": PaymentFrequency.ANNUAL}
CANADIAN: dict[str, Any] = {"compounding": Compounding.SEMI_ANNUAL}
QUARTERLY: dict[str, Any] = {**CANADIAN, "payment_frequency": PaymentFrequency.QUARTERLY}
CARRIED: dict[str, Any] = {"balance_tracking": BalanceTracking.CARRY_PRECISION}
WHOLE: dict[str, Any] = {"currency_unit": Decimal(1)}
H14_RATES = {2: "15.41", 3: "15.17", 4: "13.17", **dict.fromkeys(range(5, 16), "12.41")}

PUBLISHED: dict[str, Published] = {
    "Arcones, FM 4.1 example 4": said("20000", "8", 144, "2653.90", {7: "10596.26", 12: "0"}, **ANNUAL),
    "BCC Brescia, foglio informativo": said("200000", "5.65", 120, "2185.42"),
    "Broverman, MIC 2.7(a)": said("12000", "12", 36, "398.57"),
    "Broverman, MIC 2.7(b)": said("12000", "15", 48, "333.97"),
    "CFPB, form H-25(B)": said("162000", "3.875", 360, "761.78"),
    "CFPB, interest-only sample": said("211000", "4", 360, "703.33", {60: "211000"}, interest_only_months=60),
    "eCampus 4.3, Pearline": said("10000", "10", 48, "3154.71", {3: "2867.91", 4: "0"}, **ANNUAL),
    "eCampus 4.3, Erika": said("32600", "4.83", 108, "372.80", up=UP),
    "eCampus 4.3, Johnetta": said("20200", "3.53", 96, "241.83", {60: "8249.38"}),
    "eCampus 4.4.1, first term": said(
        "297500", "3.8", 36, "5317.62", {12: "265830.61"}, amortization_period_months=240, **QUARTERLY
    ),
    "eCampus 4.4.1, renewal": said("265830.61", "2.5", 204, "4807.70", **QUARTERLY),
    "Fannie Mae, Multifamily Guide 1103": said(
        *("25000000", "5.5", 120, "141947.25", {120: "20885505.83"}),
        amortization_period_months=360,
        day_count=DayCount.ACTUAL_360,
        start_date=date(2018, 12, 1),
    ),
    "Federal Home Loan Bank Review, March 1935": said(
        "3000", "6", 139, "30.00", {70: "1746.51", 139: "0"}, payment_override=Decimal(30), **CARRIED
    ),
    "Geltner, chapter 20": said("1000000", "12", 360, "10286.13", {180: "857057.13", 359: "10184.28"}, **CARRIED),
    "Goldstein, 10.3 example 1": said("563", "12", 5, "116.00", {3: "228.57", 5: "0"}, **CARRIED),
    "JHF, Flat 35": said("20000000", "1.5", 360, "69024", **WHOLE),
    "Las Positas, 8.05 example 1": said("15000", "9", 60, "311.38", up=UP),
    "Las Positas, 8.05 example 3": said("18000", "2", 60, "315.50", up=UP),
    "LoanKeisan": said("30000000", "1", 360, "96491", {181: "16039440", 360: "0"}, up=DOWN, interest=DOWN, **WHOLE),
    "MoneyVox": said("10000", "5", 12, "858.99", {7: "4227.42", 12: "0"}, fee_per_period=Decimal("2.92")),
    "Mississippi State, P3920": said("100000", "7", 360, "665.30"),
    "Olivier, Chans": said(
        "350100", "4.9", 36, "2281.73", {36: "316593.49"}, amortization_period_months=240, **CANADIAN
    ),
    "Olivier, Chans, renewal": said("316593.49", "5.85", 204, "2440.73", **CANADIAN),
    "OpenStax 6.12": said("132650", "4.8", 360, "695.97", up=UP),
    "OpenStax 6.100.1": said("18325", "6.75", 48, "436.70", up=UP),
    "OpenStax 6.100.2": said("41633", "3.9", 72, "649.47", up=UP),
    "OpenStax 6.110": said("153899", "4.21", 240, "949.72", up=UP),
    "OpenStax 6.114": said("159195.50", "5.75", 360, "929.03", up=UP),
    "OpenStax 6.36": said("23660", "4.76", 60, "443.90", up=UP),
    "OpenStax 6.78.1": said("17950", "7.5", 120, "213.07", up=UP),
    "OpenStax 6.78.2": said("33760", "4.3", 240, "209.96", up=UP),
    "OpenStax 6.8, car": said("28500", "3.99", 60, "524.75", up=UP),
    "OpenStax 6.8, home": said("136700", "5.75", 180, "1135.18", up=UP),
    "ProEducate, payment cap": said(
        *("65000", "10", 360, "570.42", {13: "64671.91", 24: "65059.62"}),
        rate_schedule=(RateChange(13, Decimal(12), payment_cap_factor=Decimal("1.075")),),
    ),
    "RBC, accelerated fortnightly": said(
        *("350000", "5", 300, "1017.81"),
        payment_frequency=PaymentFrequency.BIWEEKLY,
        payment_override=Decimal("1017.81"),
        **CANADIAN,
    ),
    "Regulation Z, H-14": said(
        *("10000", "17.41", 360, "145.90", {36: "9945.51", 180: "8700.37"}),
        rate_schedule=tuple(RateChange(12 * year - 11, Decimal(rate)) for year, rate in H14_RATES.items()),
    ),
    "Skinner 1913, 42 example 1": said("1000", "6", 180, "102.96", **ANNUAL),
    "Skinner 1913, 42 example 3": said("500", "6", 60, "9.63", compounding=Compounding.ANNUAL),
    "Solution Bank, foglio informativo": said("200000", "7", 360, "1330.60"),
    "half a cent, rounded to even": said("100001.25", "4.8", 360, "524.67", {3: "99625.76"}, interest=HALF_EVEN),
    "half a cent, rounded up": said("100001.25", "4.8", 360, "524.67", {3: "99625.77"}),
    "half a cent, payment rounded up": said("100001.25", "4.8", 360, "524.68", {3: "99625.74"}, up=UP),
    "Texas Instruments, BA II Plus": said(
        "120000", "6.125", 360, "729.13", {9: "118928.63", 21: "117421.60", 33: "115819.62"}
    ),
    "Tistory": said("300000000", "4", 360, "1432246", {2: "299134067", 3: "298698935"}, **WHOLE),
    "Wikipedia, mortgage calculator": said("200000", "6.5", 360, "1264.14", up=UP),
    "without interest": said("999", "0", 24, "41.63", {13: "457.81", 24: "0"}),
}
NAMES = pytest.mark.parametrize("name", PUBLISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A loan's schedule; ``balances[n]`` stands when n instalments are paid. ``k`` is the one that goes wrong."""

    balances: tuple[Decimal, ...]
    dues: tuple[Due, ...]

    @property
    def k(self) -> int:
        return max(2, len(self.dues) // 2)

    @property
    def wrong(self) -> date:
        """Due date of the instalment that goes wrong."""
        return self.dues[self.k - 1].due_date

    @property
    def following(self) -> date:
        return self.dues[self.k].due_date

    def paid_by(self, day: date) -> int:
        """How many instalments have been due on or before a day."""
        return bisect_right(self.dues, day, key=lambda due: due.due_date)


def due_date(frequency: PaymentFrequency, number: int) -> date:
    if frequency in DAYS:
        return OPENED + timedelta(days=DAYS[frequency] * number)
    return months_after(OPENED, MONTHS[frequency] * number)


@cache
def plan(name: str) -> Plan:
    terms = PUBLISHED[name].terms
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EarlyPayoffWarning)
        opening, *rows = amortization_schedule(terms)
    balances = tuple(row.balance for row in (opening, *rows))
    dues = tuple(
        Due(
            due_date=due_date(terms.payment_frequency, row.number),
            principal=before - row.balance,
            interest=row.payment - row.fee - (before - row.balance),
            fees=row.fee,
        )
        for before, row in zip(balances, rows, strict=False)
    )
    return Plan(balances=balances, dues=dues)


@NAMES
def test_the_schedule_is_the_published_one(name: str) -> None:
    found, published = plan(name), PUBLISHED[name]
    first = found.dues[0]
    assert first.principal + first.interest + first.fees == published.payment
    assert {number: found.balances[number] for number in published.balances} == published.balances
    assert found.balances[0] == published.terms.principal
    assert all(due.interest >= 0 for due in found.dues)


def payment(due: Due, day: date | None = None, *, times: Decimal = Decimal(1)) -> Move:
    return Move(
        type="payment",
        date=day or due.due_date,
        principal=due.principal * times,
        interest=due.interest * times,
        fees=due.fees * times,
    )


def _changed(*others: Callable[[Due], Move], go_on: bool) -> Callable[[Plan], Iterable[Move]]:
    """Pays as scheduled but for instalment k, which is paid by ``others``; after it, pays on or nothing more."""

    def moves(of: Plan) -> Iterable[Move]:
        wrong = of.dues[of.k - 1]
        before, after = of.dues[: of.k - 1], of.dues[of.k :] if go_on else ()
        return (*map(payment, before), *(other(wrong) for other in others), *map(payment, after))

    return moves


HALF = Decimal("0.5")
SCENARIOS: dict[str, Callable[[Plan], Iterable[Move]]] = {
    "paid": lambda of: map(payment, of.dues),
    "stopped": _changed(go_on=False),
    "half": _changed(lambda due: payment(due, times=HALF), go_on=False),
    "late": _changed(lambda due: payment(due, due.due_date + 10 * DAY), go_on=True),
    "reversed": _changed(payment, lambda due: payment(due, due.due_date + 5 * DAY, times=Decimal(-1)), go_on=False),
    "skipped": _changed(go_on=True),
}


def loan(name: str, scenario: str) -> Loan:
    of = plan(name)
    return Loan(
        loan_id=f"{name}: {scenario}",
        disbursement_date=OPENED,
        disbursed_principal=of.balances[0],
        schedule=of.dues,
        moves=tuple(SCENARIOS[scenario](of)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the panel says of a loan and date."""

    days: int
    oldest: date | None
    outstanding: Decimal
    bucket: str


COLUMNS = ("days_past_due", "oldest_unpaid_due_date", "outstanding_principal", "dpd_bucket")
Found = dict[tuple[str, date], Said]


def panel(bench: Bench, definition: Definition, days: Iterable[date]) -> Found:
    """What the engine says of every loan at these days."""
    dates = sorted(set(days))
    make_facts(bench.engine, definition, [month_end_before(dates[0]), *dates], "USD", foreign=False)
    source = PanelSource(facts=FACTS, loans=LOANS, first=None, foreign=False, definition=definition)
    made = exp.Create(this=exp.to_table(PANEL), kind="VIEW", expression=panel_of(source), replace=True)
    bench.engine.execute(made)
    rows = bench.engine.rows(exp.select("loan_id", "as_of", *COLUMNS).from_(PANEL))
    return {
        (loan_id, day): Said(days=late, oldest=oldest, outstanding=outstanding, bucket=bucket)
        for loan_id, day, late, oldest, outstanding, bucket in rows
    }


@pytest.fixture(scope="module")
def as_scheduled(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Every loan, paid as scheduled, on the day before, of and after every due date of any of them."""
    bench = Bench(tmp_path_factory.mktemp("scheduled"))
    bench.load([loan(name, "paid") for name in PUBLISHED], {})
    days = {due.due_date + step * DAY for name in PUBLISHED for due in plan(name).dues for step in (-1, 0, 1)}
    return panel(bench, PLAIN, days)


@NAMES
def test_paid_as_scheduled_is_never_late_and_owes_the_published_balance(name: str, as_scheduled: Found) -> None:
    of = plan(name)
    own = {day: item for (loan_id, day), item in as_scheduled.items() if loan_id == f"{name}: paid"}
    assert len(own) > 3 * len(of.dues) - 2
    for day, item in own.items():
        wanted = of.balances[of.paid_by(day)]
        assert item == Said(days=0, oldest=None, outstanding=wanted, bucket="current"), day


DEFINITIONS = {"plain": PLAIN, "more than": replace(PLAIN, boundary=Boundary.MORE_THAN)}
STEPS = (-1, 0, 1, 4, 5, 9, 10, 13, 29, 30, 31, 89, 90, 91)


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """Every loan in every scenario, around the instalment that goes wrong and the one after it."""
    bench = Bench(tmp_path_factory.mktemp("scenarios"))
    bench.load([loan(name, scenario) for name in PUBLISHED for scenario in SCENARIOS], {})
    days = {plan(name).wrong + step * DAY for name in PUBLISHED for step in STEPS}
    days |= {plan(name).following + step * DAY for name in PUBLISHED for step in (-1, 0, 1)}
    return {named: panel(bench, definition, days) for named, definition in DEFINITIONS.items()}


def states(found: Found, name: str, scenario: str, steps: Iterable[int]) -> list[tuple[int, date | None]]:
    """Days past due and oldest unpaid due date, so many days after the due date that went wrong."""
    said_of = [found[f"{name}: {scenario}", plan(name).wrong + step * DAY] for step in steps]
    return [(item.days, item.oldest) for item in said_of]


def late(of: Plan, days: int) -> tuple[int, date | None]:
    return (days, of.wrong) if days > 0 else (0, None)


@NAMES
@pytest.mark.parametrize("scenario", ["stopped", "half"])
def test_whoever_stops_is_late_by_every_day_since(name: str, scenario: str, scenarios: dict[str, Found]) -> None:
    of = plan(name)
    for found in scenarios.values():
        assert states(found, name, scenario, STEPS) == [late(of, step) for step in STEPS]
    paid = of.dues[of.k - 1].principal * HALF if scenario == "half" else 0
    owed = scenarios["plain"][f"{name}: {scenario}", of.wrong + 30 * DAY].outstanding
    assert owed == of.balances[of.k - 1] - paid


@NAMES
def test_paid_ten_days_late_is_late_until_then(name: str, scenarios: dict[str, Found]) -> None:
    of = plan(name)
    for found in scenarios.values():
        assert (
            states(found, name, "late", STEPS[:8]) == [late(of, step) for step in (-1, 0, 1, 4, 5, 9)] + [(0, None)] * 2
        )
        assert found[f"{name}: late", of.wrong + 9 * DAY].outstanding == of.balances[of.k - 1]
        assert found[f"{name}: late", of.wrong + 10 * DAY].outstanding == of.balances[of.k]


@NAMES
def test_a_reversed_payment_is_late_again_from_the_due_date(name: str, scenarios: dict[str, Found]) -> None:
    of = plan(name)
    for found in scenarios.values():
        wanted = [late(of, step if step >= 5 else 0) for step in STEPS]
        assert states(found, name, "reversed", STEPS) == wanted
        assert found[f"{name}: reversed", of.wrong + 4 * DAY].outstanding == of.balances[of.k]
        assert found[f"{name}: reversed", of.wrong + 5 * DAY].outstanding == of.balances[of.k - 1]


@NAMES
def test_with_one_instalment_skipped_each_payment_covers_the_one_before(name: str, scenarios: dict[str, Found]) -> None:
    of, key = plan(name), f"{name}: skipped"
    wrong, following = of.wrong, of.following
    gap = (following - wrong).days
    for found in scenarios.values():
        days = [found[key, following + step * DAY] for step in (-1, 0, 1)]
        assert [item.days for item in days] == [gap - 1, 0, 1]
        assert days[0].oldest == wrong and days[2].oldest == following
        assert days[2].outstanding == of.balances[of.k + 1] + of.dues[of.k - 1].principal


RISKY = {"plain": {"30-59", "60-89", "90+"}, "more than": {"31-60", "61-90", "91+"}}


@NAMES
@pytest.mark.parametrize("named", RISKY)
def test_par_30_is_the_published_balances_of_those_at_thirty_days_or_past_them(
    name: str, named: str, scenarios: dict[str, Found]
) -> None:
    of, found = plan(name), scenarios[named]
    half = of.dues[of.k - 1].principal * HALF
    owed = of.balances[of.k - 1]
    for step in (29, 30, 31):
        day = of.wrong + step * DAY
        own = [found[f"{name}: {scenario}", day] for scenario in SCENARIOS if scenario != "skipped"]
        at_risk = sum((item.outstanding for item in own if item.bucket in RISKY[named]), Decimal(0))
        reached = step >= 30 if named == "plain" else step > 30
        assert at_risk == (owed + (owed - half) + owed if reached else 0)
        assert sum((item.outstanding for item in own), Decimal(0)) == 3 * owed - half + 2 * of.balances[of.paid_by(day)]
