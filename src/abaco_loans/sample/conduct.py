"""How a borrower pays: on time, late, in part, early, after a slump, never again; and what is recovered.

Payments fill instalments oldest first. A movement after the end of the book does not exist.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

from abaco_loans.sample.book import (
    Draft,
    Instalment,
    Kind,
    Loan,
    Movement,
    Quality,
    Stumble,
    Trouble,
    level_schedule,
)
from abaco_loans.sample.drafts import make_drafts, plan_troubles, stream
from abaco_loans.sample.spec import SampleSpec
from abaco_loans.sample.state import principal_left, write_off_day

_PUNCTUAL = {Quality.GOOD: 0.93, Quality.FAIR: 0.78, Quality.WEAK: 0.55}
_LATE_DAYS_MAX = {Quality.GOOD: 6, Quality.FAIR: 18, Quality.WEAK: 26}
_PARTIAL = 0.03
_REVERSED = 0.006
_PREPAID_MONTHLY = 0.008
_PREPAID_ONE_TIME = 0.08
_RECOVERED = 0.45
_CALM = Stumble(trouble=Trouble.NONE, at=0)


class _Purse:
    """Collects the payments of one loan; keeps what each instalment still lacks."""

    def __init__(self, schedule: tuple[Instalment, ...], end: date) -> None:
        self._owed = [[row.taxes, row.fees, row.interest, row.principal] for row in schedule]
        self._next = 0
        self.end = end
        self.payments: list[Movement] = []

    def pay(self, on: date, cash: int) -> Movement | None:
        """Pay so much, oldest instalment first; in it taxes, then fees, interest, principal."""
        parts = [0, 0, 0, 0]
        for row in self._owed[self._next :]:
            for place in range(4):
                part = min(cash, row[place])
                parts[place] += part
                row[place] -= part
                cash -= part
            if any(row):
                break
            self._next += 1
        taxes, fees, interest, principal = parts
        return self.add(
            Movement(kind=Kind.PAYMENT, on=on, principal=principal, interest=interest, fees=fees, taxes=taxes)
        )

    def add(self, payment: Movement) -> Movement | None:
        """Take a payment as it is; None when it lies after the end of the book or is empty."""
        if payment.on > self.end or not (payment.total or payment.principal):
            return None
        self.payments.append(payment)
        return payment

    def settle(self, on: date) -> None:
        """Pay the principal of all that is left, without the interest and fees still to come."""
        principal = sum(row[3] for row in self._owed[self._next :])
        self._next = len(self._owed)
        self.add(Movement(kind=Kind.PAYMENT, on=on, principal=principal))


def _reversed(payment: Movement, on: date) -> Movement:
    return Movement(
        kind=Kind.PAYMENT,
        on=on,
        principal=-payment.principal,
        interest=-payment.interest,
        fees=-payment.fees,
        taxes=-payment.taxes,
    )


def _pay_instalment(purse: _Purse, total: int, on: date, *, may_split: bool, rng: random.Random) -> date:
    """Pay one instalment: whole, in two parts, or bounced and paid again; gives the day it was done."""
    chance = rng.random()
    if may_split and chance < _PARTIAL:
        first = total * rng.randint(30, 70) // 100
        purse.pay(on, first)
        on += timedelta(days=rng.randint(4, 20))
        purse.pay(on, total - first)
    elif chance > 1 - _REVERSED:
        payment = purse.pay(on, total)
        if payment:
            purse.add(_reversed(payment, on + timedelta(days=rng.randint(1, 4))))
            on += timedelta(days=rng.randint(5, 15))
            purse.add(replace(payment, on=on))
    else:
        purse.pay(on, total)
    return on


def _pay_rest(draft: Draft, rows: tuple[Instalment, ...], purse: _Purse, not_before: date, rng: random.Random) -> None:
    """Pay instalments the borrower's usual way, with a chance to pay all of it early."""
    quality = draft.customer.quality
    done = not_before
    for number, row in enumerate(rows):
        if row.due - timedelta(days=12) > purse.end:
            return
        is_last = number == len(rows) - 1
        if not draft.is_one_time and not is_last and rng.random() < _PREPAID_MONTHLY:
            _prepay(row, purse, max(done, row.due - timedelta(days=rng.randint(0, 10))), rng)
            return
        if rng.random() < _PUNCTUAL[quality]:
            day = row.due - timedelta(days=rng.choice((0, 0, 0, 1, 2, 4)))
        else:
            day = row.due + timedelta(days=rng.randint(1, _LATE_DAYS_MAX[quality]))
        done = _pay_instalment(purse, row.total, max(done, day), may_split=not is_last, rng=rng)


def _prepay(row: Instalment, purse: _Purse, on: date, rng: random.Random) -> None:
    """Pay an instalment and all principal after it; often part of the interest is given back."""
    purse.pay(on, row.total)
    purse.settle(on)
    if rng.random() < 0.6:
        rebate = row.interest * rng.randint(10, 50) // 100
        back = on + timedelta(days=rng.randint(0, 3))
        purse.add(Movement(kind=Kind.PAYMENT, on=back, principal=0, interest=-rebate))


