"""Cutovers: their plans, approvals and the journal of their steps, and who may read and write them.

A cutover is planned, runs and ends (:data:`MOVES`); each of its steps is journalled when it begins and when it ends
(:data:`STEP_MOVES`). At most one cutover or rollback is under way (:data:`UNDER_WAY`): the database refuses a second.
Drills, which work on a copy of production, do not count. Every change appends one event of its own to the ledger
(:data:`STATE_ACTIONS`), in the same transaction. What an approval is worth is not decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

CutoverKind = Literal["cutover", "rollback", "drill"]
CutoverStatus = Literal["planned", "running", "held", "completed", "rolled_back", "stopped"]
StepStatus = Literal["started", "done", "failed", "undone"]
ApprovalHow = Literal["account", "token", "rehearsal"]

UNDER_WAY: frozenset[CutoverStatus] = frozenset({"running", "held"})
ENDED: frozenset[CutoverStatus] = frozenset({"completed", "rolled_back", "stopped"})

# (from, to); "" is a cutover that is not there yet. Everything else is refused.
MOVES: frozenset[tuple[str, CutoverStatus]] = frozenset(
    {
        ("", "planned"),
        ("planned", "running"),
        ("planned", "stopped"),
        ("running", "held"),
        ("running", "completed"),
        ("running", "rolled_back"),
        ("running", "stopped"),
        ("held", "running"),
        ("held", "rolled_back"),
        ("held", "stopped"),
    }
)

# (from, to); "" is a step that is not there yet. A step that is done is not done again, unless it was undone.
STEP_MOVES: frozenset[tuple[str, StepStatus]] = frozenset(
    {
        ("", "started"),
        ("started", "started"),  # its process died: the next attempt
        ("failed", "started"),
        ("undone", "started"),
        ("started", "done"),
        ("started", "failed"),
        ("started", "undone"),
        ("done", "undone"),
        ("failed", "undone"),
    }
)

# Events that the writer makes itself; callers add others.
STATE_ACTIONS = frozenset(
    {
        "cutover.planned",
        "cutover.running",
        "cutover.held",
        "cutover.completed",
        "cutover.rolled_back",
        "cutover.stopped",
        "cutover.approved",
        "step.started",
        "step.done",
        "step.failed",
        "step.undone",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCutover:
    """A plan to record.

    Args:
        cutover_id: names the cutover; never used again.
        plan: canonical JSON text, and ``plan_hash`` what approvals speak of.
    """

    cutover_id: str
    kind: CutoverKind
    from_release: str
    to_release: str
    plan: str
    plan_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CutoverRecord:
    """A cutover as recorded. ``event_seq`` is the ledger event of its latest change, and orders cutovers.

    ``started_at`` is None until it first ran, ``finished_at`` until it ended.
    """

    cutover_id: str
    kind: CutoverKind
    from_release: str
    to_release: str
    plan: str
    plan_hash: str
    status: CutoverStatus
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    outcome: Mapping[str, Any] | None
    event_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """A step in the journal: its latest attempt. ``evidence`` is empty and ``finished_at`` None until it ended.

    ``started_at`` is of the first attempt since it last ended.
    """

    cutover_id: str
    number: int
    phase: int
    name: str
    status: StepStatus
    attempt: int
    evidence: Mapping[str, Any]
    started_at: datetime
    finished_at: datetime | None
    event_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApproval:
    """A person's word that a plan may run.

    Args:
        how: what says that it is this person; ``verified`` whether it was checked, ``reason`` why not (else '').
        expires_at: timezone-aware.
    """

    cutover_id: str
    plan_hash: str
    role: str
    person: str
    how: ApprovalHow
    verified: bool
    reason: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An approval as recorded ``at`` that moment."""

    id: int
    cutover_id: str
    plan_hash: str
    role: str
    person: str
    how: ApprovalHow
    verified: bool
    reason: str
    at: datetime
    expires_at: datetime
    event_seq: int


class CutoverReader(Protocol):
    """Reads cutovers, their steps and approvals. Everything is checked against its seal and the ledger first.

    Raises (each method):
        WorldError: REC-105 what is stored is not what was written; REC-10x the database failed.
    """

    def get(self, cutover_id: str) -> CutoverRecord | None:
        """The cutover, or None."""
        ...

    def list(self, limit: int = 50) -> tuple[CutoverRecord, ...]:
        """Cutovers, rollbacks and drills, the one that changed last first."""
        ...

    def running(self) -> CutoverRecord | None:
        """The cutover or rollback that is running or held, or None; never a drill."""
        ...

    def approvals(self, cutover_id: str) -> tuple[Approval, ...]:
        """All approvals ever given, oldest first; of other plans and expired ones too."""
        ...

    def steps(self, cutover_id: str) -> tuple[StepRecord, ...]:
        """The steps that were ever begun, by number."""
        ...


class CutoverWriter(Protocol):
    """Moves cutovers and journals their steps; each call is one transaction with its event.

    Raises (each method):
        InvariantError: a move that is not in :data:`MOVES` or :data:`STEP_MOVES`, an unknown cutover, what is not
            exact JSON (no floats).
        WorldError: REC-105 what is stored is not what was written; REC-10x the database failed, nothing was kept.
    """

    def add(self, new: NewCutover) -> CutoverRecord:
        """Record a plan (``cutover.planned``) in the name of whoever opened the records."""
        ...

    def approve(self, new: NewApproval) -> Approval:
        """Record an approval (``cutover.approved``).

        Raises:
            InvariantError: of another plan than the cutover's.
        """
        ...

    def move(
        self, cutover_id: str, to_status: CutoverStatus, outcome: Mapping[str, Any] | None = None
    ) -> CutoverRecord:
        """Move a cutover (``cutover.<to_status>``); ``outcome`` replaces what was said before, when it is given.

        Raises:
            WorldError: REC-114 another cutover or rollback is running or held.
        """
        ...

    def begin_step(self, cutover_id: str, number: int, phase: int, name: str) -> StepRecord:
        """Journal that a step begins (``step.started``); once more, it is the next attempt.

        Raises:
            InvariantError: the cutover has ended, or the step with this number is another one.
        """
        ...

    def end_step(
        self, cutover_id: str, number: int, status: StepStatus, evidence: Mapping[str, Any] | None = None
    ) -> StepRecord:
        """Journal how a step ended (``step.<status>``: done, failed, undone), and what shows it.

        Raises:
            InvariantError: the cutover has ended.
        """
        ...
