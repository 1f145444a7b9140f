"""The tables, as SQLAlchemy Core sees them. `migrations/` is what makes them; a test holds both together.

Decimals are text (exact on every database), times are UTC ISO-8601 text with microseconds, dates are ISO
text, JSON is text. Only ``runs`` and ``releases`` rows ever change; the rest is append only.
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
