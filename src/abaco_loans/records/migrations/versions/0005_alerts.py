"""Alerts, their deliveries, silences, and the breakers of channels."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the four tables."""
    _make_alerts()
    _make_deliveries()
    op.create_table(
        "silences",
        sa.Column("fingerprint", sa.String(16), nullable=False),
        sa.Column("silenced_until", sa.String(32), nullable=False),
        sa.Column("silenced_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("silenced_at", sa.String(32), nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_silences"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_silences_event_seq_events"),
    )
    op.create_table(
        "breakers",
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("opened_at", sa.String(32)),
        sa.Column("retry_at", sa.String(32)),
        sa.Column("last_code", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("channel", name="pk_breakers"),
    )


def _make_alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.String(16), nullable=False),
        sa.Column("fingerprint", sa.String(16), nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("open_as", sa.String(16)),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("runbook", sa.Text, nullable=False),
        sa.Column("first_seen", sa.String(32), nullable=False),
        sa.Column("last_seen", sa.String(32), nullable=False),
        sa.Column("seen", sa.Integer, nullable=False),
        sa.Column("acknowledged_by", sa.Text),
        sa.Column("acknowledged_at", sa.String(32)),
        sa.Column("resolved_at", sa.String(32)),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("alert_id", name="pk_alerts"),
        sa.UniqueConstraint("open_as", name="uq_alerts_open_as"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_alerts_event_seq_events"),
    )
    op.create_index("ix_alerts_event_seq", "alerts", ["event_seq"])


def _make_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("delivery_id", sa.String(24), nullable=False),
        sa.Column("alert_id", sa.String(16), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("silenced_until", sa.String(32)),
        sa.Column("notice_key", sa.Text, nullable=False),
        sa.Column("queued_at", sa.String(32), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("sent_at", sa.String(32)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", sa.String(32), nullable=False),
        sa.Column("lease_until", sa.String(32)),
        sa.Column("last_code", sa.Text, nullable=False),
        sa.Column("seal", sa.String(64), nullable=False),
        sa.Column("event_seq", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_deliveries"),
        sa.UniqueConstraint("notice_key", name="uq_deliveries_notice_key"),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.alert_id"], name="fk_deliveries_alert_id_alerts"),
        sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name="fk_deliveries_event_seq_events"),
    )
    op.create_index("ix_deliveries_alert_id_event_seq", "deliveries", ["alert_id", "event_seq"])
    op.create_index("ix_deliveries_status_event_seq", "deliveries", ["status", "event_seq"])
    op.create_index("ix_deliveries_event_seq", "deliveries", ["event_seq"])
