"""Who borrows what, when, on which terms; which loans go wrong; what a lempira is worth.

Randomness comes from one stream per step, seeded with text, so that it does not depend on the process or the
platform, and so that more draws in one step leave the others as they are.
"""

from __future__ import annotations

import random
from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from abaco_loans.sample.book import (
    REPORTING_CURRENCY,
    SECOND_CURRENCY,
    Customer,
    Draft,
    Quality,
    Stumble,
    Trouble,
    level_schedule,
    months_after,
    single_schedule,
)
from abaco_loans.sample.spec import SampleSpec


def stream(spec: SampleSpec, purpose: str) -> random.Random:
    """A random stream of its own for one purpose: drawing more from one leaves the others as they are."""
    return random.Random(f"{spec.seed}/{purpose}")


_SEASON = (820, 880, 960, 940, 1000, 980, 960, 1000, 1020, 1060, 1180, 1450)
_GROWTH_PERCENT = 102

_BANDS_USD = (
    (500, 1_000, 14),
    (1_000, 2_500, 26),
    (2_500, 5_000, 27),
    (5_000, 10_000, 18),
    (10_000, 25_000, 10),
    (25_000, 50_000, 4),
    (50_000, 75_000, 1),
)
_TERM_BANDS = ((15, 30, 30), (31, 60, 40), (61, 90, 20), (91, 120, 10))
_COUNTS, _COUNT_WEIGHTS = (6, 9, 12, 18, 24, 30, 36), (12, 10, 30, 20, 14, 6, 8)
_ONE_TIME = (("factoring", "purchase_order", "bridge"), (70, 20, 10))
_INSTALMENT = (("working_capital", "equipment", "consumer"), (45, 20, 35))
_HOME_USD = ("Norte Capital", "Pacífico Factoring")
_HOME_HNL = "Istmo Crédito"
_REGIONS = {
    REPORTING_CURRENCY: (
        ("San Salvador", "La Libertad", "Santa Ana", "San Miguel", "Cuscatlán", "Sonsonate", "Not Provided"),
        (38, 20, 12, 10, 7, 6, 7),
    ),
    SECOND_CURRENCY: (
        ("Francisco Morazán", "Cortés", "Atlántida", "Comayagua", "Not Provided"),
        (38, 34, 12, 9, 7),
    ),
}
_FACILITIES = (("F-A", "F-B", ""), (50, 25, 25))


def _pick(rng: random.Random, table: tuple[tuple[str, ...], tuple[int, ...]]) -> str:
    return rng.choices(table[0], table[1])[0]


