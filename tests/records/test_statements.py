"""The statements of the records against the tables that the migrations make."""

from __future__ import annotations

import pytest
import sqlglot
from sqlglot import exp

from abaco_loans.records import statements
from abaco_loans.records.run_rows import COUNT_SEALED, RUN_SEALED, VALUE_SEALED
from abaco_loans.records.schema import events, kpi_values, metadata, quarantine_counts, releases, runs

WRITTEN = {
    name: text for name, text in vars(statements).items() if isinstance(text, str) and text.lstrip()[:6] in
    ("SELECT", "INSERT", "UPDATE")
}  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "table", "without"),
    [
        (statements.ADD_EVENT, events, set()),
        (statements.ADD_RELEASE, releases, set()),
        (statements.ADD_RUN, runs, set()),
        (statements.ADD_VALUE, kpi_values, {"id"}),
        (statements.ADD_COUNT, quarantine_counts, set()),
    ],
)
def test_a_new_row_has_every_column(statement: str, table: object, without: set[str]) -> None:
    tree = sqlglot.parse_one(statement, read="sqlite")
    assert isinstance(tree, exp.Insert)
    named = [node.name for node in tree.this.expressions]
    assert named == [column.name for column in table.c if column.name not in without]  # type: ignore[attr-defined]
    values = [node.name for node in tree.find_all(exp.Placeholder)]
    constants = len(list(tree.expression.find_all(exp.Null)))
    assert values == [name for name in named if not (constants and name == "first_run_at")]


def test_a_moved_run_sets_all_that_can_change() -> None:
    tree = sqlglot.parse_one(statements.MOVE_RUN, read="sqlite")
    changed = {node.this.name: node.expression.name for node in tree.expressions}
    assert all(name == value for name, value in changed.items())
    kept = {"run_id", "release", "release_digest", "tape_sha256", "layout", "as_of", "definition"}
    assert set(changed) | kept == {column.name for column in runs.c}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_statement_names_tables_and_columns_that_are_there(name: str) -> None:
    tree = sqlglot.parse_one(WRITTEN[name], read="sqlite")
    tables = {node.name for node in tree.find_all(exp.Table)} - {"alembic_version"}
    assert tables <= set(metadata.tables)
    known = {column.name for table in tables for column in metadata.tables[table].c}
    used = {node.name for node in tree.find_all(exp.Column) if not isinstance(node.this, exp.Star)}
    assert used <= known | {"version_num"}


def test_seals_cover_every_column_but_themselves_and_what_the_database_counts() -> None:
    assert [column.name for column in runs.c if column.name not in ("seal", "event_seq")] == RUN_SEALED
    assert [column.name for column in kpi_values.c if column.name not in ("seal", "id")] == VALUE_SEALED
    assert {column.name for column in quarantine_counts.c} - {"run_id", "attempt"} == set(COUNT_SEALED)
