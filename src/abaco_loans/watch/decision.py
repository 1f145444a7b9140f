"""Decision points of a watch: what is asked, when it passes, until when, and what happens when nobody answers.

Rule: what was not measured never passes. The declared default is always the careful choice, and needs nothing; a
choice that trusts the new release needs every criterion of its point. Where a choice leads stands in `MOVES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from abaco_loans.errors import InvariantError
from abaco_loans.watch.check import Status
from abaco_loans.watch.metric import KPI_VARIANCE
from abaco_loans.watch.schedule import DAY, DAYS, text_of


class Choice(StrEnum):
    """What can be decided."""

    REDUCE = "reduce"
    KEEP = "keep"
    INVESTIGATE = "investigate"
    SIGN_OFF = "sign_off"
    EXTEND = "extend"


# (status of the watch, choice) → its status afterwards. Everything else is refused.
MOVES: Mapping[tuple[str, Choice], str] = {
    ("watching", Choice.REDUCE): "watching",
    ("watching", Choice.KEEP): "watching",
    ("watching", Choice.INVESTIGATE): "watching",
    ("watching", Choice.SIGN_OFF): "signed_off",
    ("watching", Choice.EXTEND): "extended",
    ("extended", Choice.SIGN_OFF): "signed_off",
    ("extended", Choice.EXTEND): "extended",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A checkpoint as a decision sees it. ``status`` is None when it was missed, or is not there yet."""

    hour: Decimal
    status: Status | None
    metrics: Mapping[str, Status]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known at a decision point.

    Attributes:
        checkpoints: every one that the schedule asks for, from the point before to this one.
        fired: triggers of a rollback that fired at these checkpoints, in words.
        ledger_verified: None when that could not be found out.
    """

    checkpoints: tuple[Seen, ...]
    fired: tuple[str, ...]
    ledger_verified: bool | None


class Criterion(StrEnum):
    """What a point asks."""

    ALL_DONE = "all checkpoints are done"
    ALL_PASS = "all checkpoints are PASS"
    NO_ANOMALY = "no metric was beyond its limits"
    BASELINE_STABLE = "the KPIs are stable beside the old release"
    NOTHING_CRITICAL = "nothing was critical"
    LEDGER_VERIFIED = "the audit ledger is verified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """Whether a criterion is met; ``words`` say what stands against it, '' when it is."""

    criterion: Criterion
    met: bool
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A decision point.

    Attributes:
        since: the checkpoints after this hour, up to ``hour``, are what is looked at.
        allowed: how long a person may take, from when it is asked.
        trusting: choices that need every criterion.
    """

    hour: Decimal
    since: Decimal
    question: str
    choices: tuple[Choice, ...]
    default: Choice
    trusting: frozenset[Choice]
    allowed: timedelta
    criteria: tuple[Criterion, ...]


FREQUENCY = Point(
    hour=Decimal(8),
    since=Decimal(0),
    question="reduce the frequency, keep it, or investigate?",
    choices=(Choice.REDUCE, Choice.KEEP, Choice.INVESTIGATE),
    default=Choice.KEEP,
    trusting=frozenset({Choice.REDUCE}),
    allowed=timedelta(hours=1),
    criteria=(
        Criterion.ALL_DONE,
        Criterion.ALL_PASS,
        Criterion.NO_ANOMALY,
        Criterion.BASELINE_STABLE,
        Criterion.NOTHING_CRITICAL,
    ),
)


def sign_off_point(day: int) -> Point:
    """The point at the end of a day, 1 or later: the first day's, or that of a day by which the watch was extended."""
    return Point(
        hour=day * DAY,
        since=(day - 1) * DAY,
        question="sign off, or extend?",
        choices=(Choice.SIGN_OFF, Choice.EXTEND),
        default=Choice.EXTEND,
        trusting=frozenset({Choice.SIGN_OFF}),
        allowed=timedelta(hours=4),
        criteria=(Criterion.ALL_DONE, Criterion.NOTHING_CRITICAL, Criterion.LEDGER_VERIFIED),
    )


def points(extended_days: int = 0) -> tuple[Point, ...]:
    """All decision points, in order: hour 8, hour 24, and the end of every day that the watch was extended by."""
    return (FREQUENCY, *(sign_off_point(day) for day in range(1, min(extended_days + 1, DAYS) + 1)))


def point_at(hour: Decimal) -> Point:
    """The decision point of an hour.

    Raises:
        InvariantError: there is none at this hour.
    """
    found = next((item for item in points(DAYS) if item.hour == hour), None)
    if found is None:
        raise InvariantError(f"hour {hour} is no decision point")
    return found


def judged_point(point: Point, facts: Facts) -> tuple[Met, ...]:
    """Every criterion of the point, and whether it is met."""
    found = ((criterion, _ASKED[criterion](facts)) for criterion in point.criteria)
    return tuple(Met(criterion=criterion, met=not words, words=words) for criterion, words in found)


def passes(met: Sequence[Met]) -> bool:
    """Whether the point passes: every criterion is met."""
    return all(item.met for item in met)


def may_choose(point: Point, choice: Choice, met: Sequence[Met]) -> bool:
    """Whether the choice is one of the point's, and one that trusts the release only when the point passes."""
    return choice in point.choices and (choice not in point.trusting or passes(met))


def _all_done(facts: Facts) -> str:
    open_ = [item for item in facts.checkpoints if item.status is None]
    return f"not done: {_hours(open_)}" if open_ or not facts.checkpoints else ""


def _all_pass(facts: Facts) -> str:
    other = [item for item in facts.checkpoints if item.status is not Status.PASS]
    return f"not PASS: {_hours(other)}" if other or not facts.checkpoints else ""


def _no_anomaly(facts: Facts) -> str:
    odd = [item for item in facts.checkpoints if {Status.WARN, Status.FAIL} & set(item.metrics.values())]
    return f"beyond a limit: {_hours(odd)}" if odd else ""


def _baseline_stable(facts: Facts) -> str:
    odd = [item for item in facts.checkpoints if item.metrics.get(KPI_VARIANCE.name) is not Status.PASS]
    return f"not stable, or not measured: {_hours(odd)}" if odd or not facts.checkpoints else ""


def _nothing_critical(facts: Facts) -> str:
    """Nothing failed, no trigger fired, and nothing that could have failed was left unmeasured."""
    odd = [item for item in facts.checkpoints if {Status.FAIL, Status.UNKNOWN} & {item.status, *item.metrics.values()}]
    said = [f"critical, or not measured: {_hours(odd)}"] if odd else []
    return "; ".join([*said, *facts.fired])


def _ledger_verified(facts: Facts) -> str:
    if facts.ledger_verified is None:
        return "it could not be verified"
    return "" if facts.ledger_verified else "it does not verify"


_ASKED: Mapping[Criterion, Callable[[Facts], str]] = {
    Criterion.ALL_DONE: _all_done,
    Criterion.ALL_PASS: _all_pass,
    Criterion.NO_ANOMALY: _no_anomaly,
    Criterion.BASELINE_STABLE: _baseline_stable,
    Criterion.NOTHING_CRITICAL: _nothing_critical,
    Criterion.LEDGER_VERIFIED: _ledger_verified,
}


def _hours(seen: Sequence[Seen]) -> str:
    return ", ".join(f"hour {text_of(item.hour)}" for item in seen) or "there is no checkpoint"