def _customers(spec: SampleSpec, rng: random.Random) -> list[Customer]:
    made = []
    for number in range(max(1, spec.loans // 5)):
        foreign = spec.currencies == 2 and number % 4 == 1
        currency = SECOND_CURRENCY if foreign else REPORTING_CURRENCY
        quality = rng.choices((Quality.GOOD, Quality.FAIR, Quality.WEAK), (64, 27, 9))[0]
        made.append(
            Customer(
                customer_id=f"C{number + 1:06d}",
                company=_HOME_HNL if foreign else _HOME_USD[rng.random() < 0.4],
                region=_pick(rng, _REGIONS[currency]),
                currency=currency,
                quality=quality,
                size=1 if rng.random() < 0.15 else 0,
            )
        )
    return made


def _disbursement_days(spec: SampleSpec, rng: random.Random) -> list[date]:
    """One day a loan, ascending; the last is the end of the book, so that the extract reaches to it."""
    first = months_after(spec.end.replace(day=1), 1 - spec.months)
    starts = [months_after(first, number) for number in range(spec.months)]
    weight, weights = 1_000_000, []
    for start in starts:
        share = spec.end.day if start.replace(day=1) == spec.end.replace(day=1) else 30
        weights.append(weight * _SEASON[start.month - 1] * share)
        weight = weight * _GROWTH_PERCENT // 100
    days = []
    for start in rng.choices(starts, weights, k=spec.loans - 1):
        length = monthrange(start.year, start.month)[1]
        last = min(length, (spec.end - start).days + 1)
        days.append(start + timedelta(days=rng.randrange(last)))
    return [*sorted(days), spec.end]


def _ticket(rng: random.Random, customer: Customer, *, one_time: bool) -> int:
    """Disbursed cents in the customer's currency, whole units; receivables run larger."""
    index = rng.choices(range(len(_BANDS_USD)), [band[2] for band in _BANDS_USD])[0]
    low, high, _ = _BANDS_USD[min(index + customer.size + (one_time and rng.random() < 0.5), len(_BANDS_USD) - 1)]
    units = rng.randrange(low, high)
    return units * 100 * (25 if customer.currency == SECOND_CURRENCY else 1)


def _one_time_terms(rng: random.Random) -> tuple[int, int]:
    """Days and rate of a one-payment loan; short receivables may carry more than 100 % a year."""
    low, high, _ = rng.choices(_TERM_BANDS, [band[2] for band in _TERM_BANDS])[0]
    days = rng.randint(low, high)
    dear = days <= 45 and rng.random() < 0.25
    return days, rng.randrange(10_000, 23_000, 10) if dear else rng.randrange(1_800, 9_000, 10)


def make_drafts(spec: SampleSpec) -> list[Draft]:
    """All loans as agreed, in order of disbursement."""
    rng = stream(spec, "drafts")
    customers = _customers(spec, rng)
    reach, weights = 0.0, []
    for rank in range(len(customers)):
        reach += 1 / (rank + 8)
        weights.append(reach)
    drafts = []
    for number, day in enumerate(_disbursement_days(spec, rng), start=1):
        customer = rng.choices(customers, cum_weights=weights)[0]
        one_time = rng.random() < 0.45
        principal = _ticket(rng, customer, one_time=one_time)
        if one_time:
            days, rate_bp = _one_time_terms(rng)
            schedule = single_schedule(principal=principal, rate_bp=rate_bp, days=days, start=day)
        else:
            count = rng.choices(_COUNTS, _COUNT_WEIGHTS)[0]
            rate_bp = rng.randrange(1_400, 4_800, 10)
            fees = rng.choice((100, 150, 200, 250))
            schedule = level_schedule(principal=principal, rate_bp=rate_bp, count=count, start=day, fees=fees)
        drafts.append(
            Draft(
                loan_id=f"L{number:07d}",
                customer=customer,
                product=_pick(rng, _ONE_TIME if one_time else _INSTALMENT),
                facility=_pick(rng, _FACILITIES),
                disbursed_on=day,
                disbursed=principal,
                rate_bp=rate_bp,
                schedule=schedule,
            )
        )
    return drafts


# Troubles: a budget per month, so that a small book of any seed still looks like a book

_HAZARD = {Quality.GOOD: 0.3, Quality.FAIR: 1.0, Quality.WEAK: 4.0}
_BUDGETS = {
    (True, Trouble.DEFAULT): 0.0110,
    (True, Trouble.SLUMP): 0.0140,
    (False, Trouble.DEFAULT): 0.0064,
    (False, Trouble.SLUMP): 0.0100,
}
"""Share of the balance that enters trouble: of what matures (one payment), or a month (instalments)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exposure:
    """One instalment that could be the first one missed, and the balance then left (USD cents)."""

    loan: int
    at: int
    balance: int
    hazard: float


def _exposures(drafts: Iterable[Draft], end: date) -> dict[tuple[int, int, bool], list[_Exposure]]:
    found: dict[tuple[int, int, bool], list[_Exposure]] = {}
    for number, draft in enumerate(drafts):
        scale = 25 if draft.customer.currency == SECOND_CURRENCY else 1
        balance = draft.disbursed
        for index, row in enumerate(draft.schedule):
            if row.due >= end:
                break
            hazard = _HAZARD[draft.customer.quality]
            item = _Exposure(loan=number, at=index, balance=balance // scale, hazard=hazard)
            found.setdefault((row.due.year, row.due.month, draft.is_one_time), []).append(item)
            balance -= row.principal
    return found


def plan_troubles(spec: SampleSpec, drafts: list[Draft]) -> dict[int, Stumble]:
    """Which loans stumble, by index in ``drafts``.

    Each month has a budget of balance for each trouble; it is spent on loans drawn by the hazard of their
    borrower, and what is left over or overspent goes to the next month. Drawing loan by loan instead would
    leave the PAR of a small book to chance.
    """
    rng = stream(spec, "troubles")
    planned: dict[int, Stumble] = {}
    carried = dict.fromkeys(_BUDGETS, 0.0)
    for (_, _, one_time), items in sorted(_exposures(drafts, spec.end).items()):
        order = sorted((rng.random() / item.hazard, item.loan, item) for item in items)
        total = sum(item.balance for item in items)
        for trouble in (Trouble.DEFAULT, Trouble.SLUMP):
            left = carried[one_time, trouble] + total * _BUDGETS[one_time, trouble]
            for _, _, item in order:
                if item.balance > 2 * left or item.loan in planned:
                    continue
                kind = trouble
                if trouble is Trouble.SLUMP and not one_time and rng.random() < 0.12:
                    kind = Trouble.RESTRUCTURE
                planned[item.loan] = Stumble(trouble=kind, at=item.at)
                left -= item.balance
            carried[one_time, trouble] = left
    return planned


# Exchange rates


def exchange_rates(spec: SampleSpec) -> dict[date, int]:
    """USD for one HNL in 1/RATE_UNIT, each day of the book; a slow fall with small daily steps."""
    rng = stream(spec, "rates")
    day = months_after(spec.end.replace(day=1), 1 - spec.months)
    rate, made = 4_060_000, {}
    while day <= spec.end:
        made[day] = rate
        rate = max(1_000_000, rate + rng.randint(-1_800, 1_700))
        day += timedelta(days=1)
    return made
