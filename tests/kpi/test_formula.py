"""Formulas: only arithmetic over aggregates gets in, and what gets in is computed exactly."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlglot import exp

from abaco_loans.errors import ConfigError
from abaco_loans.kpi.catalogue_file import read_catalogue
from abaco_loans.kpi.formula import FACTS, Formula, as_decimal, as_ratio, interval, parse_formula, rounded
from abaco_loans.strict_yaml import parse
from abaco_loans.tape.calculation import COLUMNS

WHERE = "catalogue.yml:7"


def parsed(text: str) -> Formula:
    return parse_formula(text, columns=list(COLUMNS), where=WHERE)


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert caught.value.where.startswith(WHERE)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("text", "components", "kpis", "facts"),
    [
        ("SUM(outstanding_usd)", ["outstanding_usd"], [], []),
        ("-SUM(outstanding_usd) + 1.5", ["outstanding_usd"], [], []),
        ("(10 - risk.par_30 / 10) * 2", [], ["risk.par_30"], []),
        ("run.rows_accepted / run.rows_in", [], [], ["rows_accepted", "rows_in"]),
        ("COUNT(*)", ["count(*)"], [], []),
        ("COUNT(DISTINCT customer_id)", ["count(DISTINCT customer_id)"], [], []),
        ("MAX(days_past_due) - MIN(days_past_due)", ["max(days_past_due)", "min(days_past_due)"], [], []),
        (
            "SUM(CASE WHEN product = 'a' AND NOT region IS NULL THEN outstanding_usd ELSE 0 END)",
            ["sum(CASE WHEN product = 'a' AND NOT region IS NULL THEN outstanding_usd ELSE 0 END)"],
            [],
            [],
        ),
        ("SUM(ABS(outstanding_usd))", ["sum(abs(outstanding_usd))"], [], []),
        (
            "SUM(COALESCE(outstanding_usd, 0) * LEAST(interest_rate, 1))",
            ["sum(coalesce(outstanding_usd, 0) * least(interest_rate, 1))"],
            [],
            [],
        ),
        ("SUM(CASE product WHEN 'a' THEN 1 ELSE 0 END)", ["sum(CASE product WHEN 'a' THEN 1 ELSE 0 END)"], [], []),
        (
            "SUM(CASE WHEN days_past_due BETWEEN 1 AND 6 OR status IN ('x', 'y') THEN 1 END)",
            ["sum(CASE WHEN days_past_due BETWEEN 1 AND 6 OR status IN ('x', 'y') THEN 1 END)"],
            [],
            [],
        ),
    ],
)
def test_what_is_allowed(text: str, components: list[str], kpis: list[str], facts: list[str]) -> None:
    found = parsed(text)
    assert [item.name for item in found.components] == components
    assert list(found.kpis) == kpis
    assert list(found.facts) == facts


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("", "KPI-101", ""),
        ("SUM(outstanding_usd", "KPI-101", "character"),
        ("SUM(CASE WHEN outstanding_usd > 10,000 THEN 1 ELSE 0 END)", "KPI-101", ""),
        ("COUNT(outstanding_usd > 10000)", "KPI-108", ""),
        ("SUM(outstanding_usd) + pg_read_file('/etc/passwd')", "KPI-101", "character 24"),
        ("SUM(READ_CSV('/etc/passwd'))", "KPI-101", "character 5"),
        ("SUM(CAST(outstanding_usd AS VARCHAR))", "KPI-101", "character 5"),
        ("(SELECT 1)", "KPI-101", ""),
        ("SUM(outstanding_usd IN (SELECT 1))", "KPI-101", ""),
        ("SUM(outstanding_usd) OVER ()", "KPI-101", ""),
        ("SUM(outstanding_usd) FILTER (WHERE TRUE)", "KPI-101", "character 22"),
        ("SUM(outstanding_usd) -- fine", "KPI-101", "character"),
        ("SUM(outstanding_usd) /* fine */", "KPI-101", "character"),
        ("SUM(outstanding_usd); DROP TABLE calculation", "KPI-101", "character 21"),
        ("SUM(outstanding_usd) AS x", "KPI-101", ""),
        ("SUM(outstanding_usd) % 2", "KPI-101", ""),
        ("SUM(outstanding_usd) // 2", "KPI-101", ""),
        ("SUM(outstanding_usd) > 2", "KPI-101", ""),
        ("SUM(outstanding_usd) + 'a'", "KPI-101", ""),
        ("ABS(SUM(outstanding_usd))", "KPI-101", ""),
        ("AVG(outstanding_usd)", "KPI-101", "character 1"),
        ("SUM(outstanding_usd) * 1e3", "KPI-101", "character 24"),
        ("SUM(outstanding_usd) || 'a'", "KPI-101", ""),
        ("$1", "KPI-101", ""),
        ("?", "KPI-101", ""),
        ("SUM(outstanding_usd::DOUBLE)", "KPI-101", ""),
        ("(" * 61 + "SUM(outstanding_usd)" + ")" * 61, "KPI-101", ""),
        ("SUM(" + "- " * 900 + "outstanding_usd)", "KPI-101", ""),
        ("SUM(outstanding_usd) + " * 200 + "1", "KPI-101", ""),
        ("1 + outstanding_usd", "KPI-102", "character 5"),
        ("SUM(outstanding_usd) / total_receivable_usd", "KPI-102", "character 24"),
        ("SUM(SUM(outstanding_usd))", "KPI-103", "character 1"),
        ("SUM(COUNT(*))", "KPI-103", "character 1"),
        ("1 + MAX(outstanding_usd / disbursed_usd)", "KPI-103", "character 5"),
        ("SUM(outstanding)", "KPI-104", "character 5"),
        ("SUM(calculation.outstanding_usd)", "KPI-104", "character"),
        ("SUM(run.rows_in)", "KPI-104", "character"),
        ("run.rows_inn", "KPI-104", "character 5"),
        ("foo.risk.par_30", "KPI-104", "character 1"),
        ("risk.*", "KPI-104", ""),
        ("SUM(*)", "KPI-108", "character 1"),
        ("COUNT()", "KPI-108", "character 1"),
        ("SUM(DISTINCT outstanding_usd)", "KPI-108", "character 1"),
        ("COUNT(DISTINCT *)", "KPI-108", "character 1"),
        ("COUNT(DISTINCT loan_id, customer_id)", "KPI-108", "character 1"),
        ("COUNT(loan_id, customer_id)", "KPI-108", "character 1"),
        ("MAX(outstanding_usd, 2)", "KPI-108", "character 1"),
        ("SUM(product)", "KPI-108", "character 1"),
        ("MIN(customer_id)", "KPI-108", "character 1"),
        ("SUM(outstanding_usd > 0)", "KPI-108", "character 1"),
        ("SUM(CASE WHEN product = 1 THEN 1 END)", "KPI-108", "character 1"),
        ("SUM(CASE WHEN outstanding_usd THEN 1 END)", "KPI-108", "character 1"),
        ("SUM(CASE WHEN TRUE THEN 1 ELSE 'a' END)", "KPI-108", "character 1"),
        ("SUM(outstanding_usd + product)", "KPI-108", "character 1"),
        ("SUM(CASE WHEN NOT days_past_due THEN 1 END)", "KPI-108", "character 1"),
        ("SUM(0.0000000000000000001 * outstanding_usd)", "KPI-108", "character 1"),
    ],
)
def test_everything_else_is_refused_with_its_place(text: str, code: str, place: str) -> None:
    error = refusal(text)
    assert error.code == code, str(error)
    assert place in error.where


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("SUM(dpd_30_60)", "did you mean 'dpd_30_60_usd'?"),
        ("SUM(Outstanding_USD)", "did you mean 'outstanding_usd'?"),
        ("run.row_in", "did you mean 'rows_in'?"),
        ('SUM(CASE WHEN product = "factoring" THEN 1 ELSE 0 END)', "a text stands in single quotes: 'factoring'"),
    ],
)
def test_an_unknown_name_shows_the_nearest(text: str, nearest: str) -> None:
    assert refusal(text).hint == nearest


def test_a_column_outside_an_aggregate_says_what_to_write() -> None:
    assert "SUM" in refusal("days_past_due").hint


CATALOGUE = """\
version: "1"
kpis:
{entries}"""
ENTRY = """\
  - id: {id}
    name: A
    description: b
    formula: "{formula}"
    unit: "%"
    precision: 2
    owner: risk
    departments: [risk]
    refresh: daily
    source: tape
