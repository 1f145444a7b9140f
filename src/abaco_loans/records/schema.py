"""The tables, as SQLAlchemy Core sees them. `migrations/` is what makes them; a test holds both together.

Decimals are text (exact on every database), times are UTC ISO-8601 text with microseconds, dates are ISO
text, JSON is text. Rows of ``runs``, ``releases``, ``pointer``, ``jobs``, ``cutovers``, ``cutover_steps``,
``watches``, ``alerts``, ``deliveries``, ``silences`` and ``breakers`` change, those of ``shadow_runs`` end once, those
of ``gate_seals`` are approved and those of ``decisions`` are made at most once; the rest is append only.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMING)

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("recorded_at", String(32), nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("payload", Text, nullable=False),
    # Unique: the database itself refuses a fork.
    Column("previous_hash", String(64), nullable=False, unique=True),
    Column("hash", String(64), nullable=False, unique=True),
    Index(None, "subject"),
)

releases = Table(
    "releases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("meaning_digest", Text, nullable=False),
    Column("policy_digest", Text, nullable=False),
    Column("first_run_at", String(32)),
    Column("recorded_at", String(32), nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("release", Text, nullable=False),
    Column("release_digest", Text, nullable=False),
    Column("tape_sha256", Text, nullable=False),
    Column("tape_path", Text, nullable=False),
    Column("layout", Text, nullable=False),
    Column("as_of", String(10), nullable=False),
    Column("definition", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", String(32), nullable=False),
    Column("finished_at", String(32)),
    Column("rows_in", Integer),
    Column("rows_accepted", Integer),
    Column("rows_quarantined", Integer),
    Column("rows_duplicate", Integer),
    Column("output_folder", Text),
    Column("manifest_sha256", Text),
    Column("error", Text),
    Column("timings", Text, nullable=False),
    Column("warnings", Text, nullable=False),
    # SHA-256 over the columns above; the same value is in the event `event_seq`.
    Column("seal", String(64), nullable=False),
    # The latest event that changed this row: also the order of runs, which never comes from a clock.
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
    Index(None, "status", "as_of"),
    Index(None, "event_seq"),
)

kpi_values = Table(
    "kpi_values",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Text, ForeignKey("runs.run_id"), nullable=False),
    Column("kpi_id", Text, nullable=False),
    Column("segment", Text, nullable=False),
    Column("segment_value", Text, nullable=False),
    Column("as_of", String(10), nullable=False),
    Column("recorded_at", String(32), nullable=False),
    Column("definition", Text, nullable=False),
    Column("release", Text, nullable=False),
    Column("value", Text),
    Column("value_exact", Text),
    Column("unit", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("low", Text),
    Column("high", Text),
    Column("components", Text, nullable=False),
    # SHA-256 over the columns above but `id`; the event `run.finished` holds a digest of all the run's seals.
    Column("seal", String(64), nullable=False),
    UniqueConstraint("run_id", "kpi_id", "segment", "segment_value", "as_of"),
    Index(None, "kpi_id", "segment", "segment_value", "as_of"),
)

quarantine_counts = Table(
    "quarantine_counts",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("file", Text, primary_key=True),
    Column("column", Text, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("amount", Text),
)

shadow_runs = Table(
    "shadow_runs",
    metadata,
    Column("shadow_id", Text, primary_key=True),
    Column("baseline", Text, nullable=False),
    Column("candidate", Text, nullable=False),
    Column("baseline_meaning", Text, nullable=False),
    Column("candidate_meaning", Text, nullable=False),
    Column("tape_sha256", Text, nullable=False),
    Column("tape_name", Text, nullable=False),
    Column("as_of", String(10), nullable=False),
    Column("repeats", Integer, nullable=False),
    Column("gates_digest", Text, nullable=False),
    Column("expected_digest", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("verdict", Text),
    Column("dry_run", Integer),
    Column("report_sha256", Text),
    Column("error", Text),
    Column("planned_at", String(32), nullable=False),
    Column("finished_at", String(32)),
    # As in `runs`: SHA-256 over the columns above, and the latest event, which repeats it.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
    Index(None, "candidate", "event_seq"),
    Index(None, "event_seq"),
)

gate_seals = Table(
    "gate_seals",
    metadata,
    # The order in which a candidate's gates were sealed.
    Column("id", Integer, primary_key=True),
    Column("candidate", Text, nullable=False),
    Column("gates_digest", Text, nullable=False),
    Column("expected_digest", Text, nullable=False),
    Column("gates", Text, nullable=False),
    Column("expected", Text, nullable=False),
    Column("loosened", Text, nullable=False),
    Column("sealed_at", String(32), nullable=False),
    Column("sealed_by", Text, nullable=False),
    Column("approved_by", Text),
    Column("approved_at", String(32)),
    Column("reason", Text, nullable=False),
    # As in `runs`; the seal covers the columns above but `id`.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
    Index(None, "candidate", "id"),
)

pointer = Table(
    "pointer",
    metadata,
    # One row, 1: which release is active.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("active", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("held_by", Text, nullable=False),
    Column("changed_at", String(32), nullable=False),
    # As in `runs`.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(24), primary_key=True),
    Column("tape_sha256", Text, nullable=False),
    Column("tape_name", Text, nullable=False),
    Column("as_of", String(10), nullable=False),
    Column("spool", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("owner", Text, nullable=False),
    # The only column that no seal covers: a lease is made longer again and again, and the fence protects the job.
    Column("lease_until", String(32)),
    Column("submitted_at", String(32), nullable=False),
    Column("served_by", Text),
    Column("run_id", Text),
    Column("epoch", Integer),
    Column("error", Text),
    # As in `runs`.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
    Index(None, "status", "event_seq"),
    Index(None, "event_seq"),
    Index(None, "epoch"),
)

served = Table(
    "served",
    metadata,
    # The order in which results were recorded.
    Column("id", Integer, primary_key=True),
    Column("job_id", String(24), ForeignKey("jobs.job_id"), nullable=False),
    Column("release", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("served_at", String(32), nullable=False),
    # As in `runs`; the seal covers the columns above but `id`.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
    # The database itself refuses a second result of a job under one release.
    UniqueConstraint("job_id", "epoch"),
)

cutovers = Table(
    "cutovers",
    metadata,
    Column("cutover_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("from_release", Text, nullable=False),
    Column("to_release", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("plan_hash", Text, nullable=False),
    Column("status", Text, nullable=False),
    # 1 while a cutover or rollback is running or held, else NULL: the database itself refuses a second.
    Column("under_way", Integer, unique=True),
    Column("created_by", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("started_at", String(32)),
    Column("finished_at", String(32)),
    Column("outcome", Text),
    # As in `runs`.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
    Index(None, "event_seq"),
)

cutover_steps = Table(
    "cutover_steps",
    metadata,
    Column("cutover_id", Text, ForeignKey("cutovers.cutover_id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("phase", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("started_at", String(32), nullable=False),
    Column("finished_at", String(32)),
    # As in `runs`.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    # The order in which they were given.
    Column("id", Integer, primary_key=True),
    Column("cutover_id", Text, ForeignKey("cutovers.cutover_id"), nullable=False),
    Column("plan_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("how", Text, nullable=False),
    Column("verified", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
    # As in `runs`; the seal covers the columns above but `id`.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
    Index(None, "cutover_id", "id"),
)

watches = Table(
    "watches",
    metadata,
    # That of the cutover that it follows.
    Column("watch_id", Text, ForeignKey("cutovers.cutover_id"), primary_key=True),
    Column("release", Text, nullable=False),
    Column("baseline_release", Text, nullable=False),
    Column("started_at", String(32), nullable=False),
    Column("baseline", Text, nullable=False),
    Column("ends_at", String(32)),
    Column("status", Text, nullable=False),
    # As in `runs`.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    # The database itself refuses a checkpoint twice.
    Column("watch_id", Text, ForeignKey("watches.watch_id"), primary_key=True),
    Column("hour", String(8), primary_key=True),
    Column("due_at", String(32), nullable=False),
    Column("done_at", String(32)),
    Column("status", Text, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("judged", Text, nullable=False),
    # As in `runs`.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    Column("watch_id", Text, ForeignKey("watches.watch_id"), primary_key=True),
    Column("point", String(8), primary_key=True),
    Column("asked_at", String(32), nullable=False),
    Column("deadline", String(32), nullable=False),
    Column("decided_by", Text),
    Column("decision", Text),
    Column("by_default", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    # As in `runs`.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", String(16), primary_key=True),
    Column("fingerprint", String(16), nullable=False),
    Column("rule", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("status", Text, nullable=False),
    # The fingerprint while it is open, else NULL: the database itself refuses a second alert for one cause.
    Column("open_as", String(16), unique=True),
    Column("words", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("runbook", Text, nullable=False),
    Column("first_seen", String(32), nullable=False),
    # These two are in no seal: they change at every look, without an event.
    Column("last_seen", String(32), nullable=False),
    Column("seen", Integer, nullable=False),
    Column("acknowledged_by", Text),
    Column("acknowledged_at", String(32)),
    Column("resolved_at", String(32)),
    # As in `runs`.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
    Index(None, "event_seq"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", String(24), primary_key=True),
    Column("alert_id", String(16), ForeignKey("alerts.alert_id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("step", Integer, nullable=False),
    Column("channel", Text, nullable=False),
    Column("silenced_until", String(32)),
    # The database itself refuses a notice twice.
    Column("notice_key", Text, nullable=False, unique=True),
    Column("queued_at", String(32), nullable=False),
    Column("status", Text, nullable=False),
    Column("sent_at", String(32)),
    # These four are in no seal: a try changes them without an event.
    Column("attempts", Integer, nullable=False),
    Column("next_at", String(32), nullable=False),
    Column("lease_until", String(32)),
    Column("last_code", Text, nullable=False),
    # As in `runs`.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
    Index(None, "alert_id", "event_seq"),
    Index(None, "status", "event_seq"),
    Index(None, "event_seq"),
)

silences = Table(
    "silences",
    metadata,
    Column("fingerprint", String(16), primary_key=True),
    Column("silenced_until", String(32), nullable=False),
    Column("silenced_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("silenced_at", String(32), nullable=False),
    # As in `runs`.
    Column("seal", String(64), nullable=False),
    Column("event_seq", Integer, ForeignKey("events.seq"), nullable=False),
)

# How channels fare at the moment: no history, hence neither seals nor events.
breakers = Table(
    "breakers",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("opened_at", String(32)),
    Column("retry_at", String(32)),
    Column("last_code", Text, nullable=False),
)
