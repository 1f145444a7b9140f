"""The plan of a cutover, a rollback or a drill: typed steps, the facts it was made from, and one hash over all of it.

What is approved is the hash. The way back is part of a cutover's plan, so whoever approves a cutover approves how it
is undone, too. A step is begun in the journal before it has an effect, and repeating one changes nothing more.

On the way back the queue opens as soon as the pointer is back and the jobs are queued again: whatever fails after
that (a tape, a damaged snapshot) is loud and can be resumed while the old release is serving.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

from abaco_loans.errors import UsageError, WorldError
from abaco_loans.releases.gate import digest_of

_FORMAT = 1


class PlanKind(StrEnum):
    """What a plan is for. A drill is a rollback on a copy of production: nothing of production changes."""

    CUTOVER = "cutover"
    ROLLBACK = "rollback"
    DRILL = "drill"


class Phase(IntEnum):
    """The phases of a cutover, and the way back."""

    VALIDATION = 0
    SNAPSHOTS = 1
    STAGING = 2
    SHUTDOWN = 3
    ACTIVATION = 4
    POST_VALIDATION = 5
    WAY_BACK = 6

    @property
    def words(self) -> str:
        """What it is called."""
        return _PHASE_WORDS[self]


_PHASE_WORDS: Mapping[Phase, str] = {
    Phase.VALIDATION: "pre-cutover validation",
    Phase.SNAPSHOTS: "backup and snapshots",
    Phase.STAGING: "staging validation",
    Phase.SHUTDOWN: "graceful shutdown",
    Phase.ACTIVATION: "activation",
    Phase.POST_VALIDATION: "post-cutover validation",
    Phase.WAY_BACK: "way back",
}


class StepKind(StrEnum):
    """What a step does; whoever carries steps out matches on this."""

    CHECK_POINTER = "check_pointer"
    CHECK_RELEASES = "check_releases"
    CHECK_STORES = "check_stores"
    CHECK_MACHINE = "check_machine"
    CHECK_ALONE = "check_alone"
    CHECK_APPROVALS = "check_approvals"
    CHECK_SHADOW = "check_shadow"
    CHECK_DRILL = "check_drill"
    TAKE_SNAPSHOT = "take_snapshot"
    VERIFY_SNAPSHOT = "verify_snapshot"
    CHECK_SUITE = "check_suite"
    STAGE_RUN = "stage_run"
    HOLD_QUEUE = "hold_queue"
    DRAIN = "drain"
    FENCE_RUNNING = "fence_running"
    SWITCH = "switch"
    OPEN_QUEUE = "open_queue"
    RUN_QUEUED = "run_queued"
    VALIDATE_PRODUCTION = "validate_production"
    COMPARE_BASELINE = "compare_baseline"
    REQUEUE = "requeue"
    RUN_AGAIN = "run_again"
    PROVE_NO_LOSS = "prove_no_loss"
    WRITE_REPORT = "write_report"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """One step.

    Attributes:
        number: from 1, over the whole plan, the way back included.
        name: what it does, in words.
        evidence: what it must leave, by name; while one of these is missing the step is unknown, never done.
        undo: the kind of step that takes its effect back; None where it has none to take back.
        timeout_s: how long it may take from its first attempt, waiting for what is missing included.
    """

    number: int
    phase: Phase
    name: str
    kind: StepKind
    evidence: tuple[str, ...]
    undo: StepKind | None
    timeout_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFacts:
    """What a plan was made from. What is not there yet (shadow run, drill) is empty, and phase 0 stops for it.

    Attributes:
        from_release: the active release; ``to_release`` is what becomes active.
        gates_digest: of the sealed gates; ``shadow_digest`` of the verdict; ``shadow_ids`` the shadow runs behind it.
        drill_id: the rollback drill that counts as evidence.
        pointer_epoch: of the pointer when the plan was made; results carry it.
        rehearsal: a plan of `abaco rehearse`; only here do the approvals of a rehearsal count.
        undoes: the cutover that a rollback undoes, whose snapshot it verifies; ``reason`` is why.

    Raises:
        UsageError: ``CUT-103`` there is nothing to change, or a name or time cannot stand in a plan.
    """

    from_release: str
    to_release: str
    from_meaning: str
    from_policy: str
    to_meaning: str
    to_policy: str
    planned_by: str
    planned_at: datetime
    pointer_epoch: int
    workspace_id: str
    gates_digest: str = ""
    shadow_digest: str = ""
    shadow_ids: tuple[str, ...] = ()
    drill_id: str = ""
    rehearsal: bool = False
    undoes: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if self.from_release == self.to_release:
            raise UsageError(
                f"{self.to_release} is the active release already",
                code="CUT-103",
                hint="name another release; `abaco release list` shows them",
            )
        texts = [value for item in fields(self) if isinstance(value := getattr(self, item.name), str)]
        named = (self.from_release, self.to_release, self.planned_by, self.workspace_id)
        if not all(text.isprintable() for text in (*texts, *self.shadow_ids)) or not all(map(str.strip, named)):
            raise UsageError(
                "a plan names two releases, who plans and the workspace, in printable characters on one line",
                code="CUT-103",
                hint="give the names as they are listed, and a reason on one line",
            )
        if self.planned_at.tzinfo is None or self.pointer_epoch < 0:
            raise UsageError(
                "a plan has a time with a zone and an epoch from 0",
                code="CUT-103",
                hint="make the plan anew with `abaco cutover plan`",
            )

    def as_dict(self) -> dict[str, Any]:
        """All facts, JSON-ready; the time in UTC."""
        said = {item.name: getattr(self, item.name) for item in fields(self)}
        at = self.planned_at.astimezone(UTC).isoformat(timespec="microseconds")
        return {**said, "planned_at": at, "shadow_ids": list(self.shadow_ids)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps in their order, and for a cutover the way back (of a rollback it is the steps themselves)."""

    kind: PlanKind
    facts: PlanFacts
    steps: tuple[StepSpec, ...]
    way_back: tuple[StepSpec, ...] = ()

    def hash(self) -> str:
        """SHA-256 (hexadecimal) of the canonical JSON of everything in the plan."""
        return digest_of(self._said())

    def as_dict(self) -> dict[str, Any]:
        """The whole plan with its ``hash``, JSON-ready; :func:`plan_of` takes it back."""
        return {**self._said(), "hash": self.hash()}

    def step(self, number: int) -> StepSpec:
        """The step of that number. Raises LookupError where there is none."""
        found = {item.number: item for item in (*self.steps, *self.way_back)}
        return found[number]

    def switches_to(self, step: StepSpec) -> str:
        """The release that a step of kind `SWITCH` makes active."""
        return self.facts.from_release if step in self.way_back else self.facts.to_release

    @property
    def requeue_epoch(self) -> int:
        """Jobs whose result has this epoch or a later one run again on the way back."""
        return self.facts.pointer_epoch + (1 if self.kind is PlanKind.CUTOVER else 0)

    def _said(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "kind": self.kind.value,
            "facts": self.facts.as_dict(),
            "steps": [_plain(item) for item in self.steps],
            "way_back": [_plain(item) for item in self.way_back],
        }


