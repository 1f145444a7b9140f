"""Shadow runs and sealed gates."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the two tables."""
    _shadow_runs()
    _gate_seals()


def _shadow_runs() -> None:
    op.create_table(
        "shadow_runs",
        sa.Column("shadow_id", sa.Text, nullable=False),
        sa.Column("baseline", sa.Text, nullable=False),
        sa.Column("candidate", sa.Text, nullable=False),
        sa.Column("baseline_meaning", sa.Text, nullable=False),
        sa.Column("candidate_meaning", sa.Text, nullable=False),
        sa.Column("tape_sha256", sa.Text, nullable=False),
        sa.Column("tape_name", sa.Text, nullable=False),
        sa.Column("as_of", sa.String(10), nullable=False),
        sa.Column("repeats", sa.Integer, nullable=False),
        sa.Column("gates_digest", sa.Text, nullable=False),
        sa.Column("expected_digest", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text),
        sa.Column("dry_run", sa.Integer),
        sa.Column("report_sha256", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("planned_at", sa.String(32), nullable=False),
        sa.Column("finished_at", sa.String(32)),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("shadow_id", name="pk_shadow_runs"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_shadow_runs_event_seq_events"),
    )
    op.create_index("ix_shadow_runs_candidate_event_seq", "shadow_runs", ["candidate", "event_seq"])
    op.create_index("ix_shadow_runs_event_seq", "shadow_runs", ["event_seq"])


def _gate_seals() -> None:
    op.create_table(
        "gate_seals",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("candidate", sa.Text, nullable=False),
        sa.Column("gates_digest", sa.Text, nullable=False),
        sa.Column("expected_digest", sa.Text, nullable=False),
        sa.Column("gates", sa.Text, nullable=False),
        sa.Column("expected", sa.Text, nullable=False),
        sa.Column("loosened", sa.Text, nullable=False),
        sa.Column("sealed_at", sa.String(32), nullable=False),
        sa.Column("sealed_by", sa.Text, nullable=False),
        sa.Column("approved_by", sa.Text),
        sa.Column("approved_at", sa.String(32)),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gate_seals"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_gate_seals_event_seq_events"),
    )
    op.create_index("ix_gate_seals_candidate_id", "gate_seals", ["candidate", "id"])
