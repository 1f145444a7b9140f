"""The first schema: releases, runs, KPI values, quarantine counts, events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the five tables."""
    _events_and_releases()
    _runs()
    _results()


def _events_and_releases() -> None:
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("recorded_at", sa.String(32), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("previous_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
        sa.UniqueConstraint("previous_hash", name="uq_events_previous_hash"),
        sa.UniqueConstraint("hash", name="uq_events_hash"),
    )
    op.create_index("ix_events_subject", "events", ["subject"])
    op.create_table(
        "releases",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("meaning_digest", sa.Text, nullable=False),
        sa.Column("policy_digest", sa.Text, nullable=False),
        sa.Column("first_run_at", sa.String(32)),
        sa.Column("recorded_at", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_releases"),
    )


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("release_digest", sa.Text, nullable=False),
        sa.Column("tape_sha256", sa.Text, nullable=False),
        sa.Column("tape_path", sa.Text, nullable=False),
        sa.Column("layout", sa.Text, nullable=False),
        sa.Column("as_of", sa.String(10), nullable=False),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("started_at", sa.String(32), nullable=False),
        sa.Column("finished_at", sa.String(32)),
        sa.Column("rows_in", sa.Integer),
        sa.Column("rows_accepted", sa.Integer),
        sa.Column("rows_quarantined", sa.Integer),
        sa.Column("rows_duplicate", sa.Integer),
        sa.Column("output_folder", sa.Text),
        sa.Column("manifest_sha256", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("timings", sa.Text, nullable=False),
        sa.Column("warnings", sa.Text, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_runs_event_seq_events"),
    )
    op.create_index("ix_runs_status_as_of", "runs", ["status", "as_of"])
    op.create_index("ix_runs_event_seq", "runs", ["event_seq"])


def _results() -> None:
    op.create_table(
        "kpi_values",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("kpi_id", sa.Text, nullable=False),
        sa.Column("segment", sa.Text, nullable=False),
        sa.Column("segment_value", sa.Text, nullable=False),
        sa.Column("as_of", sa.String(10), nullable=False),
        sa.Column("recorded_at", sa.String(32), nullable=False),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("value", sa.Text),
        sa.Column("value_exact", sa.Text),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("low", sa.Text),
        sa.Column("high", sa.Text),
        sa.Column("components", sa.Text, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_kpi_values"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_kpi_values_run_id_runs"),
        sa.UniqueConstraint(
            "run_id",
            "kpi_id",
            "segment",
            "segment_value",
            "as_of",
            name="uq_kpi_values_run_id_kpi_id_segment_segment_value_as_of",
        ),
    )
    op.create_index(
        "ix_kpi_values_kpi_id_segment_segment_value_as_of",
        "kpi_values",
        ["kpi_id", "segment", "segment_value", "as_of"],
    )
    op.create_table(
        "quarantine_counts",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("column", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("amount", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "attempt", "file", "column", "code", name="pk_quarantine_counts"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_quarantine_counts_run_id_runs"),
    )
