"""Shadow runs and sealed gates: what is kept of them, and who may read and write it.

A shadow run is planned before anything is compared, with the digests of the gates and the predictions that it will
be judged by, and ends once (:data:`MOVES`). Gates are sealed per candidate; a seal that loosens them is pending until
a second person approves it. Every change appends one event of its own to the ledger (:data:`STATE_ACTIONS`), in the
same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, Protocol

from abaco_loans.errors import InvariantError
from abaco_loans.records.ledger import NewEvent

ShadowStatus = Literal["planned", "finished", "failed"]
# What of `releases.judgement.Outcome` can be said of a whole comparison.
VERDICTS = frozenset({"pass", "fail", "inconclusive"})

# (from, to); "" is a shadow run that is not there yet. Everything else is refused: a verdict is said once.
MOVES: frozenset[tuple[str, ShadowStatus]] = frozenset(
    {
        ("", "planned"),
        ("planned", "finished"),
        ("planned", "failed"),
    }
)

# Events that the writer makes itself; callers add others.
STATE_ACTIONS = frozenset(
    {"shadow.planned", "shadow.finished", "shadow.failed", "gates.sealed", "gates.loosened", "gates.approved"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowPlan:
    """What a shadow run will compare, and by which gates, before it does anything.

    Args:
        shadow_id: names the shadow run; never used again.
        baseline: name of the release, and ``baseline_meaning`` its meaning digest; the candidate's likewise.
        repeats: how often the baseline runs; 1 or more.
        gates_digest: of the gates as they were sealed, and ``expected_digest`` of the predictions.
    """

    shadow_id: str
    baseline: str
    candidate: str
    baseline_meaning: str
    candidate_meaning: str
    tape_sha256: str
    tape_name: str
    as_of: date
    repeats: int
    gates_digest: str
    expected_digest: str

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise InvariantError(f"shadow run {self.shadow_id}: the baseline runs {self.repeats} times")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowRecord:
    """A shadow run as recorded. ``event_seq`` is the ledger event of its latest change, and orders shadow runs.

    ``verdict``, ``dry_run`` and ``report_sha256`` are None until it is finished, ``error`` unless it failed.
    """

    shadow_id: str
    baseline: str
    candidate: str
    baseline_meaning: str
    candidate_meaning: str
    tape_sha256: str
    tape_name: str
    as_of: date
    repeats: int
    gates_digest: str
    expected_digest: str
    status: ShadowStatus
    verdict: str | None
    dry_run: bool | None
    report_sha256: str | None
    error: Mapping[str, Any] | None
    planned_at: datetime
    finished_at: datetime | None
    event_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSeal:
    """Gates and predictions to seal for a candidate.

    Args:
        gates: the text of the YAML, and ``gates_digest`` the digest of what it means; ``expected`` likewise.
        loosened: what is looser than in the seal in force (see :func:`in_force`), in words; empty when nothing is.
    """

    candidate: str
    gates_digest: str
    expected_digest: str
    gates: str
    expected: str
    loosened: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSeal:
    """Gates and predictions as they were sealed, by whom, and who approved it; ``reason`` is the approver's."""

    id: int
    candidate: str
    gates_digest: str
    expected_digest: str
    gates: str
    expected: str
    loosened: tuple[str, ...]
    sealed_at: datetime
    sealed_by: str
    approved_by: str | None
    approved_at: datetime | None
    reason: str
    event_seq: int

    @property
    def pending(self) -> bool:
        """Whether it loosens the gates and nobody has approved that: nothing may be judged by it."""
        return bool(self.loosened) and self.approved_by is None


def in_force(seals: Sequence[GateSeal]) -> GateSeal | None:
    """The latest of a candidate's seals (oldest first) that is not pending, or None.

    A new seal is held against this one and not against the latest: else two small steps would loosen the gates
    without anybody's approval.
    """
    return next((seal for seal in reversed(seals) if not seal.pending), None)


class ShadowReader(Protocol):
    """Reads shadow runs and seals. Everything read is checked against its seal and the ledger first.

    Raises (each method):
        WorldError: REC-105 what is stored is not what was written; REC-10x the database failed.
    """

    def get(self, shadow_id: str) -> ShadowRecord | None:
        """The shadow run, or None."""
        ...

    def list(self, limit: int = 50, candidate: str | None = None) -> tuple[ShadowRecord, ...]:
        """Shadow runs (of a candidate), the one that changed last first."""
        ...

    def history(self, candidate: str, *, candidate_meaning: str, baseline_meaning: str) -> tuple[ShadowRecord, ...]:
        """The finished shadow runs of this candidate beside this baseline, both meaning what they mean now.

        Oldest first, in the order in which they finished; each has a ``verdict``, ``dry_run`` and ``finished_at``.
        """
        ...

    def seals(self, candidate: str) -> tuple[GateSeal, ...]:
        """All seals of the candidate's gates, oldest first."""
        ...


class ShadowWriter(Protocol):
    """Moves shadow runs and seals gates; each call is one transaction with its events.

    Raises (each method):
        InvariantError: a move that is not in :data:`MOVES`, an unknown shadow run, a verdict that is none of
            :data:`VERDICTS`, an event named as in :data:`STATE_ACTIONS`, a payload that is not exact JSON.
        WorldError: REC-105 what is stored is not what was written; REC-10x the database failed, nothing was kept.
    """

    def plan(self, plan: ShadowPlan, events: Sequence[NewEvent] = ()) -> ShadowRecord:
        """Record what will be compared, by which gates (``shadow.planned``)."""
        ...

    def finish(
        self,
        shadow_id: str,
        *,
        verdict: str,
        dry_run: bool,
        report_sha256: str,
        facts: Mapping[str, Any] | None = None,
        events: Sequence[NewEvent] = (),
    ) -> ShadowRecord:
        """Record the verdict (``shadow.finished``).

        Args:
            verdict: one of :data:`VERDICTS`.
            report_sha256: of the report as it was written.
            facts: more for the event, under the key ``facts``; exact JSON: no floats.
        """
        ...

    def fail(self, shadow_id: str, error: Mapping[str, Any], events: Sequence[NewEvent] = ()) -> ShadowRecord:
        """Record that the shadow run broke before there was a verdict (``shadow.failed``)."""
        ...

    def seal(self, new: NewSeal) -> GateSeal:
        """Seal a candidate's gates (``gates.sealed``; ``gates.loosened`` when something is looser).

        With the digests of the candidate's latest seal, gives that one and records nothing.
        """
        ...

    def approve(self, candidate: str, *, gates_digest: str, expected_digest: str, reason: str) -> GateSeal:
        """Approve the candidate's pending seal in the name of whoever opened the records (``gates.approved``).

        Raises:
            ConfigError: GATE-105 the latest seal is not pending, or has other digests; GATE-106 the approver is
                who sealed it; GATE-107 no reason is given, or not in one line.
        """
        ...
