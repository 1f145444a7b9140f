"""The watch after a cutover: what a tick does, and how its decisions are made.

A tick is safe to repeat: whatever it records is recorded once. It does the checkpoint that is due, records those that
were missed, lets the declared default happen where nobody decided in time, asks for the decision that is next, and
tells what calls for a rollback: it proposes one, or carries it out where the workspace allows that. Where no cutover
is watched, production is validated once a day. Whatever is found becomes alerts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import cast

from abaco_loans.errors import AbacoError, InvariantError, NoAnswer, UsageError
from abaco_loans.operations.steady_watch import validate_daily
from abaco_loans.operations.tracing import span
from abaco_loans.operations.watch_checkpoint import (
    WatchRecords,
    WatchTools,
    ledger_verified,
    look_for_triggers,
    observe,
)
from abaco_loans.operations.watch_people import refuse_strangers
from abaco_loans.outputs.publish import world
from abaco_loans.records.locks import exclusive
from abaco_loans.records.watches import (
    CheckpointRecord,
    DecisionRecord,
    NewCheckpoint,
    WatchRecord,
    WatchStatus,
)
from abaco_loans.releases.trigger import Trigger
from abaco_loans.watch import decision as decisions
from abaco_loans.watch.check import Report, Status
from abaco_loans.watch.decision import Choice, Facts, Met, Point, Seen
from abaco_loans.watch.schedule import DAY, due, due_at, next_hour, schedule, text_of

_WAIT_S = 120
_NOBODY = "nobody decided in time"
_LATE = "the next decision point came before anybody was asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class TickOutcome:
    """What a tick did. ``watch`` is None where production is not watched.

    Attributes:
        done: the checkpoint that was done; ``missed`` those that were recorded as missed.
        defaulted: decisions that nobody made; ``asked`` those that are asked for from now on.
        triggers: what calls for a rollback, or is not known.
        validated: production where no cutover is watched; None: it was not due.
        went_back: the rollback that was carried out; ``stuck`` why it could not be.
    """

    watch: WatchRecord | None
    done: CheckpointRecord | None = None
    missed: tuple[CheckpointRecord, ...] = ()
    defaulted: tuple[DecisionRecord, ...] = ()
    asked: tuple[DecisionRecord, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    validated: Report | None = None
    went_back: str = ""
    stuck: AbacoError | None = None

    @property
    def rollback_proposed(self) -> bool:
        """Whether a trigger fired; one that is unknown proposes nothing."""
        return any(item.fired for item in self.triggers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a watch stands: what is recorded, and the schedule that follows from its decisions."""

    watch: WatchRecord
    checkpoints: tuple[CheckpointRecord, ...]
    decisions: tuple[DecisionRecord, ...]

    @property
    def extended_days(self) -> int:
        """Days by which the watch was extended."""
        return sum(item.decision == Choice.EXTEND for item in self.decisions)

    @property
    def hours(self) -> tuple[Decimal, ...]:
        """All checkpoints."""
        reduced = any(item.decision == Choice.REDUCE for item in self.decisions)
        return schedule(reduced=reduced, extended_days=self.extended_days)

    @property
    def recorded(self) -> frozenset[Decimal]:
        """The hours that are done or missed."""
        return frozenset(Decimal(item.hour) for item in self.checkpoints)

    @property
    def next_hour(self) -> Decimal | None:
        """The checkpoint that comes next."""
        return None if self.watch.status == "ended" else next_hour(self.recorded, self.hours)

    @property
    def open(self) -> tuple[DecisionRecord, ...]:
        """Decisions that are asked for and not made."""
        return tuple(item for item in self.decisions if item.decision is None)


def standing_of(records: WatchRecords, watch: WatchRecord) -> Standing:
    """How a watch stands now."""
    reader = records.watch_reader
    return Standing(
        watch=watch, checkpoints=reader.checkpoints(watch.watch_id), decisions=reader.decisions(watch.watch_id)
    )