def cutover_plan(facts: PlanFacts) -> Plan:
    """The plan that makes ``to_release`` active, phases 0 to 5, with its way back."""
    steps = _numbered(_FORWARD, start=1)
    return Plan(kind=PlanKind.CUTOVER, facts=facts, steps=steps, way_back=_numbered(_WAY_BACK, start=len(steps) + 1))


def rollback_plan(facts: PlanFacts, *, drill: bool = False) -> Plan:
    """The plan that goes back from ``from_release`` (found bad) to ``to_release``; ``drill``: on a copy."""
    kind = PlanKind.DRILL if drill else PlanKind.ROLLBACK
    return Plan(kind=kind, facts=facts, steps=_numbered((*_STILL_TRUE, *_WAY_BACK), start=1))


def plan_of(data: Any) -> Plan:
    """The plan of which :meth:`Plan.as_dict` gave the data.

    Raises:
        WorldError: ``CUT-102`` it is none, or does not hash the same.
    """
    try:
        plan = Plan(
            kind=PlanKind(data["kind"]),
            facts=_facts_of(data["facts"]),
            steps=tuple(map(_step_of, data["steps"])),
            way_back=tuple(map(_step_of, data["way_back"])),
        )
        same = plan.as_dict() == data
    except (TypeError, ValueError, LookupError, AttributeError, UsageError) as error:
        raise _no_plan() from error
    if not same:
        raise _no_plan()
    return plan


def _no_plan() -> WorldError:
    return WorldError(
        "the stored plan is not the one that was made: it does not hash the same",
        code="CUT-102",
        hint="nothing of it was carried out; run `abaco audit verify`, then plan and approve anew",
    )


def _facts_of(data: Any) -> PlanFacts:
    at = datetime.fromisoformat(data["planned_at"])
    return PlanFacts(**{**data, "planned_at": at, "shadow_ids": tuple(data["shadow_ids"])})


def _step_of(data: Any) -> StepSpec:
    said = {
        "phase": Phase(data["phase"]),
        "kind": StepKind(data["kind"]),
        "evidence": tuple(data["evidence"]),
        "undo": None if data["undo"] is None else StepKind(data["undo"]),
    }
    return StepSpec(**{**data, **said})