"""


def catalogue(**formulas: str) -> str:
    entries = "".join(ENTRY.format(id=f"risk.{name}", formula=formula) for name, formula in formulas.items())
    return CATALOGUE.format(entries=entries)


@pytest.mark.parametrize(
    ("formulas", "code", "line", "word"),
    [
        ({"a": "SUM(outstanding_usd)", "b": "SUM(outstandin_usd)"}, "KPI-104", 16, "outstandin_usd"),
        ({"a": "risk.b", "b": "risk.c + 1", "c": "risk.a"}, "KPI-107", 6, "risk.a -> risk.b -> risk.c -> risk.a"),
        ({"a": "risk.a"}, "KPI-107", 6, "risk.a -> risk.a"),
        ({"a": "1", "par_30": "2", "c": "risk.par_3"}, "KPI-104", 26, "risk.par_3"),
    ],
)
def test_a_catalogue_is_refused_with_file_and_line(formulas: dict[str, str], code: str, line: int, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_catalogue(parse(catalogue(**formulas), name="releases/v3/catalogue.yml"))
    assert caught.value.code == code
    assert caught.value.where.startswith(f"releases/v3/catalogue.yml:{line}")
    assert word in caught.value.what


def test_a_kpi_that_stands_twice_is_refused() -> None:
    twice = CATALOGUE.format(entries=ENTRY.format(id="risk.a", formula="1") * 2)
    with pytest.raises(ConfigError, match="KPI-106"):
        read_catalogue(parse(twice, name="catalogue.yml"))


def test_kpis_come_after_those_they_are_made_of() -> None:
    found = read_catalogue(parse(catalogue(a="risk.c + risk.b", b="risk.c", c="1"), name="catalogue.yml"))
    assert [kpi.id for kpi in found.kpis] == ["risk.c", "risk.b", "risk.a"]


# --- what gets in is computed exactly -----------------------------------------------------------------------

NAMES = ("outstanding_usd", "disbursed_usd", "cash_available_usd")
amounts = st.decimals(min_value=-(10**14), max_value=10**14, places=4, allow_nan=False, allow_infinity=False)
literals = st.decimals(min_value=0, max_value=10**6, places=3, allow_nan=False, allow_infinity=False)


@st.composite
def formulas(draw: st.DrawFn, depth: int = 4) -> str:
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(
            st.one_of(
                st.sampled_from([f"SUM({name})" for name in NAMES]),
                literals.map(lambda value: format(value, "f")),
                st.sampled_from(["risk.par_30", "run.rows_in"]),
            )
        )
    left, right = draw(formulas(depth - 1)), draw(formulas(depth - 1))
    return draw(
        st.sampled_from(
            [
                f"({left} + {right})",
                f"({left}) - ({right})",
                f"({left}) * ({right})",
                f"({left}) / ({right})",
                f"-({left})",
            ]
        )
    )


def by_hand(node: exp.Expr, values: dict[str, Fraction]) -> Fraction:
    """The value of a formula; ZeroDivisionError where there is none."""
    match node:
        case exp.Paren():
            return by_hand(node.this, values)
        case exp.Neg():
            return -by_hand(node.this, values)
        case exp.Literal():
            return Fraction(node.this)
        case exp.Sum():
            return values[node.this.name]
        case exp.Column():
            return values[f"{node.table}.{node.name}"]
        case _:
            pass
    left, right = by_hand(node.this, values), by_hand(node.expression, values)
    match node:
        case exp.Add():
            return left + right
        case exp.Sub():
            return left - right
        case exp.Mul():
            return left * right
        case _:
            assert isinstance(node, exp.Div)
            return left / right


@given(text=formulas(), sums=st.lists(amounts, min_size=3, max_size=3), rows=st.integers(0, 10**9))
@example(text="SUM(outstanding_usd) / (SUM(disbursed_usd) - SUM(disbursed_usd))", sums=[Decimal(1)] * 3, rows=1)
@example(text="1 / -(SUM(outstanding_usd))", sums=[Decimal(3)] * 3, rows=1)
def test_evaluation_equals_fractions(text: str, sums: list[Decimal], rows: int) -> None:
    formula = parsed(text)
    decimals = dict(zip(NAMES, sums, strict=True))
    ratios = {name: as_ratio(value) for name, value in decimals.items()}
    ratios |= {"risk.par_30": (-7, 3), "run.rows_in": (rows, 1)}
    values = {name: Fraction(*ratio) for name, ratio in ratios.items()}
    found = formula.evaluate(ratios)
    try:
        wanted = by_hand(formula.tree, values)
    except ZeroDivisionError:
        assert found is None
        return
    assert found is not None
    assert found[1] > 0
    assert Fraction(*found) == wanted


@given(text=formulas(3), data=st.data())
def test_an_interval_holds_every_value_inside_it(text: str, data: st.DataObject) -> None:
    formula = parsed(text)
    spans: dict[str, tuple[Fraction, Fraction]] = {}
    inside: dict[str, Fraction] = {}
    for name in (*NAMES, "risk.par_30", "run.rows_in"):
        ends = sorted(Fraction(data.draw(amounts)) for _ in range(2))
        spans[name] = ends[0], ends[1]
        inside[name] = ends[0] + (ends[1] - ends[0]) * Fraction(data.draw(st.integers(0, 8)), 8)
    found = interval(formula.tree, spans)
    if found is not None:
        assert found[0] <= by_hand(formula.tree, inside) <= found[1]


@given(numerator=st.integers(-(10**40), 10**40), denominator=st.integers(1, 10**40))
@example(numerator=1, denominator=3)
@example(numerator=2 * 10**28 + 1, denominator=2)  # a tie in the 29th digit
@example(numerator=2 * 10**28 + 3, denominator=2)
def test_a_value_is_divided_once_to_28_digits_half_even(numerator: int, denominator: int) -> None:
    found = as_decimal((numerator, denominator))
    assert len(found.as_tuple().digits) <= 28
    if numerator == 0:
        assert found == 0
        return
    exact = Fraction(numerator, denominator)
    step = Fraction(10) ** (found.adjusted() - 27)
    assert abs(Fraction(found) - exact) * 2 <= step
    if abs(Fraction(found) - exact) * 2 == step:
        assert Fraction(found) / step % 2 == 0


@pytest.mark.parametrize(
    ("value", "places", "shown"),
    [
        ("2.345", 2, "2.34"),
        ("2.355", 2, "2.36"),
        ("-2.345", 2, "-2.34"),
        ("0.5", 0, "0"),
        ("1.5", 0, "2"),
        ("2", 2, "2.00"),
    ],
)
def test_a_value_is_shown_half_even(value: str, places: int, shown: str) -> None:
    assert str(rounded(Decimal(value), places)) == shown


# --- garbage ------------------------------------------------------------------------------------------------

words = st.sampled_from(
    [
        *NAMES,
        "SUM",
        "COUNT",
        "MAX",
        "DISTINCT",
        "CASE",
        "WHEN",
        "THEN",
        "END",
        "(",
        ")",
        "*",
        "/",
        "+",
        "-",
        ",",
        "1",
        "0.5",
        "'a'",
        "IN",
        "SELECT",
        "FROM",
        "calculation",
        "OVER",
        "--",
        ";",
        "::",
        "product",
        "risk.par_30",
        "run.rows_in",
        "NULL",
        "TRUE",
        "AND",
        "NOT",
        "IS",
        "BETWEEN",
        "{",
        "[",
        "]",
        "$x",
        ":x",
        "?",
        "e'",
        "\x00",
    ]
)
allowed = (
    exp.Paren,
    exp.Neg,
    exp.Add,
    exp.Sub,
    exp.Mul,
    exp.Div,
    exp.Literal,
    exp.Column,
    exp.Sum,
    exp.Count,
    exp.Min,
    exp.Max,
)


def parsed_or_code(text: str) -> tuple[Formula | None, str]:
    try:
        return parsed(text), ""
    except ConfigError as error:
        return None, error.code


@given(text=st.one_of(st.text(max_size=60), st.lists(words, max_size=14).map(" ".join)))
@example(text="risk.par_30.x")
@example(text="SUM(outstanding_usd) + \x1b[31m")
def test_garbage_is_refused_or_is_plain_arithmetic(text: str) -> None:
    """Never another exception, and nothing but arithmetic over aggregates of known columns gets in."""
    formula, code = parsed_or_code(text)
    if formula is None:
        assert code in {"KPI-101", "KPI-102", "KPI-103", "KPI-104", "KPI-108"}
        return
    assert isinstance(formula.tree, allowed)
    assert set(formula.columns) <= set(COLUMNS)
    assert set(formula.facts) <= set(FACTS)
    for item in formula.components:
        assert item.tree.find(exp.Select, exp.Anonymous, exp.Window, exp.Div) is None
