"""The statements of the records against the tables that the migrations make."""

from __future__ import annotations

import pytest
import sqlglot
from sqlalchemy import Table
from sqlglot import exp

from abaco_loans.records import alerts, cutovers, production, shadows, statements, watches
from abaco_loans.records.alert_rows import (
    ALERT_SEALED,
    ALERTS,
    DELIVERIES,
    DELIVERY_SEALED,
    SILENCE_SEALED,
    SILENCES,
)
from abaco_loans.records.cutover_rows import (
    APPROVAL_SEALED,
    APPROVALS,
    CUTOVER_SEALED,
    CUTOVERS,
    STEP_SEALED,
    STEPS,
)
from abaco_loans.records.production_rows import JOB_SEALED, JOBS, POINTER_SEALED, POINTERS, SERVED, SERVED_SEALED
from abaco_loans.records.run_rows import COUNT_SEALED, RUN_SEALED, VALUE_SEALED
from abaco_loans.records.schema import alerts as alert_table
from abaco_loans.records.schema import (
    approvals,
    breakers,
    checkpoints,
    cutover_steps,
    decisions,
    deliveries,
    events,
    gate_seals,
    jobs,
    kpi_values,
    metadata,
    pointer,
    quarantine_counts,
    releases,
    runs,
    served,
    shadow_runs,
    silences,
)
from abaco_loans.records.schema import cutovers as cutover_table
from abaco_loans.records.schema import watches as watch_table
from abaco_loans.records.shadow_rows import GATES, GATES_SEALED, SHADOW_RUNS, SHADOW_SEALED
from abaco_loans.records.standing import Kind
from abaco_loans.records.watch_rows import (
    CHECKPOINT_SEALED,
    CHECKPOINTS,
    DECISION_SEALED,
    DECISIONS,
    WATCH_SEALED,
    WATCHES,
)

WRITTEN = {
    name: text for name, text in vars(statements).items() if isinstance(text, str) and text.lstrip()[:6] in
    ("SELECT", "INSERT", "UPDATE")
} | {f"NEXT_JOB on {name}": text for name, text in statements.NEXT_JOB.items()}  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "table", "without"),
    [
        (statements.ADD_EVENT, events, set()),
        (statements.ADD_RELEASE, releases, set()),
        (statements.ADD_RUN, runs, set()),
        (statements.ADD_VALUE, kpi_values, {"id"}),
        (statements.ADD_COUNT, quarantine_counts, set()),
        (statements.ADD_SHADOW, shadow_runs, set()),
        (statements.ADD_SEAL, gate_seals, {"id"}),
        (statements.ADD_POINTER, pointer, set()),
        (statements.ADD_JOB, jobs, set()),
        (statements.ADD_SERVED, served, {"id"}),
        (statements.ADD_CUTOVER, cutover_table, set()),
        (statements.ADD_STEP, cutover_steps, set()),
        (statements.ADD_APPROVAL, approvals, {"id"}),
        (statements.ADD_WATCH, watch_table, set()),
        (statements.ADD_CHECKPOINT, checkpoints, set()),
        (statements.ADD_DECISION, decisions, set()),
        (statements.ADD_ALERT, alert_table, set()),
        (statements.ADD_DELIVERY, deliveries, set()),
        (statements.ADD_SILENCE, silences, set()),
        (statements.ADD_BREAKER, breakers, set()),
    ],
)
def test_a_new_row_has_every_column(statement: str, table: Table, without: set[str]) -> None:
    tree = sqlglot.parse_one(statement, read="sqlite")
    assert isinstance(tree, exp.Insert)
    named = [node.name for node in tree.this.expressions]
    assert named == [column.name for column in table.c if column.name not in without]
    values = [node.name for node in tree.find_all(exp.Placeholder)]
    constants = len(list(tree.expression.find_all(exp.Null)))
    assert values == [name for name in named if not (constants and name == "first_run_at")]


