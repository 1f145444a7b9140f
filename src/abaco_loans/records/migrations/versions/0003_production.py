"""Production: the queue, the pointer, and the journal of cutovers."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the six tables."""
    _pointer()
    _jobs()
    _served()
    _cutovers()
    _cutover_steps()
    _approvals()


def _pointer() -> None:
    op.create_table(
        "pointer",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("active", sa.Text, nullable=False),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("held_by", sa.Text, nullable=False),
        sa.Column("changed_at", sa.String(32), nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pointer"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_pointer_event_seq_events"),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.String(24), nullable=False),
        sa.Column("tape_sha256", sa.Text, nullable=False),
        sa.Column("tape_name", sa.Text, nullable=False),
        sa.Column("as_of", sa.String(10), nullable=False),
        sa.Column("spool", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("lease_until", sa.String(32)),
        sa.Column("submitted_at", sa.String(32), nullable=False),
        sa.Column("served_by", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.Column("epoch", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_jobs_event_seq_events"),
    )
    op.create_index("ix_jobs_epoch", "jobs", ["epoch"])
    op.create_index("ix_jobs_event_seq", "jobs", ["event_seq"])
    op.create_index("ix_jobs_status_event_seq", "jobs", ["status", "event_seq"])


def _served() -> None:
    op.create_table(
        "served",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("job_id", sa.String(24), nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("served_at", sa.String(32), nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_served"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.job_id"], name="fk_served_job_id_jobs"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_served_event_seq_events"),
        sa.UniqueConstraint("job_id", "epoch", name="uq_served_job_id_epoch"),
    )


def _cutovers() -> None:
    op.create_table(
        "cutovers",
        sa.Column("cutover_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("from_release", sa.Text, nullable=False),
        sa.Column("to_release", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("plan_hash", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("under_way", sa.Integer),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("started_at", sa.String(32)),
        sa.Column("finished_at", sa.String(32)),
        sa.Column("outcome", sa.Text),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("cutover_id", name="pk_cutovers"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_cutovers_event_seq_events"),
        sa.UniqueConstraint("under_way", name="uq_cutovers_under_way"),
    )
    op.create_index("ix_cutovers_event_seq", "cutovers", ["event_seq"])


def _cutover_steps() -> None:
    op.create_table(
        "cutover_steps",
        sa.Column("cutover_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("phase", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("started_at", sa.String(32), nullable=False),
        sa.Column("finished_at", sa.String(32)),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("cutover_id", "number", name="pk_cutover_steps"),
        sa.ForeignKeyConstraint(["cutover_id"], ["cutovers.cutover_id"], name="fk_cutover_steps_cutover_id_cutovers"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_cutover_steps_event_seq_events"),
    )


def _approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("cutover_id", sa.Text, nullable=False),
        sa.Column("plan_hash", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("how", sa.Text, nullable=False),
        sa.Column("verified", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.String(32), nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_approvals"),
        sa.ForeignKeyConstraint(["cutover_id"], ["cutovers.cutover_id"], name="fk_approvals_cutover_id_cutovers"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_approvals_event_seq_events"),
    )
    op.create_index("ix_approvals_cutover_id_id", "approvals", ["cutover_id", "id"])