def _plain(step: StepSpec) -> dict[str, Any]:
    return {
        "number": step.number,
        "phase": int(step.phase),
        "name": step.name,
        "kind": step.kind.value,
        "evidence": list(step.evidence),
        "undo": None if step.undo is None else step.undo.value,
        "timeout_s": step.timeout_s,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A step that has no number yet; ``evidence`` in one text."""

    phase: Phase
    kind: StepKind
    name: str
    evidence: str
    timeout_s: int


# What takes the effect of a step back. What is not here only looks, writes beside production, or (fenced and requeued
# jobs) leaves nothing but work that is done again anyway.
_UNDO: Mapping[StepKind, StepKind] = {
    StepKind.HOLD_QUEUE: StepKind.OPEN_QUEUE,
    StepKind.OPEN_QUEUE: StepKind.HOLD_QUEUE,
    StepKind.SWITCH: StepKind.SWITCH,
    StepKind.RUN_QUEUED: StepKind.REQUEUE,
}


def _numbered(drafts: tuple[_Draft, ...], *, start: int) -> tuple[StepSpec, ...]:
    return tuple(
        StepSpec(
            number=number,
            phase=item.phase,
            name=item.name,
            kind=item.kind,
            evidence=tuple(item.evidence.split()),
            undo=_UNDO.get(item.kind),
            timeout_s=item.timeout_s,
        )
        for number, item in enumerate(drafts, start)
    )


def _phase(phase: Phase, *steps: tuple[StepKind, str, str, int]) -> tuple[_Draft, ...]:
    return tuple(
        _Draft(phase=phase, kind=kind, name=name, evidence=evidence, timeout_s=timeout_s)
        for kind, name, evidence, timeout_s in steps
    )


_FORWARD = (
    *_phase(
        Phase.VALIDATION,
        (StepKind.CHECK_POINTER, "the pointer is where it was when the plan was made", "active epoch", 10),
        (StepKind.CHECK_RELEASES, "both releases load, are frozen and agree in contract",
         "from_meaning to_meaning frozen contract", 60),
        (StepKind.CHECK_STORES, "records and outputs can be written", "records outputs", 60),
        (StepKind.CHECK_MACHINE, "disk and memory for three times the last tapes, clock sane",
         "disk_free_bytes disk_needed_bytes memory_free_bytes memory_needed_bytes clock", 60),
        (StepKind.CHECK_ALONE, "no other cutover, no open critical alert", "cutovers alerts", 60),
        (StepKind.CHECK_APPROVALS, "four people have approved this plan", "approvals plan_hash", 60),
        (StepKind.CHECK_SHADOW, "the shadow verdict is fresh, passed and judged by the sealed gates",
         "shadow_ids verdict gates_digest", 60),
        (StepKind.CHECK_DRILL, "a rollback drill has passed lately", "drill_id passed_at", 60),
    ),
    *_phase(
        Phase.SNAPSHOTS,
        (StepKind.TAKE_SNAPSHOT, "configuration, releases, pointer, history, queue and ledger head are copied",
         "folder manifest_digest ledger_head", 300),
        (StepKind.VERIFY_SNAPSHOT, "every file of the snapshot has the hash of the manifest",
         "manifest_digest files", 300),
    ),
    *_phase(
        Phase.STAGING,
        (StepKind.CHECK_SUITE, "the new release passes the full check suite", "checks", 900),
        (StepKind.STAGE_RUN, "the new release runs on the last tapes, published nowhere", "tapes runs", 1800),
    ),
    *_phase(
        Phase.SHUTDOWN,
        (StepKind.HOLD_QUEUE, "no new job is taken; tapes go on arriving", "held_at epoch", 10),
        (StepKind.DRAIN, "running jobs finish, as far as they do in time", "finished left", 60),
        (StepKind.FENCE_RUNNING, "what still runs is queued again, and its late result refused", "fenced", 10),
    ),
    *_phase(
        Phase.ACTIVATION,
        (StepKind.SWITCH, "the new release becomes the active one", "active previous epoch", 10),
        (StepKind.OPEN_QUEUE, "jobs are taken again", "opened_at inactive_s", 10),
    ),
    *_phase(
        Phase.POST_VALIDATION,
        (StepKind.RUN_QUEUED, "tapes that arrived meanwhile run under the new release", "jobs runs", 600),
        (StepKind.VALIDATE_PRODUCTION, "the five production checks", "checks status", 300),
        (StepKind.COMPARE_BASELINE, "what the old release gives on the same tapes", "compared verdict", 600),
        (StepKind.WRITE_REPORT, "the summary is written", "report", 30),
    ),
)  # fmt: skip

# A plan that was overtaken by another would queue again what counts.
_STILL_TRUE = _phase(
    Phase.VALIDATION,
    (StepKind.CHECK_POINTER, "the pointer is where it was when the plan was made", "active epoch", 10),
)

# With the check in total 300 s: a rollback takes less than five minutes.
_WAY_BACK = _phase(
    Phase.WAY_BACK,
    (StepKind.HOLD_QUEUE, "no new job is taken; tapes go on arriving", "held_at epoch", 5),
    (StepKind.FENCE_RUNNING, "what still runs is queued again, and its late result refused", "fenced", 5),
    (StepKind.SWITCH, "the old release becomes the active one again", "active previous epoch", 5),
    (StepKind.REQUEUE, "what the new release has served is queued again", "requeued", 10),
    (StepKind.OPEN_QUEUE, "jobs are taken again, under the old release", "opened_at inactive_s", 5),
    (StepKind.RUN_AGAIN, "every tape that arrived since runs under the old release", "jobs runs", 200),
    (StepKind.VERIFY_SNAPSHOT, "every file of the snapshot has the hash of the manifest", "manifest_digest files", 30),
    (StepKind.PROVE_NO_LOSS, "every tape and date that was served is served again", "before after lost", 20),
    (StepKind.WRITE_REPORT, "the incident report is written", "report", 10),
)
