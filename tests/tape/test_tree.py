"""Trees that are made when they are looked at."""

from __future__ import annotations

import pytest
from sqlglot import exp

from abaco_loans.tape.tree import Later, counting, created, grown, is_tree, later

MADE: list[str] = []


def chosen(name: str) -> exp.Select:
    MADE.append(name)
    return exp.select(exp.column(name, quoted=True)).from_("t")


def test_it_is_made_once_and_when_it_is_asked_for_something() -> None:
    MADE.clear()
    tree = later(chosen, "a")
    assert isinstance(tree, Later)
    assert MADE == []
    assert tree.sql(dialect="duckdb") == 'SELECT "a" FROM t'
    assert tree.where("a > 1").sql() == 'SELECT "a" FROM t WHERE a > 1'
    assert MADE == ["a"]


def test_it_says_all_that_it_depends_on() -> None:
    said = {repr(later(created, "v", kind, later(chosen, name))) for kind in ("VIEW", "TABLE") for name in "ab"}
    assert len(said) == 4
    assert repr(later(chosen, "a")) == "tests.tape.test_tree.chosen('a',)"


def test_one_of_another_is_the_tree_of_that_tree() -> None:
    made = later(created, "v", "VIEW", later(chosen, "a"), True)
    assert made.sql(dialect="duckdb") == 'CREATE OR REPLACE VIEW v AS SELECT "a" FROM t'
    assert later(chosen, "a") == chosen("a")
    assert later(chosen, "a") != later(chosen, "b")


@pytest.mark.parametrize("query", [exp.select("x"), exp.select("secret").from_("t")])
def test_of_a_tree_that_is_there_one_is_made_at_once(query: exp.Select) -> None:
    made = later(created, "v", "VIEW", query)
    assert is_tree(made)
    assert not isinstance(made, Later)
    assert not is_tree(later(counting, "t"))
    assert grown(later(counting, "t")) == counting("t")