SHADOW_KEPT = {
    "shadow_id", "baseline", "candidate", "baseline_meaning", "candidate_meaning", "tape_sha256", "tape_name", "as_of",
    "repeats", "gates_digest", "expected_digest", "planned_at",
}  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "table", "kept"),
    [
        (
            statements.MOVE_RUN,
            runs,
            {"run_id", "release", "release_digest", "tape_sha256", "layout", "as_of", "definition"},
        ),
        (statements.END_SHADOW, shadow_runs, SHADOW_KEPT),
        (
            statements.APPROVE_SEAL,
            gate_seals,
            {"id", *GATES_SEALED} - {"approved_by", "approved_at", "reason"},
        ),
        (statements.MOVE_POINTER, pointer, {"id"}),
        (
            statements.MOVE_JOB,
            jobs,
            {"job_id", "tape_sha256", "tape_name", "as_of", "spool", "submitted_at"},
        ),
        (
            statements.MOVE_CUTOVER,
            cutover_table,
            {"cutover_id", "kind", "from_release", "to_release", "plan", "plan_hash", "created_by", "created_at"},
        ),
        (statements.MOVE_STEP, cutover_steps, {"cutover_id", "number", "phase", "name"}),
        (statements.MOVE_WATCH, watch_table, {"watch_id", "release", "baseline_release", "started_at", "baseline"}),
        (statements.MAKE_DECISION, decisions, {"watch_id", "point", "asked_at", "deadline"}),
        (
            statements.MOVE_ALERT,
            alert_table,
            {"alert_id", "fingerprint", "rule", "subject", "owner", "runbook", "first_seen"},
        ),
        (statements.MOVE_DELIVERY, deliveries, {*DELIVERY_SEALED} - {"status", "sent_at"}),
        (statements.MOVE_SILENCE, silences, {"fingerprint"}),
    ],
)
def test_a_moved_row_sets_all_that_can_change(statement: str, table: Table, kept: set[str]) -> None:
    tree = sqlglot.parse_one(statement, read="sqlite")
    changed = {node.this.name: node.expression.name for node in tree.expressions}
    assert all(name == value for name, value in changed.items())
    assert not set(changed) & kept
    assert set(changed) | kept == {column.name for column in table.c}


@pytest.mark.parametrize(
    ("statement", "actions", "kinds"),
    [
        (statements.EVENTS_OF_SHADOWS_AND_SEALS, shadows.STATE_ACTIONS, (SHADOW_RUNS, GATES)),
        (statements.EVENTS_OF_PRODUCTION, production.STATE_ACTIONS, (POINTERS, JOBS, SERVED)),
        (statements.EVENTS_OF_CUTOVERS, cutovers.STATE_ACTIONS, (CUTOVERS, STEPS, APPROVALS)),
        (statements.EVENTS_OF_WATCHES, watches.STATE_ACTIONS, (WATCHES, CHECKPOINTS, DECISIONS)),
        (statements.EVENTS_OF_ALERTS, alerts.ALERT_ACTIONS, (ALERTS, SILENCES)),
        (statements.EVENTS_OF_DELIVERIES, alerts.DELIVERY_ACTIONS, (DELIVERIES,)),
    ],
)
def test_the_events_that_rows_are_held_against_are_those_that_their_writer_makes(
    statement: str, actions: frozenset[str], kinds: tuple[Kind, ...]
) -> None:
    tree = sqlglot.parse_one(statement, read="sqlite")
    assert {node.name for node in tree.find_all(exp.Literal)} == actions
    assert frozenset().union(*(kind.makes | kind.changes for kind in kinds)) == actions


@pytest.mark.parametrize("name", WRITTEN)
def test_a_statement_names_tables_and_columns_that_are_there(name: str) -> None:
    tree = sqlglot.parse_one(WRITTEN[name], read="postgres" if "FOR UPDATE" in WRITTEN[name] else "sqlite")
    tables = {node.name for node in tree.find_all(exp.Table)} - {"alembic_version"}
    assert tables <= set(metadata.tables)
    known = {column.name for table in tables for column in metadata.tables[table].c}
    used = {node.name for node in tree.find_all(exp.Column) if not isinstance(node.this, exp.Star)}
    assert used <= known | {"version_num"}


def test_seals_cover_every_column_but_themselves_and_what_the_database_counts() -> None:
    assert [column.name for column in runs.c if column.name not in ("seal", "event_seq")] == RUN_SEALED
    assert [column.name for column in kpi_values.c if column.name not in ("seal", "id")] == VALUE_SEALED
    assert {column.name for column in quarantine_counts.c} - {"run_id", "attempt"} == set(COUNT_SEALED)
    for table, names, uncovered in (
        (shadow_runs, SHADOW_SEALED, set()),
        (gate_seals, GATES_SEALED, {"id"}),
        (pointer, POINTER_SEALED, set()),
        (jobs, JOB_SEALED, {"lease_until"}),
        (served, SERVED_SEALED, {"id"}),
        (cutover_table, CUTOVER_SEALED, set()),
        (cutover_steps, STEP_SEALED, set()),
        (approvals, APPROVAL_SEALED, {"id"}),
        (watch_table, WATCH_SEALED, set()),
        (checkpoints, CHECKPOINT_SEALED, set()),
        (decisions, DECISION_SEALED, set()),
        (alert_table, ALERT_SEALED, {"last_seen", "seen"}),
        (deliveries, DELIVERY_SEALED, {"attempts", "next_at", "lease_until", "last_code"}),
        (silences, SILENCE_SEALED, set()),
    ):
        assert [c.name for c in table.c if c.name not in {"seal", "event_seq", *uncovered}] == names
