"""The acts of a rehearsal, in their order; each takes place in the copy and says whether it passed."""

from __future__ import annotations

import gc
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from abaco_loans.clock import ShiftedClock
from abaco_loans.errors import AbacoError
from abaco_loans.operations.carry_out import Did, Told, plan_record
from abaco_loans.operations.check_performance import prepared_calculation
from abaco_loans.operations.cut_over import abort_cutover, roll_back, start_cutover
from abaco_loans.operations.cutover_checks import check_approvals
from abaco_loans.operations.drill_rollback import DrillTools, drill_rollback
from abaco_loans.operations.plan_cutover import approve_plan, plan_cutover, shadow_settled
from abaco_loans.operations.rehearse_failure import Died, damage_numbers, fail_step, tighten_gates
from abaco_loans.operations.retire_release import GOOD_DAYS, retire_release
from abaco_loans.operations.run_shadow import ShadowRequest
from abaco_loans.operations.scratch import scratch_folder
from abaco_loans.operations.submit_tape import Production, spooled_tape, submit_tape
from abaco_loans.operations.tools import Records
from abaco_loans.operations.validation_desk import ValidateTools, open_desk
from abaco_loans.operations.watch_checkpoint import WatchTools
from abaco_loans.operations.watch_production import TickOutcome, decide, sign_off, tick
from abaco_loans.operations.watch_resources import Usage, usage
from abaco_loans.operations.workspace import Workspace
from abaco_loans.operations.write_sample import BUCKETED_FILE, write_sample
from abaco_loans.records.production import Job
from abaco_loans.releases.approval import Role
from abaco_loans.releases.judgement import Outcome
from abaco_loans.releases.plan import Phase, StepKind
from abaco_loans.releases.release import Release
from abaco_loans.sample import SampleSpec
from abaco_loans.watch.check import Report
from abaco_loans.watch.decision import Choice
from abaco_loans.watch.schedule import FIRST_DAY, due_at, text_of

