"""Runs and their KPI values: what is kept of them, and who may read and write it.

Values are bitemporal: ``as_of`` is the day they speak of, ``recorded_at`` when we said so; nothing is updated
in place. Every move of a run is in :data:`MOVES`, and appends one event of its own to the ledger (see
:data:`STATE_ACTIONS`), in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, Protocol

from abaco_loans.errors import InvariantError
from abaco_loans.records.ledger import NewEvent

RunStatus = Literal["running", "finished", "refused", "failed"]

# (from, to); "" is a run that is not there yet. Everything else is refused.
MOVES: frozenset[tuple[str, RunStatus]] = frozenset(
    {
        ("", "running"),
        ("running", "running"),  # its process died: the next attempt
        ("refused", "running"),
        ("failed", "running"),
        ("running", "finished"),
        ("running", "refused"),
        ("running", "failed"),
    }
)

# The id of a panel (values at many as-of dates under one id) begins so; that of a run at one date does not.
# The role of a release that runs no more.
RETIRED = "retired"
PANEL_PREFIX = "panel-"

# Events that the writer makes itself; callers add others.
STATE_ACTIONS = frozenset({"run.started", "run.restarted", "run.finished", "run.refused", "run.failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """Where a tape's rows went. Invariant: rows in = accepted + quarantined + duplicate."""

    rows_in: int
    accepted: int
    quarantined: int
    duplicate: int

    def __post_init__(self) -> None:
        if self.rows_in != self.accepted + self.quarantined + self.duplicate or min(self.as_tuple()) < 0:
            raise InvariantError(f"rows do not add up: {self}")

    def as_tuple(self) -> tuple[int, int, int, int]:
        """``(rows_in, accepted, quarantined, duplicate)``."""
        return self.rows_in, self.accepted, self.quarantined, self.duplicate


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """What is known of a run before it does anything; ``run_id`` follows from the rest but ``tape_path``."""

    run_id: str
    release: str
    release_digest: str
    tape_sha256: str
    tape_path: str
    layout: str
    as_of: date
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinish:
    """What a good run left. ``timings`` are seconds by phase; ``warnings`` are JSON-ready."""

    rows: RowCounts
    output_folder: str
    manifest_sha256: str
    timings: Mapping[str, float] = field(default_factory=dict)
    warnings: Sequence[Any] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run as recorded. ``event_seq`` is the ledger event of its latest change, and orders runs."""

    run_id: str
    release: str
    release_digest: str
    tape_sha256: str
    tape_path: str
    layout: str
    as_of: date
    definition: str
    status: RunStatus
    attempt: int
    started_at: datetime
    finished_at: datetime | None
    rows: RowCounts | None
    output_folder: str | None
    manifest_sha256: str | None
    error: Mapping[str, Any] | None
    timings: Mapping[str, float]
    warnings: tuple[Any, ...]
    event_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KpiRow:
    """One value of one KPI in one run; ``segment`` and ``segment_value`` are empty for the overall value."""

    run_id: str
    kpi_id: str
    segment: str = ""
    segment_value: str = ""
    as_of: date
    recorded_at: datetime
    definition: str
    release: str
    value: Decimal | None
    value_exact: Decimal | None
    unit: str
    status: str
    reason: str = ""
    low: Decimal | None = None
    high: Decimal | None = None
    components: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineCount:
    """How many rows of a file were refused for one reason in one column, and what they were worth."""

    file: str
    column: str
    code: str
    rows: int
    amount: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRow:
    """A release as recorded; ``first_run_at`` is None until it has run."""

    name: str
    kind: str
    role: str
    meaning_digest: str
    policy_digest: str
    first_run_at: datetime | None
    recorded_at: datetime


class RunReader(Protocol):
    """Reads runs. Everything read is checked against its seal first.

    Raises (each method):
        WorldError: REC-105 what is stored is not what was written; REC-10x the database failed.
    """

    def get(self, run_id: str) -> RunRecord | None:
        """The run, or None."""
        ...

    def list(self, limit: int = 50) -> tuple[RunRecord, ...]:
        """Runs, the one that changed last first."""
        ...

    def latest_finished(self) -> RunRecord | None:
        """The run that finished last, or None. Panels do not count."""
        ...

    def latest_panel(self) -> RunRecord | None:
        """The panel that finished last, or None."""
        ...

    def ends(self) -> dict[tuple[str, RunStatus], int]:
        """How often runs of a release ended so, by release and status, what was first first; panels do not count.

        Counted from the ledger, so a number never falls: a run that failed and then finished counts for both. Only
        counted: nothing is checked.
        """
        ...

    def kpi_values(self, run_id: str) -> tuple[KpiRow, ...]:
        """All values of a run in the order in which they were written."""
        ...

    def history(
        self, kpi_id: str, *, segment: str = "", segment_value: str = "", as_of: date | None = None
    ) -> tuple[KpiRow, ...]:
        """Everything ever said of a KPI, by as-of date and then in the order it was said."""
        ...

    def previous_values(self, *, before: date, definition: str, release: str | None = None) -> dict[str, KpiRow]:
        """Overall values, by KPI, of the finished run (no panel) with the latest as-of date before ``before``.

        Of two runs for one date, the one that finished last counts.
        """
        ...

    def quarantine_counts(self, run_id: str) -> tuple[QuarantineCount, ...]:
        """The counts of the run's latest attempt."""
        ...

    def releases(self) -> tuple[ReleaseRow, ...]:
        """Every release that was recorded (mappings are none), by name. Rows of releases have no seals."""
        ...


class RunWriter(Protocol):
    """Moves runs; each call is one transaction with its events.

    ``attempt``, when given, is the attempt that :meth:`start` returned: one that was taken over meanwhile is
    refused.

    Raises (each method):
        InvariantError: a move that is not in :data:`MOVES`, an unknown run, an event named as in
            :data:`STATE_ACTIONS`, numbers that are not finite, times without a zone.
        WorldError: REC-109 the attempt was taken over; REC-10x the database failed, and nothing was kept.
    """

    def start(self, start: RunStart, events: Sequence[NewEvent] = ()) -> RunRecord:
        """Begin a run (``run.started``), or begin it again (``run.restarted``, attempt + 1)."""
        ...

    def finish(
        self,
        run_id: str,
        finish: RunFinish,
        values: Sequence[KpiRow],
        counts: Sequence[QuarantineCount] = (),
        events: Sequence[NewEvent] = (),
        *,
        attempt: int | None = None,
    ) -> RunRecord:
        """Record a run's results (``run.finished``)."""
        ...

    def refuse(
        self,
        run_id: str,
        error: Mapping[str, Any],
        counts: Sequence[QuarantineCount] = (),
        rows: RowCounts | None = None,
        events: Sequence[NewEvent] = (),
        *,
        attempt: int | None = None,
    ) -> RunRecord:
        """Record that the tape was not good enough (``run.refused``)."""
        ...

    def fail(
        self,
        run_id: str,
        error: Mapping[str, Any],
        events: Sequence[NewEvent] = (),
        *,
        attempt: int | None = None,
    ) -> RunRecord:
        """Record that the run broke (``run.failed``)."""
        ...

    def ensure_release(self, name: str, *, kind: str, role: str, meaning_digest: str, policy_digest: str) -> bool:
        """Record a release; True when it is new.

        A new policy digest is an amendment (``release.amended``); a new role, ``release.role_changed``.

        Raises:
            ConfigError: REC-121 the name stands for another kind or meaning already; REC-122 it is retired.
        """
        ...