def _recover(draft: Draft, at: int, purse: _Purse, rng: random.Random) -> None:
    """After a default: perhaps a few payments of a small part of what is left."""
    rows = draft.schedule[at:]
    left = sum(row.principal for row in rows)
    if rng.random() < 0.25:
        purse.pay(rows[0].due + timedelta(days=rng.randint(3, 25)), rows[0].total * rng.randint(20, 60) // 100)
    if rng.random() >= _RECOVERED:
        return
    day = rows[0].due + timedelta(days=rng.randint(95, 260))
    for _ in range(rng.randint(1, 4)):
        purse.pay(day, left * rng.randint(4, 12) // 100)
        day += timedelta(days=rng.randint(20, 60))


def _restructure(draft: Draft, at: int, purse: _Purse, end: date, rng: random.Random) -> tuple[Instalment, ...] | None:
    """Miss two instalments, then agree on a schedule that holds what was paid and spreads the rest."""
    on = draft.schedule[at].due + timedelta(days=rng.randint(40, 75))
    if on > end:
        return None
    paid = tuple(replace(row, valid_from=on) for row in draft.schedule[:at])
    rest = level_schedule(
        principal=sum(row.principal for row in draft.schedule[at:]),
        rate_bp=draft.rate_bp,
        count=len(draft.schedule) - at + 6,
        start=on,
        fees=draft.schedule[at].fees,
    )
    again = _Purse(rest, end)
    _pay_rest(draft, rest, again, on, rng)
    purse.payments.extend(again.payments)
    return paid + rest


def _pay_before(draft: Draft, stumble: Stumble, purse: _Purse, rng: random.Random) -> date:
    """Pay the instalments before the stumble within days, whole, so that nothing else is open then."""
    done = draft.disbursed_on
    late = rng.randint(0, 9)
    for row in draft.schedule[: stumble.at]:
        done = max(done, row.due + timedelta(days=rng.randint(0, late)))
        purse.pay(done, row.total)
    return done


def _live_stumbling(
    draft: Draft, stumble: Stumble, purse: _Purse, end: date, rng: random.Random
) -> tuple[Instalment, ...] | None:
    done = _pay_before(draft, stumble, purse, rng)
    if stumble.trouble is Trouble.DEFAULT:
        _recover(draft, stumble.at, purse, rng)
        return None
    if stumble.trouble is Trouble.RESTRUCTURE:
        return _restructure(draft, stumble.at, purse, end, rng)
    first = draft.schedule[stumble.at].due
    cured = max(done, first + timedelta(days=min(rng.randint(31, 125), rng.randint(31, 125))))
    missed = [row for row in draft.schedule[stumble.at :] if row.due <= cured]
    if rng.random() < 0.3:
        purse.pay(first + timedelta(days=rng.randint(5, 30)), missed[0].total // 4)
        purse.pay(cured, sum(row.total for row in missed) - missed[0].total // 4)
    else:
        purse.pay(cured, sum(row.total for row in missed))
    _pay_rest(draft, draft.schedule[stumble.at + len(missed) :], purse, cured, rng)
    return None


def live(draft: Draft, stumble: Stumble, end: date, rng: random.Random) -> Loan:
    """Let a loan run to the end of the book.

    Args:
        draft: the loan as agreed.
        stumble: its trouble, whose instalment falls due before ``end``.
        end: the last day on which anything happens.
        rng: the stream of conduct; loans must be taken in a fixed order.
    """
    purse = _Purse(draft.schedule, end)
    schedules: tuple[tuple[Instalment, ...], ...] = (draft.schedule,)
    if stumble.trouble is not Trouble.NONE:
        newer = _live_stumbling(draft, stumble, purse, end, rng)
        schedules = (draft.schedule, newer) if newer else schedules
    elif draft.is_one_time and rng.random() < _PREPAID_ONE_TIME:
        row = draft.schedule[0]
        early = timedelta(days=rng.randint(2, max(3, (row.due - draft.disbursed_on).days // 2)))
        _prepay(row, purse, row.due - early, rng)
    else:
        _pay_rest(draft, draft.schedule, purse, draft.disbursed_on, rng)
    payments = sorted(purse.payments, key=lambda item: item.on)
    gone_on = None
    if stumble.trouble is not Trouble.NONE:
        gone_on = write_off_day(draft.disbursed, schedules, payments, end)
    if gone_on:
        balance = principal_left(draft.disbursed, payments, gone_on)
        payments.append(Movement(kind=Kind.WRITE_OFF, on=gone_on, principal=balance))
        payments.sort(key=lambda item: item.on)
    opening = Movement(kind=Kind.DISBURSEMENT, on=draft.disbursed_on, principal=draft.disbursed)
    return Loan(
        draft=draft,
        schedules=schedules,
        movements=(opening, *payments),
        written_off_on=gone_on,
        restructured_on=schedules[1][-1].valid_from if len(schedules) > 1 else None,
    )


def make_book(spec: SampleSpec) -> Iterator[Loan]:
    """Every loan with its whole history, one at a time, in order of disbursement."""
    drafts = make_drafts(spec)
    planned = plan_troubles(spec, drafts)
    rng = stream(spec, "conduct")
    for number, draft in enumerate(drafts):
        yield live(draft, planned.get(number, _CALM), spec.end, rng)
