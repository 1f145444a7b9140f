"""Watches over production after a cutover: their checkpoints and decisions, and who may read and write them.

A watch has the id of the cutover that it follows. At most one is under way: a new one ends the others. A checkpoint is
recorded once, done or missed; a decision is asked for once and answered once, by a person or by its declared default.
Every change appends one event of its own to the ledger (:data:`STATE_ACTIONS`), in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

WatchStatus = Literal["watching", "extended", "signed_off", "ended"]
CheckpointStatus = Literal["done", "missed"]

# (from, to); "" is a watch that is not there yet. Everything else is refused.
MOVES: frozenset[tuple[str, WatchStatus]] = frozenset(
    {
        ("", "watching"),
        ("watching", "extended"),
        ("watching", "signed_off"),
        ("extended", "signed_off"),
        ("watching", "ended"),
        ("extended", "ended"),
        ("signed_off", "ended"),
    }
)

# Events that the writer makes itself; callers add others.
STATE_ACTIONS = frozenset(
    {
        "watch.watching",
        "watch.extended",
        "watch.signed_off",
        "watch.ended",
        "checkpoint.done",
        "checkpoint.missed",
        "decision.asked",
        "decision.made",
        "decision.defaulted",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWatch:
    """A watch to begin.

    Args:
        watch_id: of the cutover that it follows.
        baseline_release: which was active before; '' when there was none.
        started_at: when the release became active, timezone-aware: hours are counted from it.
        baseline: metrics that were recorded before the cutover, by name, as decimal text; may be empty.
    """

    watch_id: str
    release: str
    baseline_release: str
    started_at: datetime
    baseline: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRecord:
    """A watch as recorded. ``ends_at`` is None until its end, ``event_seq`` the ledger event of its latest change."""

    watch_id: str
    release: str
    baseline_release: str
    started_at: datetime
    baseline: Mapping[str, str]
    ends_at: datetime | None
    status: WatchStatus
    event_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCheckpoint:
    """A checkpoint to record.

    Args:
        hour: since the beginning of the watch, as text: ``2.5``.
        done_at: None of one that was missed, which has neither ``metrics`` nor ``judged``.
        metrics: what was measured, by name, as text; None: it could not be. JSON without floats, as ``judged`` is.
    """

    watch_id: str
    hour: str
    due_at: datetime
    done_at: datetime | None
    metrics: Mapping[str, Any]
    judged: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRecord:
    """A checkpoint as recorded; see :class:`NewCheckpoint`."""

    watch_id: str
    hour: str
    due_at: datetime
    done_at: datetime | None
    status: CheckpointStatus
    metrics: Mapping[str, Any]
    judged: Mapping[str, Any]
    event_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """A decision that was asked for. ``decision`` is None while it is open.

    Args:
        point: the hour of the decision point, as text.
        decided_by: who; None while it is open, and of a default (``by_default``): that nobody chose.
    """

    watch_id: str
    point: str
    asked_at: datetime
    deadline: datetime
    decided_by: str | None
    decision: str | None
    by_default: bool
    reason: str
    event_seq: int


class WatchReader(Protocol):
    """Reads watches. Everything is checked against its seal and the ledger first.

    Raises (each method):
        WorldError: REC-105 what is stored is not what was written; REC-10x the database failed.
    """

    def get(self, watch_id: str) -> WatchRecord | None:
        """The watch, or None."""
        ...

    def list(self, limit: int = 50) -> tuple[WatchRecord, ...]:
        """Watches, the one that changed last first."""
        ...

    def current(self) -> WatchRecord | None:
        """The watch that is under way, or None."""
        ...

    def checkpoints(self, watch_id: str) -> tuple[CheckpointRecord, ...]:
        """The checkpoints that were recorded, in the order in which they were."""
        ...

    def decisions(self, watch_id: str) -> tuple[DecisionRecord, ...]:
        """The decisions that were asked for, by hour."""
        ...


class WatchWriter(Protocol):
    """Moves watches; each call is one transaction with its events.

    Raises (each method):
        InvariantError: a move that is not in :data:`MOVES`, an unknown watch or point, one that has ended, what is
            not exact JSON (no floats).
        WorldError: REC-105 what is stored is not what was written; REC-10x the database failed, nothing was kept.
    """

    def start(self, new: NewWatch) -> tuple[WatchRecord, bool]:
        """The watch, and whether it is new (``watch.watching``; then others under way end, ``watch.ended``)."""
        ...

    def move(self, watch_id: str, to: WatchStatus, reason: str) -> WatchRecord:
        """Move a watch (``watch.<to>``)."""
        ...

    def checkpoint(self, new: NewCheckpoint) -> tuple[CheckpointRecord, bool]:
        """The checkpoint of this hour, and whether it is new (``checkpoint.done``, ``checkpoint.missed``).

        One that is recorded already stays as it is.
        """
        ...

    def ask(self, watch_id: str, point: str, deadline: datetime) -> tuple[DecisionRecord, bool]:
        """The decision at this point, and whether it is new (``decision.asked``)."""
        ...

    def decide(
        self, watch_id: str, point: str, decision: str, reason: str, *, by_default: bool, then: WatchStatus | None
    ) -> DecisionRecord:
        """Record what was decided (``decision.made``, ``decision.defaulted``), and move the watch with it.

        Args:
            by_default: nobody decided; else it is decided in the name of whoever opened the records.
            then: where the watch moves; None, or where it is: it stays.

        Raises:
            InvariantError: it is decided already.
        """
        ...
