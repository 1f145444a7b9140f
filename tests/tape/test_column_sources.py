"""What a column is computed from, read out of the statement."""

from __future__ import annotations

import pytest
import sqlglot
from sqlglot import exp

from abaco_loans.tape.column_sources import Sources, column_sources

KNOWN: dict[str, dict[str, Sources]] = {
    table: {name: Sources(values=frozenset({(table, name)})) for name in ("loan_id", *names)}
    for table, names in {"loans": ("lent", "currency", "since"), "moves": ("paid", "kind", "day")}.items()
}


def read(text: str, known: dict[str, dict[str, Sources]] = KNOWN) -> dict[str, Sources]:
    return column_sources(sqlglot.parse_one(text, read="duckdb"), known)


def sources(text: str, known: dict[str, dict[str, Sources]] = KNOWN) -> dict[str, set[str]]:
    """Columns of the values, as ``table.name``."""
    return {column: {".".join(item) for item in found.values} for column, found in read(text, known).items()}


def picks(text: str, known: dict[str, dict[str, Sources]] = KNOWN) -> dict[str, set[str]]:
    """Columns that pick rows, as ``table.name``."""
    return {column: {".".join(item) for item in found.picks} for column, found in read(text, known).items()}


STEPS = """
WITH paid AS (SELECT loan_id, SUM(CASE WHEN kind = 'payment' THEN paid ELSE 0 END) AS paid
              FROM moves WHERE day <= DATE '2025-01-31' GROUP BY loan_id)
SELECT l.loan_id, l.lent - p.paid AS balance, l.*, 1 AS one
FROM loans l LEFT JOIN paid p ON p.loan_id = l.loan_id AND l.since IS NOT NULL
"""


def test_a_value_is_what_its_expression_reads_through_every_step() -> None:
    assert sources(STEPS) == {
        "loan_id": set(), "balance": {"loans.lent", "moves.paid", "moves.kind"}, "lent": {"loans.lent"},
        "currency": {"loans.currency"}, "since": {"loans.since"}, "one": set(),
    }  # fmt: skip


def test_what_picks_its_rows_is_told_apart_and_comes_through_every_step() -> None:
    found = picks(STEPS)
    assert found["balance"] == {"moves.day", "loans.since"}
    assert found["lent"] == {"loans.since"}
    text = "SELECT SUM(m.paid) AS paid FROM moves m WHERE m.loan_id IN (SELECT loan_id FROM loans WHERE lent > 5)"
    assert picks(text) == {"paid": {"loans.lent"}}
    text = "SELECT kind, SUM(paid) AS paid FROM moves GROUP BY kind HAVING MAX(day) > DATE '2025-01-31'"
    assert picks(text)["paid"] == {"moves.kind", "moves.day"}


def test_columns_of_a_union_go_by_their_place() -> None:
    text = "SELECT u.a, u.b FROM (SELECT lent AS a, currency AS b FROM loans UNION ALL SELECT paid, kind FROM moves) u"
    assert sources(text) == {"a": {"loans.lent", "moves.paid"}, "b": {"loans.currency", "moves.kind"}}
    three = "SELECT lent AS a FROM loans UNION ALL SELECT paid FROM moves UNION ALL SELECT LENGTH(currency) FROM loans"
    assert sources(three) == {"a": {"loans.lent", "moves.paid", "loans.currency"}}


def test_of_two_columns_of_one_name_the_first_is_meant() -> None:
    text = "WITH c AS (SELECT lent AS x, since AS x FROM loans) SELECT x FROM c"
    assert sources(text) == {"x": {"loans.lent"}}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT SUM(m.paid) OVER w AS paid_then FROM moves m WINDOW w AS (PARTITION BY m.kind ORDER BY m.day)",
        "SELECT SUM(m.paid) OVER (PARTITION BY m.kind ORDER BY m.day) AS paid_then FROM moves m",
    ],
)
def test_a_window_is_read_by_its_order_and_picked_by_its_partition(text: str) -> None:
    assert sources(text) == {"paid_then": {"moves.paid", "moves.day"}}
    assert picks(text) == {"paid_then": {"moves.kind"}}


def test_a_list_of_constants_is_no_source() -> None:
    text = "WITH k AS (SELECT UNNEST([30, 60]) AS days) SELECT l.since + k.days AS at FROM loans l CROSS JOIN k"
    assert sources(text) == {"at": {"loans.since"}}


def test_what_was_read_before_is_read_through() -> None:
    made = {"made": {"balance": Sources(values=frozenset({("loans", "lent"), ("moves", "paid")}))}}
    assert sources("SELECT balance * 2 AS twice FROM made", made) == {"twice": {"loans.lent", "moves.paid"}}


@pytest.mark.parametrize("text", ["SELECT a FROM elsewhere", "SELECT l.nothing FROM loans l"])
def test_what_nothing_is_known_of_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"nothing is known of|cannot be read"):
        sources(text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT (SELECT MAX(m.paid) FROM moves m) AS paid FROM loans l",
        "SELECT lent AS a, since AS b FROM loans UNION ALL BY NAME SELECT paid AS b, kind AS a FROM moves",
        "SELECT COLUMNS(*) FROM loans",
        "SELECT COUNT(loans) FROM loans",
        "WITH RECURSIVE r AS (SELECT lent FROM loans UNION ALL SELECT lent FROM r) SELECT lent FROM r",
    ],
)
def test_what_is_written_in_a_way_that_is_not_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"sources are not read of|nothing is known of"):
        sources(text)


def test_what_is_no_query_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no query|cannot be read"):
        column_sources(exp.Drop(tables=[exp.to_table("loans")], kind="TABLE"), KNOWN)
