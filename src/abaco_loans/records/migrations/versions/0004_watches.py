"""Watches after a cutover: their checkpoints and decisions."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "watches",
        sa.Column("watch_id", sa.Text, nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("baseline_release", sa.Text, nullable=False),
        sa.Column("started_at", sa.String(32), nullable=False),
        sa.Column("baseline", sa.Text, nullable=False),
        sa.Column("ends_at", sa.String(32)),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("watch_id", name="pk_watches"),
        sa.ForeignKeyConstraint(["watch_id"], ["cutovers.cutover_id"], name="fk_watches_watch_id_cutovers"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_watches_event_seq_events"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("watch_id", sa.Text, nullable=False),
        sa.Column("hour", sa.String(8), nullable=False),
        sa.Column("due_at", sa.String(32), nullable=False),
        sa.Column("done_at", sa.String(32)),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("judged", sa.Text, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("watch_id", "hour", name="pk_checkpoints"),
        sa.ForeignKeyConstraint(["watch_id"], ["watches.watch_id"], name="fk_checkpoints_watch_id_watches"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_checkpoints_event_seq_events"),
    )
    op.create_table(
        "decisions",
        sa.Column("watch_id", sa.Text, nullable=False),
        sa.Column("point", sa.String(8), nullable=False),
        sa.Column("asked_at", sa.String(32), nullable=False),
        sa.Column("deadline", sa.String(32), nullable=False),
        sa.Column("decided_by", sa.Text),
        sa.Column("decision", sa.Text),
        sa.Column("by_default", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("watch_id", "point", name="pk_decisions"),
        sa.ForeignKeyConstraint(["watch_id"], ["watches.watch_id"], name="fk_decisions_watch_id_watches"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_decisions_event_seq_events"),
    )
