"""Expressions from files: what is not on the allow-list never gets through, whatever it looks like."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from abaco_loans.errors import ConfigError
from abaco_loans.tape.expression import row_expression, row_nodes

COLUMNS = ("a", "b", "day", "flag")


def parsed(text: str) -> exp.Expr:
    return row_expression(text, columns=COLUMNS, code="CFG-203", where="contract.yml:7")


@pytest.mark.parametrize(
    "text",
    [
        "a <= b + 0.05",
        "a * 2 - -b > 0 AND NOT flag",
        "(a BETWEEN 0 AND 10) OR b IS NULL",
        "day >= '2020-01-01'",
        "CASE WHEN a > 0 THEN b ELSE 0 END = 1",
        "COALESCE(a, 0) + ABS(b) < GREATEST(a, b, 1)",
        "a IN (1, 2) AND b <> 3",
        "flag = TRUE",
    ],
)
def test_what_a_rule_may_say(text: str) -> None:
    tree = parsed(text)
    assert {type(node) for node in tree.walk()} <= set(row_nodes())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pg_read_file('/etc/passwd') = 'x'", "pg_read_file"),
        ("read_csv('/etc/passwd') IS NULL", "not allowed"),
        ("getenv('HOME') = 'x'", "not allowed"),
        ("a IN (SELECT b FROM secrets)", "not allowed"),
        ("(SELECT 1) = 1", "not allowed"),
        ("EXISTS (SELECT 1)", "not allowed"),
        ("a = 1 -- and nothing else", "comments"),
        ("a /* hidden */ = 1", "comments"),
        ("a = 1; DROP TABLE typed_tape", "semicolons"),
        ("a = 1;", "semicolons"),
        ("a::VARCHAR = '1'", "not allowed"),
        ("CAST(a AS VARCHAR) = '1'", "not allowed"),
        ("SUM(a) > 1", "not allowed"),
        ("a > 1e3", "exponent"),
        ("a = ?", "not allowed"),
        ("a = $1", "not allowed"),
        ("a = :x", "not allowed"),
        ("a = [1, 2][1]", "not allowed"),
        ("a = {'x': 1}", "not allowed"),
        ("list_filter([a], x -> x > 1)", "not allowed"),
        ("a LIKE '%x'", "not allowed"),
        ("a / 0 > 1", "not allowed"),
        ("* = 1", ""),
        ("COLUMNS('.*') = 1", ""),
        ("t.a = 1", "unknown column"),
        ("main.typed_tape.a = 1", "unknown column"),
        ("c = 1", "unknown column"),
        ('"a b" = 1', "unknown column"),
        ("A = 1", "unknown column"),
        ("rowid = 1", "unknown column"),
        ("a = (", ""),
        ("", ""),
        ("   ", ""),
        ("a = 'x", ""),
        ("(" * 61 + "a" + ")" * 61, "nested more than 60"),
        ("NOT " * 700 + "flag", ""),
        ("-" * 4_001, "longer than"),
        (" + ".join(["a"] * 400), "parts"),
        ("CASE WHEN a THEN " * 80 + "1" + " END" * 80, ""),
    ],
)
def test_what_it_may_not_is_refused_when_the_file_loads(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    error = caught.value
    assert error.code == "CFG-203" and error.where.startswith("contract.yml:7") and error.hint
    assert words in error.what or words in error.hint


@pytest.mark.parametrize(
    ("text", "at"),
    [("a = b + getenv('x')", 9), ("a = 1 OR lenght > 2", 10), ("day = day + 1e5", 13), ("a = 1; b = 2", 6)],
)
def test_the_position_inside_the_expression_is_said(text: str, at: int) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert caught.value.where == f"contract.yml:7, character {at}"


def test_an_unknown_column_comes_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed("dya > '2020-01-01'")
    assert caught.value.hint == "did you mean 'day'?"


_PIECES = """
a b day flag 1 0.5 'x' ( ) [ ] { } + - * / % = <> < > AND OR NOT IN IS NULL CASE WHEN THEN ELSE END SELECT FROM
WHERE , . ; : :: ? $1 -> => -- /* */ " ' ABS( COALESCE( pg_read_file( read_csv( EXISTS UNION WITH AS OVER
INTERVAL DATE CAST( VALUES COLUMNS( LAMBDA x: BETWEEN LIKE @ ~ ^ | & # \\ ` é \x00 DROP TABLE COPY PRAGMA
ATTACH INSTALL SET LIMIT DISTINCT FILTER EXTRACT( TRY_CAST( UNNEST( STRUCT_PACK( 1e5 0x1 .5 5. ''
"""
PIECES = st.sampled_from([*_PIECES.split(), "\n", " "])


@settings(max_examples=300)
@example(text="a = b\x00")
@example(text="CASE")
@example(text="@")
@given(
    text=st.one_of(st.lists(PIECES, max_size=14).map(" ".join), st.lists(PIECES, max_size=8).map("".join), st.text())
)
def test_garbage_never_gets_through_and_never_raises_anything_else(text: str) -> None:
    """Either a tree of allowed nodes over known columns, or a refusal that names the file."""
    try:
        tree = parsed(text)
    except ConfigError as refusal:
        told = refusal.as_dict()
        assert told["where"].startswith("contract.yml:7") and told["code"] == "CFG-203"
        return
    assert {type(node) for node in tree.walk()} <= set(row_nodes())
    assert {node.name for node in tree.find_all(exp.Column)} <= set(COLUMNS)
    assert not any(node.comments for node in tree.walk())
    again = parsed(tree.sql(dialect="duckdb"))
    assert again == tree, "what is rendered for the engine is what was checked"