@span("abaco.tick")
def tick(tools: WatchTools) -> TickOutcome:
    """Do what is due now, if anything; see the top of this file.

    Raises:
        WorldError: REC-111 another tick is at work and does not end; disk or database failed. What was recorded
            before stays, and the next tick goes on from there.
    """
    locks = tools.workspace.locks
    with world(locks):
        locks.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        exclusive(locks / "watch.lock", timeout_s=_WAIT_S, who="abaco watch tick", clock=tools.clock),
        tools.open_records() as records,
    ):
        watch = records.watch_reader.current()
        now = _ended_with_its_release(records, watch) if watch else None
        if now is None or now.status == "ended":
            outcome = TickOutcome(watch=now, validated=validate_daily(tools, records))
        else:
            outcome = _tick(tools, records, now)
    if outcome.done or outcome.missed or outcome.defaulted or outcome.asked or outcome.watch != watch:
        tools.anchor()
    outcome = _gone_back(tools, outcome)
    _tell(tools, outcome)
    tools.follow(outcome)
    return outcome


def _gone_back(tools: WatchTools, outcome: TickOutcome) -> TickOutcome:
    """The outcome; with the rollback that a trigger called for, where the workspace allows it."""
    if tools.go_back is None or not outcome.rollback_proposed:
        return outcome
    reason = "; ".join(item.words for item in outcome.triggers if item.fired)
    try:
        return replace(outcome, went_back=tools.go_back(f"by itself: {reason}"))
    except AbacoError as error:
        return replace(outcome, stuck=error)


def _tick(tools: WatchTools, records: WatchRecords, watch: WatchRecord) -> TickOutcome:
    defaulted = _let_defaults_happen(tools, records, watch.watch_id)
    standing = _again(records, watch.watch_id)
    what = due(watch.started_at, tools.clock.now(), standing.recorded, standing.hours)
    missed = tuple(_missed(records, watch, hour) for hour in what.missed)
    if what.checkpoint is None:
        done, found = None, look_for_triggers(tools, records, watch)
    else:
        done, found = _checkpoint(tools, records, standing, what.checkpoint)
    asked = _ask(tools, records, watch.watch_id)
    late = _let_defaults_happen(tools, records, watch.watch_id)
    return TickOutcome(
        watch=_ended_when_over(records, watch.watch_id),
        done=done,
        missed=missed,
        defaulted=(*defaulted, *late),
        asked=tuple(item for item in asked if item.point not in {said.point for said in late}),
        triggers=found,
    )


def _ended_with_its_release(records: WatchRecords, watch: WatchRecord) -> WatchRecord:
    """The watch; ended when its release is no longer the active one: nobody decides about a release that is gone."""
    active = records.production_reader.pointer().active
    if active == watch.release:
        return watch
    why = f"release {active or 'none'} is active, no longer {watch.release}"
    return records.watch_writer.move(watch.watch_id, "ended", why)


def _again(records: WatchRecords, watch_id: str) -> Standing:
    watch = records.watch_reader.get(watch_id)
    if watch is None:
        raise InvariantError(f"watch {watch_id} is gone")
    return standing_of(records, watch)


def _missed(records: WatchRecords, watch: WatchRecord, hour: Decimal) -> CheckpointRecord:
    new = NewCheckpoint(
        watch_id=watch.watch_id,
        hour=text_of(hour),
        due_at=due_at(watch.started_at, hour),
        done_at=None,
        metrics={},
        judged={},
    )
    return records.watch_writer.checkpoint(new)[0]


def _checkpoint(
    tools: WatchTools, records: WatchRecords, standing: Standing, hour: Decimal
) -> tuple[CheckpointRecord | None, tuple[Trigger, ...]]:
    """Do a checkpoint. None where another machine did it meanwhile."""
    watch = standing.watch
    earlier = [item for item in standing.checkpoints if item.status == "done"]
    seen = observe(tools, records, watch, earlier)
    new = NewCheckpoint(
        watch_id=watch.watch_id,
        hour=text_of(hour),
        due_at=due_at(watch.started_at, hour),
        done_at=seen.figures.at,
        metrics=seen.figures.as_dict(),
        judged=seen.judgement(),
    )
    made, is_new = records.watch_writer.checkpoint(new)
    return (made if is_new else None), seen.triggers