CALCULATIONS = 45_000
_SHORT_CALCULATIONS = 100
_TAPES, _SHORT_TAPES = 3, 2
_ENDS = (date(2025, 9, 30), date(2025, 10, 31), date(2025, 11, 30))
_PEOPLE = {role: f"rehearsal: {role.value}" for role in Role}
_REHEARSER = "rehearsal: planner"
_SAMPLES = 10
# Percent by which memory may grow over the calculations, after a tenth of them.
_GROWTH_MAX = 5
_FAILED_AT = Decimal(2)
_FREQUENCY = "8"
PHASES = tuple(f"{phase.value}: {phase.words}" for phase in Phase if phase is not Phase.WAY_BACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearseTools:
    """What `wiring` picks for a rehearsal.

    Attributes:
        clock: set forward as the rehearsal goes on; everything else here goes by it.
        drill: of which a rehearsal takes its cutover tools, workers and copies, too.
        compare: a shadow run in a workspace.
        validate: what validates a workspace.
        watch: what watches a workspace.
        stopwatch: seconds from any beginning.
    """

    clock: ShiftedClock
    drill: DrillTools
    compare: Callable[[Workspace, ShadowRequest], Mapping[str, Any]]
    validate: Callable[[Workspace], ValidateTools]
    watch: Callable[[Workspace], WatchTools]
    stopwatch: Callable[[], float] = time.perf_counter


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person asks of a rehearsal.

    Attributes:
        to: release that shall become active; ``baseline`` the one that is active when it begins.
        tapes: how many of the last ones; None: 3, or 2 in the short form.
        calculations: of the stress; None: 45,000, or 100 in the short form.
        short: fewer tapes and calculations; the five checks run at the first checkpoint only.
        fail: the phase that shall fail (`rehearse_failure.FAILURES`); empty: none.
        keep: an empty folder in which the copy stays; None: it is removed.
    """

    to: str
    baseline: str
    tapes: int | None = None
    calculations: int | None = None
    short: bool = False
    fail: str = ""
    keep: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTold:
    """How a phase ended: ``done``, ``failed``, or ``not rehearsed`` where it cannot be."""

    name: str
    status: str
    seconds: float
    words: str = ""


class Play:
    """A rehearsal under way, in the copy: what was done so far."""

    def __init__(self, copy: Workspace, asked: Asked, given: RehearseTools, tell: Callable[[PhaseTold], None]) -> None:
        self.copy, self.asked, self.given, self.tell = copy, asked, given, tell
        self.phases: list[PhaseTold] = []
        self.checkpoints: list[dict[str, Any]] = []
        self.jobs: list[Job] = []
        self.cutover_id = ""

    def say(self, name: str, status: str, seconds: float, words: str = "") -> None:
        """Take down how a phase ended, and tell it."""
        self.phases.append(PhaseTold(name=name, status=status, seconds=seconds, words=words))
        self.tell(self.phases[-1])


def _stage(play: Play) -> Did:
    """The old release is active in the copy, and runs the last tapes (or sampled ones); the latest then waits."""
    asked, copy = play.asked, play.copy
    wanted = asked.tapes or (_SHORT_TAPES if asked.short else _TAPES)
    with play.given.drill.of(copy).tools.open_records() as records:
        records.production_writer.ensure(asked.baseline)
        play.jobs = list(records.production_reader.jobs("done", limit=wanted))
        sampled = not play.jobs
        _begin_with(play.jobs, play, records)
        if sampled:
            play.jobs = _sampled(play, records, wanted)
        worker = play.given.drill.worker(copy)
        while worker.work_once() is not None:
            pass
        found = [records.production_reader.job(job.job_id) for job in play.jobs]
        ran = play.jobs = [job for job in found if job is not None]
        _begin_with(play.jobs[:1], play, records)
    good = sum((job.status, job.served_by) == ("done", asked.baseline) for job in ran)
    kind = "sampled tapes" if sampled else "last tapes"
    words = f"{good} of {len(ran)} {kind} ran under {asked.baseline}; {play.jobs[0].tape_name} arrives again"
    return Did(passed=good == len(ran), words=words)


def _begin_with(jobs: Sequence[Job], play: Play, records: Records) -> None:
    """Make the old release the active one, at a new epoch, and put jobs that are done back into the queue."""
    writer, asked, holder = records.production_writer, play.asked, f"rehearsal-{secrets.token_hex(3)}"
    active = writer.hold(holder).active
    writer.fence_running(holder)
    if active == asked.baseline:  # a job has one result an epoch
        writer.switch(holder, asked.to, expected=active)
        active = asked.to
    writer.switch(holder, asked.baseline, expected=active)
    writer.requeue_since(holder, 0, {job.job_id for job in jobs})
    writer.unhold(holder)


def _sampled(play: Play, records: Records, count: int) -> list[Job]:
    """Sampled tapes of different dates in the queue of the copy; the latest first."""
    jobs: list[Job] = []
    with scratch_folder(play.copy) as scratch:
        for number, end in enumerate(_ENDS[-count:]):
            folder = scratch / f"sample{number}"
            write_sample(SampleSpec(loans=150, months=6, end=end), folder)
            tape = (folder / BUCKETED_FILE).rename(folder / f"sampled_{end}.csv")
            queue, clock = cast(Production, records), play.given.clock
            jobs.insert(0, submit_tape(play.copy, tape, queue, as_of=None, clock=clock, who="abaco rehearse").job)
    return jobs


def _shadow(play: Play) -> Did:
    """Both releases on every tape, the old one twice (A, A, B); judged by the gates."""
    asked = play.asked
    if asked.fail == "shadow":
        tighten_gates(play.copy, asked.to)
    for job in reversed(play.jobs):
        request = ShadowRequest(
            path=spooled_tape(play.copy, job), baseline=asked.baseline, candidate=asked.to, as_of=job.as_of
        )
        play.given.compare(play.copy, request)
    tools = play.given.drill.of(play.copy).tools
    with tools.open_records() as records:
        said = shadow_settled(asked.baseline, asked.to, tools, records)
    return Did(passed=said.outcome is Outcome.PASS, words=f"{said.outcome.value}: {said.words}")


def _stress(play: Play) -> Did:
    """The calculation of the new release, over and over; memory must stay flat."""
    asked = play.asked
    release = play.copy.any_release(asked.to)
    if not isinstance(release, Release):
        return Did(passed=None, words=f"{asked.to} is a program: there is no calculation apart from its reading")
    calculations = asked.calculations or (_SHORT_CALCULATIONS if asked.short else CALCULATIONS)
    place = replace(play.copy, settings=replace(play.copy.settings, release=asked.to))
    sizes = []
    with scratch_folder(play.copy) as scratch:
        desk = open_desk(play.given.validate(place), scratch)
        with prepared_calculation(desk, release) as once:
            for number in range(1, calculations + 1):
                once()
                if number % max(calculations // _SAMPLES, 1) == 0:
                    gc.collect()
                    sizes.append(usage((), rest=lambda seconds: None).memory_mb)
    known = [size for size in sizes if size is not None]
    if not known or len(known) < len(sizes):
        return Did(passed=None, words=f"{calculations:,} calculations; this system does not say what memory they took")
    flat = known[-1] <= known[0] * (100 + _GROWTH_MAX) / 100
    return Did(passed=flat, words=f"{calculations:,} calculations, memory from {known[0]} to {known[-1]} MB")


def _drill(play: Play) -> Did:
    """Drill the rollback, in a copy of the copy."""

    def hear(told: Told) -> None:
        if play.asked.fail == "drill" and told.status == "started" and told.step.kind is StepKind.RUN_AGAIN:
            raise Died("before the tapes ran again")

    drill = play.given.drill
    given = replace(drill, of=lambda place: replace(drill.of(place), tell=hear))
    try:
        found = drill_rollback(play.copy, given, _REHEARSER, play.asked.to)
    except Died as error:
        return Did(passed=False, words=f"the process died {error}")
    return Did(passed=found["passed"], words=f"{found['words']}, {found['seconds']} s")


def _plan(play: Play) -> Did:
    tools = play.given.drill.of(play.copy).tools
    with tools.open_records() as records:
        record = plan_cutover(play.asked.to, _REHEARSER, tools, records, rehearsal=True)
    play.cutover_id = record.cutover_id
    return Did(passed=True, words=f"{record.cutover_id}, hash {record.plan_hash[:16]}")


def _approve(play: Play) -> Did:
    """Four people approve, who are labelled as what they are."""
    tools = play.given.drill.of(play.copy).tools
    with tools.open_records() as records:
        for role, person in _PEOPLE.items():
            who = _PEOPLE[Role.OPS] if play.asked.fail == "approvals" else person
            approve_plan(play.cutover_id, role, who, tools, records, rehearsed_by=who)
        _, plan = plan_record(play.cutover_id, records.cutover_reader)
        did = check_approvals(play.cutover_id, plan, tools, records)
    return replace(did, words=did.words or ", ".join(_PEOPLE.values()))


def _cut_over(play: Play) -> Did:
    """The cutover of production, phase by phase; the latest tape waits in the queue meanwhile."""
    asked = play.asked
    tools = play.given.drill.of(play.copy)
    if asked.fail == "0":
        tighten_gates(play.copy, asked.to)
    seconds: dict[int, float] = {}
    wrong: dict[int, str] = {}

    def hear(told: Told) -> None:
        phase = int(told.step.phase)
        seconds[phase] = seconds.get(phase, 0.0) + (told.seconds or 0.0)
        if told.status in ("failed", "held"):
            wrong[phase] = f"{told.step.name}: {told.words}"
        with tools.tools.open_records() as records:
            fail_step(asked.fail, told, play.copy, records)

    given = replace(tools, tell=hear)
    died = ""
    try:
        record = start_cutover(play.cutover_id, given)
    except Died as error:
        died = f"the process died {error}; aborted"
        wrong[int(asked.fail)] = died
        record = abort_cutover(play.cutover_id, tools)
    if record.status == "held":
        record = abort_cutover(play.cutover_id, given)
    for phase in sorted(seconds):
        bad = phase in wrong
        name = PHASES[phase] if phase < len(PHASES) else "way back"
        play.say(name, "failed" if bad else "done", seconds[phase], wrong.get(phase, ""))
    with tools.tools.open_records() as records:
        steps = records.cutover_reader.steps(play.cutover_id)
    idle = [str(item.evidence["inactive_s"]) for item in steps if item.evidence.get("inactive_s")]
    words = record.status.replace("_", " ") + (f"; no job was taken for {idle[-1]} s" if idle else "")
    return Did(passed=record.status == "completed", words=words)


def _watch(play: Play) -> Did:
    """The first day: the clock is set to every checkpoint, and a tick does it."""
    asked, clock = play.asked, play.given.clock
    tools = play.given.watch(play.copy)
    with tools.open_records() as watched:
        watch = watched.watch_reader.current()
    if watch is None:
        return Did(passed=False, words="no watch began with the cutover")
    since = watch.started_at
    _arrives_again(play)
    kept: list[tuple[Report, Usage]] = []
    bad = ""
    for hour in FIRST_DAY:
        clock.move_to(due_at(since, hour) + timedelta(seconds=1))
        if asked.fail == "watch" and hour == _FAILED_AT:
            with play.given.drill.of(play.copy).tools.open_records() as records:
                damage_numbers(play.copy, records)
            kept.clear()
        checked = not (asked.short and kept)
        done = tick(_keeping(tools, kept) if checked else _repeating(tools, *kept[0]))
        status = str(done.done.judged["status"]) if done.done else "MISSED"
        play.checkpoints.append({"hour": text_of(hour), "status": status, "checked": checked})
        if status not in ("PASS", "WARN") or done.rollback_proposed:
            fired = [item.words for item in done.triggers if item.fired]
            bad = "; ".join([f"hour {text_of(hour)}: {status}", *_not_good(done), *fired])
            break
        if any(item.decision is None and item.point == _FREQUENCY for item in done.asked):
            _decide_frequency(tools)
    ran = sum(bool(item["checked"]) for item in play.checkpoints)
    said = f"{len(play.checkpoints)} checkpoints, the five checks ran at {ran} of them"
    return Did(passed=not bad, words=bad or said)


def _arrives_again(play: Play) -> None:
    """The latest tape once more, for its date by name (or no longer): another job, for the watch to see one end."""
    job = play.jobs[0]
    with play.given.drill.of(play.copy).tools.open_records() as records:
        run = records.reader.get(job.run_id or "")
        as_of = run.as_of if run and job.as_of is None else None
        queue, clock = cast(Production, records), play.given.clock
        submit_tape(play.copy, spooled_tape(play.copy, job), queue, as_of=as_of, clock=clock, who="abaco rehearse")
    play.given.drill.worker(play.copy).work_once()


def _keeping(tools: WatchTools, kept: list[tuple[Report, Usage]]) -> WatchTools:
    """Tools that remember what they found and measured."""

    measured: list[Usage] = []

    def measure(owners: Sequence[str]) -> Usage:
        measured[:] = [tools.usage(owners)]
        return measured[0]

    def validate(release: str, baseline: Mapping[str, Decimal]) -> Report:
        report = tools.validate(release, baseline)
        kept[:] = [(report, measured[0])]
        return report

    return replace(tools, validate=validate, usage=measure)


def _repeating(tools: WatchTools, report: Report, used: Usage) -> WatchTools:
    """Tools that repeat what was found and measured last: in the copy nothing has run since."""
    return replace(tools, validate=lambda release, baseline: report, usage=lambda owners: used)


def _not_good(done: TickOutcome) -> list[str]:
    figures = done.done.judged["figures"] if done.done else {}
    return [str(said["words"]) for said in figures.values() if said["status"] not in ("PASS", "WARN")]


def _decide_frequency(tools: WatchTools) -> None:
    """Hour 8: the frequency is reduced never, so that all checkpoints are rehearsed."""
    decide(tools, _FREQUENCY, Choice.KEEP.value, "a rehearsal sees every checkpoint")


def _sign_off(play: Play) -> Did:
    made = sign_off(play.given.watch(play.copy), "a rehearsal")
    return Did(passed=made.decision == Choice.SIGN_OFF.value, words=f"hour {made.point}: {made.decision}")


def _retire(play: Play) -> Did:
    """Weeks later; the days between are not rehearsed."""
    clock, tools = play.given.clock, play.given.drill.of(play.copy).tools
    clock.move_to(clock.now() + timedelta(days=GOOD_DAYS))
    with tools.open_records() as records:
        retire_release(play.asked.baseline, "a rehearsal", tools, records)
    return Did(passed=True, words=f"{play.asked.baseline}, {GOOD_DAYS} days later")


def go_back(play: Play, reason: str) -> None:
    """After a failure: what is under way is aborted, and the old release is active again."""
    tools = play.given.drill.of(play.copy)
    with tools.tools.open_records() as records:
        under_way, active = records.cutover_reader.running(), records.production_reader.pointer().active
    if under_way is None and active != play.asked.to:
        return
    begin = play.given.stopwatch()
    try:
        if under_way:
            record = abort_cutover(under_way.cutover_id, tools)
        else:
            record = roll_back(" ".join(reason.split()), _REHEARSER, tools)
        done, words = record.status in ("completed", "stopped", "rolled_back"), record.status.replace("_", " ")
    except AbacoError as error:
        done, words = False, f"{error.what} ({error.code})"
    play.say("rollback", "done" if done else "failed", play.given.stopwatch() - begin, words)


ACTS: Sequence[tuple[str, Callable[[Play], Did]]] = (
    ("staging", _stage),
    ("shadow", _shadow),
    ("stress", _stress),
    ("drill", _drill),
    ("plan", _plan),
    ("approvals", _approve),
    ("cutover", _cut_over),
    ("watch", _watch),
    ("sign-off", _sign_off),
    ("retirement", _retire),
)