def _let_defaults_happen(tools: WatchTools, records: WatchRecords, watch_id: str) -> tuple[DecisionRecord, ...]:
    """Record the declared default of every decision whose deadline has passed."""
    found = []
    while overdue := [item for item in _again(records, watch_id).open if item.deadline <= tools.clock.now()]:
        item = overdue[0]
        point = decisions.point_at(Decimal(item.point))
        reason = _NOBODY if item.asked_at < item.deadline else _LATE
        found.append(_record(records, watch_id, point, point.default, reason, by_default=True))
    return tuple(found)


def _record(
    records: WatchRecords, watch_id: str, point: Point, choice: Choice, reason: str, *, by_default: bool
) -> DecisionRecord:
    """Record a decision, and move the watch as `decision.MOVES` says."""
    status = _again(records, watch_id).watch.status
    then = decisions.MOVES.get((status, choice))
    if then is None:
        raise InvariantError(f"watch {watch_id} is {status}: no move by {choice}")
    return records.watch_writer.decide(
        watch_id, text_of(point.hour), choice.value, reason, by_default=by_default, then=cast("WatchStatus", then)
    )


def _ask(tools: WatchTools, records: WatchRecords, watch_id: str) -> tuple[DecisionRecord, ...]:
    """Ask for the decisions whose hour has come; nobody is given time beyond the point that comes next."""
    standing = _again(records, watch_id)
    if standing.watch.status not in ("watching", "extended"):
        return ()
    now, asked = tools.clock.now(), {item.point for item in standing.decisions}
    found = []
    for point in decisions.points(standing.extended_days):
        began = due_at(standing.watch.started_at, point.hour)
        if began > now or text_of(point.hour) in asked:
            continue
        following = due_at(standing.watch.started_at, (point.hour // DAY + 1) * DAY)
        deadline = min(now + point.allowed, max(now, following))
        found.append(records.watch_writer.ask(watch_id, text_of(point.hour), deadline)[0])
    return tuple(found)


def _ended_when_over(records: WatchRecords, watch_id: str) -> WatchRecord:
    """The watch; ended when nothing is left to check and to decide."""
    standing = _again(records, watch_id)
    watch = standing.watch
    if watch.status == "ended" or standing.next_hour is not None or standing.open:
        return watch
    why = "28 days are over" + ("" if watch.status == "signed_off" else ", and nobody signed off")
    return records.watch_writer.move(watch_id, "ended", why)


def facts_of(tools: WatchTools, records: WatchRecords, standing: Standing, point: Point) -> tuple[Met, ...]:
    """The criteria of a decision point, and whether they are met."""
    by_hour = {Decimal(item.hour): item for item in standing.checkpoints if item.status == "done"}
    hours = [hour for hour in standing.hours if point.since < hour <= point.hour]
    facts = Facts(
        checkpoints=tuple(_seen(hour, by_hour.get(hour)) for hour in hours),
        fired=tuple(
            f"hour {text_of(hour)}: {said['words']}"
            for hour in hours
            if hour in by_hour
            for said in by_hour[hour].judged["triggers"]
            if said["fired"]
        ),
        ledger_verified=ledger_verified(tools, records),
    )
    return decisions.judged_point(point, facts)


def _seen(hour: Decimal, item: CheckpointRecord | None) -> Seen:
    if item is None:
        return Seen(hour=hour, status=None, metrics={})
    metrics = {name: Status(said["status"]) for name, said in item.judged["figures"].items()}
    return Seen(hour=hour, status=Status(item.judged["status"]), metrics=metrics)


def decide(tools: WatchTools, hour: str, choice: str, reason: str) -> DecisionRecord:
    """Decide at a decision point, in the name of whoever opened the records.

    Args:
        hour: of the point: ``8``, ``24``, and ``48`` and so on where the watch was extended.
        reason: one line.

    Raises:
        UsageError: WAT-101 production is not watched; WAT-102 no such decision is open; WAT-103 it is no choice of
            this point; WAT-104 no reason; WAT-106 the choice trusts the release, and this account may not.
        NoAnswer: WAT-105 the choice trusts the release, and the point does not pass.
    """
    if not reason.strip() or not reason.isprintable():
        raise UsageError(
            "a decision needs a reason, in one line",
            code="WAT-104",
            where="--reason",
            hint="say what you looked at: it stands in the audit ledger",
        )
    with tools.open_records() as records:
        watch = records.watch_reader.current()
        if watch is None or _ended_with_its_release(records, watch).status == "ended":
            raise UsageError(
                "production is not watched",
                code="WAT-101",
                where="watch decide",
                hint="a watch begins with a cutover; `abaco watch status` shows the last one",
            )
        late = _let_defaults_happen(tools, records, watch.watch_id)
        standing = _again(records, watch.watch_id)
        point = _open_point(standing, hour, late)
        chosen = next((item for item in point.choices if item.value == choice), None)
        if chosen is None:
            raise UsageError(
                f"{choice!r} is no choice at hour {hour}",
                code="WAT-103",
                where="watch decide",
                hint=f"choose one of {', '.join(point.choices)}",
            )
        met = facts_of(tools, records, standing, point)
        if not decisions.may_choose(point, chosen, met):
            unmet = [f"{item.criterion.value}: {item.words}" for item in met if not item.met]
            raise NoAnswer(
                f"hour {hour} does not pass: {'; '.join(unmet)}",
                code="WAT-105",
                where="watch decide",
                hint=f"{point.default} is what can be decided; nothing was recorded",
                details={"unmet": unmet},
            )
        if chosen in point.trusting:
            refuse_strangers(tools.workspace, records, watch, tools.who)
        made = _record(records, watch.watch_id, point, chosen, reason.strip(), by_default=False)
    tools.anchor()
    if chosen is Choice.SIGN_OFF:
        tools.archive(watch.watch_id)
    return made


def sign_off(tools: WatchTools, reason: str) -> DecisionRecord:
    """Sign off at the decision point that is open; as `decide`.

    Raises:
        UsageError: WAT-102 no such point is open; as `decide`.
        NoAnswer: as `decide`.
    """
    with tools.open_records() as records:
        watch = records.watch_reader.current()
        open_ = standing_of(records, watch).open if watch else ()
    hour = next((item.point for item in open_ if Decimal(item.point) % DAY == 0), text_of(DAY))
    return decide(tools, hour, Choice.SIGN_OFF.value, reason)


def _open_point(standing: Standing, hour: str, late: Sequence[DecisionRecord]) -> Point:
    if all(item.point != hour for item in standing.open):
        waits = ", ".join(f"hour {item.point}" for item in standing.open)
        by_default = any(item.point == hour for item in late)
        said = "its deadline has passed, and the default was recorded" if by_default else "it is not asked for now"
        raise UsageError(
            f"no decision is open at hour {hour}: {said}",
            code="WAT-102",
            where="watch decide",
            hint=f"open is {waits}" if waits else "`abaco watch status` shows when the next decision is due",
        )
    return decisions.point_at(Decimal(hour))


def _tell(tools: WatchTools, outcome: TickOutcome) -> None:
    """What people must hear, the worst first."""
    for item in sorted(outcome.triggers, key=lambda item: not item.fired):
        what = "ROLLBACK PROPOSED" if item.fired else "not known"
        tools.tell(f"{what}: {item.cause}: {item.words}")
    if outcome.went_back:
        tools.tell(f"ROLLED BACK: {outcome.went_back}")
    if outcome.stuck:
        tools.tell(f"THE ROLLBACK FAILED: {outcome.stuck.what} ({outcome.stuck.code}); `abaco cutover status`")
    for said in outcome.defaulted:
        tools.tell(f"decision at hour {said.point} by default: {said.decision} ({said.reason})")
    for said in outcome.asked:
        tools.tell(f"decision at hour {said.point} is asked for until {said.deadline:%Y-%m-%d %H:%M} UTC")
