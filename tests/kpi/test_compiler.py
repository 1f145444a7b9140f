"""The catalogue as one statement a grain: no division, three dialects, and the same sums as a slow loop."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.kpi.catalogue import CUSTOMER_RANK, Catalogue, Grain
from abaco_loans.kpi.catalogue_file import read_catalogue
from abaco_loans.kpi.compiler import Compiled, compile_catalogue
from abaco_loans.kpi.formula import parse_formula
from abaco_loans.strict_yaml import parse
from abaco_loans.tape.calculation import COLUMNS, TABLE, Calculation, is_money
from tests.kpi.tables import (
    Bench,
    aggregate,
    builtin_release,
    by_customer,
    engine_in_scratch,
    fraction,
    put,
    sql_type,
)

DIMENSIONS = ("product", "region")
DIALECTS = ("duckdb", "postgres", "spark")
EVERYTHING = Calculation(query=exp.select("*").from_(TABLE), columns=tuple(COLUMNS))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with engine_in_scratch() as engine:
        yield Bench(engine)


@pytest.fixture(scope="module")
def engine(bench: Bench) -> Engine:
    return bench.engine


@pytest.fixture(scope="module")
def catalogue(bench: Bench) -> Catalogue:
    return bench.catalogue


@pytest.fixture(scope="module")
def compiled(catalogue: Catalogue) -> Compiled:
    """The whole catalogue over a table with every column there is."""
    return compile_catalogue(catalogue, EVERYTHING, ("product", "region", "company", "currency"))


def test_the_whole_catalogue_times_segments_is_one_statement_a_grain(compiled: Compiled, catalogue: Catalogue) -> None:
    assert [statement.grain for statement in compiled.statements] == [Grain.LOAN, Grain.CUSTOMER]
    for statement in compiled.statements:
        wanted = {
            item.name for kpi in catalogue.kpis if kpi.grain is statement.grain for item in kpi.formula.components
        }
        assert set(statement.components) == wanted
        assert statement.dimensions == ("product", "region", "company", "currency")
        tables = [table.name for table in statement.query.find_all(exp.Table)]
        assert tables == [TABLE]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_statements_render_and_parse_back(compiled: Compiled, catalogue: Catalogue, dialect: str) -> None:
    dated = compile_catalogue(catalogue, EVERYTHING, ("product", "region"), each="as_of")
    for statement in (*compiled.statements, *dated.statements):
        sql = statement.query.sql(dialect=dialect)
        (again,) = sqlglot.parse(sql, read=dialect)
        assert again is not None
        assert again.find(exp.Command) is None
        assert again.sql(dialect=dialect) == sql
        # Said in one dialect again, the three are the same statement.
        assert _plain(again) == _plain(sqlglot.parse_one(statement.query.sql(dialect="duckdb"), read="duckdb"))


def _plain(tree: exp.Expr) -> str:
    """The tree in words of no dialect: types by their meaning, order of NULLs written out, upper case."""

    def plain(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Ordered):
            node.set("nulls_first", bool(node.args.get("nulls_first")))
            node.set("desc", bool(node.args.get("desc")))
        if isinstance(node, exp.TryCast):  # what Spark's CAST is when it is not told to be strict
            return exp.cast(node.this, node.to)
        if isinstance(node, exp.DataType) and node.is_type("numeric", "decimal"):
            return exp.DataType.build(f"DECIMAL({', '.join(item.name for item in node.expressions)})")
        return node

    return tree.transform(plain).sql(dialect="duckdb", normalize_functions="upper")


def test_no_statement_divides(compiled: Compiled) -> None:
    for statement in compiled.statements:
        for node in (exp.Div, exp.IntDiv, exp.Mod, exp.SafeDivide, exp.Avg):
            assert statement.query.find(node) is None
        for dialect in DIALECTS:
            sql = statement.query.sql(dialect=dialect)
            assert "/" not in sql
            assert "DOUBLE" not in sql.upper()
            assert "FLOAT" not in sql.upper()


# --- against a slow loop ------------------------------------------------------------------------------------

MONEY = ("outstanding_usd", "total_receivable_usd", "dpd_90_plus_usd", "opening_outstanding_usd", "written_off_usd")
COLUMNS_USED = ("loan_id", "customer_id", *DIMENSIONS, *MONEY, "interest_rate", "disbursed_last_90_days")
money = st.one_of(
    st.none(),
    st.just(Decimal(0)),
    st.decimals(min_value=0, max_value=10**13, places=4),
    st.decimals(min_value=-(10**6), max_value=10**6, places=4),
)
table_rows = st.lists(
    st.fixed_dictionaries(
        {
            "loan_id": st.uuids().map(str),
            "customer_id": st.one_of(st.none(), st.sampled_from(["c1", "c2", "c3", "c4"])),
            "product": st.one_of(st.none(), st.sampled_from(["a", "b", "(none)", "it's"])),
            "region": st.one_of(st.none(), st.sampled_from(["n", "s"])),
            **dict.fromkeys(MONEY, money),
            "interest_rate": st.one_of(st.none(), st.decimals(min_value=0, max_value=50, places=6)),
            "disbursed_last_90_days": st.sampled_from([0, 1]),
        }
    ),
    max_size=16,
)


@given(rows=table_rows)
@settings(max_examples=25)
def test_the_engine_finds_what_a_slow_loop_finds(
    engine: Engine, catalogue: Catalogue, rows: list[dict[str, object]]
) -> None:
    calculation = put(engine, COLUMNS_USED, rows)
    compiled = compile_catalogue(catalogue, calculation, DIMENSIONS)
    trees = {item.name: item.tree for kpi in catalogue.kpis for item in kpi.formula.components}
    for statement in compiled.statements:
        found = {(cell.segment, cell.segment_value): cell for cell in statement.cells(engine.rows(statement.query))}
        places = {(name, row[name]) for name in DIMENSIONS for row in rows}
        if statement.grain is Grain.CUSTOMER:
            places = {(name, row[name]) for name in DIMENSIONS for row in rows if row["customer_id"] is not None}
        assert set(found) - {("", None)} == places
        for (segment, value), cell in found.items():
            own = [row for row in rows if not segment or row[segment] == value]
            members = len({row["customer_id"] for row in own} - {None})
            if statement.grain is Grain.CUSTOMER:
                own = by_customer(own, MONEY)
            assert cell.rows == len(own)
            assert cell.members == members
            for name in statement.components:
                assert fraction(cell.values[name]) == aggregate(trees[name], own), (segment, value, name)
            for name in statement.counted:
                assert cell.filled[name] == sum(row[name] is not None for row in own)


@pytest.mark.parametrize("dimensions", [(), ("product",)])
@given(rows=table_rows)
@settings(max_examples=15)
def test_for_each_value_the_cells_are_those_of_its_rows_alone(
    engine: Engine, catalogue: Catalogue, dimensions: tuple[str, ...], rows: list[dict[str, object]]
) -> None:
    together = compile_catalogue(catalogue, put(engine, COLUMNS_USED, rows), dimensions, each="region").statements
    found = {statement.grain: statement.cells_by(engine.rows(statement.query)) for statement in together}
    for value in {row["region"] for row in rows}:
        own = [row for row in rows if row["region"] == value]
        for statement in compile_catalogue(catalogue, put(engine, COLUMNS_USED, own), dimensions).statements:
            alone = statement.cells(engine.rows(statement.query))
            spoken_of = statement.grain is Grain.LOAN or any(row["customer_id"] is not None for row in own)
            assert found[statement.grain].get(value) == (alone if spoken_of else None)


def test_an_empty_table_has_one_cell_without_sums(engine: Engine, catalogue: Catalogue) -> None:
    compiled = compile_catalogue(catalogue, put(engine, COLUMNS_USED, []), DIMENSIONS)
    statement = compiled.statements[0]
    (cell,) = statement.cells(engine.rows(statement.query))
    assert (cell.segment, cell.rows) == ("", 0)
    assert all(value in (None, 0) for value in cell.values.values())


def test_cells_stand_in_one_order_whatever_the_order_of_the_rows(compiled: Compiled) -> None:
    statement = compile_catalogue(
        builtin_release().catalogue, Calculation(query=exp.select("*"), columns=COLUMNS_USED), DIMENSIONS
    ).statements[0]
    width = len(statement.components) + len(statement.counted)
    flags = {"": (1, 1), "product": (0, 1), "region": (1, 0)}
    keys = [("region", "n"), ("product", None), ("", None), ("product", "b"), ("product", "a"), ("region", None)]
    rows = [
        (
            *flags[segment],
            value if segment == "product" else None,
            value if segment == "region" else None,
            1,
            1,
            *([0] * width),
        )
        for segment, value in keys
    ]
    wanted = [("", None), ("product", "a"), ("product", "b"), ("product", None), ("region", "n"), ("region", None)]
    for order in (rows, rows[::-1]):
        assert [(cell.segment, cell.segment_value) for cell in statement.cells(order)] == wanted


@pytest.mark.parametrize(
    "formula",
    [
        "SUM(0.00005 * outstanding_usd)",
        "SUM(outstanding_usd * 0.123456789)",
        "SUM((1 - 0.0000001) * outstanding_usd)",
        "SUM(interest_rate * outstanding_usd * disbursed_last_90_days)",
        "SUM(disbursed_last_90_days * (interest_rate * outstanding_usd))",
        "SUM(outstanding_usd * outstanding_usd)",
        "SUM(outstanding_usd * interest_rate)",
        "SUM((outstanding_usd + 0.00001) * 3)",
        "MAX(interest_rate * 0.000001)",
        "SUM(-outstanding_usd * -1)",
    ],
)
def test_products_keep_every_digit(engine: Engine, formula: str) -> None:
    rows = [
        {"outstanding_usd": Decimal(amount), "interest_rate": Decimal(rate), "disbursed_last_90_days": 1}
        for amount, rate in (("0.0001", "0.000001"), ("99999999.9999", "11.600001"), ("12345.6789", "0.451"))
    ]
    columns = ("outstanding_usd", "interest_rate", "disbursed_last_90_days")
    put(engine, columns, rows, table="exact")
    (component,) = parse_formula(formula, columns=columns, where="f").components
    ((value,),) = engine.rows(exp.select(component.tree).from_("exact"))
    tree = sqlglot.parse_one(formula, read="duckdb")
    assert Fraction(value) == aggregate(tree, rows)


def test_the_largest_amounts_do_not_overflow(engine: Engine) -> None:
    largest = Decimal("99999999999999.9999")
    put(engine, ("outstanding_usd", "interest_rate"), [{"outstanding_usd": largest, "interest_rate": 50}] * 3, "large")
    for formula, wanted in (
        ("SUM(outstanding_usd)", 3 * Fraction(largest)),
        ("SUM(outstanding_usd * outstanding_usd)", 3 * Fraction(largest) ** 2),
        ("SUM(interest_rate * outstanding_usd)", 150 * Fraction(largest)),
    ):
        (component,) = parse_formula(formula, columns=("outstanding_usd", "interest_rate"), where="f").components
        ((value,),) = engine.rows(exp.select(component.tree).from_("large"))
        assert Fraction(value) == wanted


def test_a_column_name_is_never_code(engine: Engine, compiled: Compiled) -> None:
    for statement in compiled.statements:
        for column in statement.query.find_all(exp.Column):
            if column.name in COLUMNS and not column.find_ancestor(exp.Sum, exp.Count):
                assert column.this.quoted, column.sql()


def test_a_kpi_whose_columns_are_not_there_is_left_out(catalogue: Catalogue) -> None:
    calculation = Calculation(query=exp.select("*"), columns=("total_receivable_usd", "dpd_90_plus_usd"))
    (statement,) = compile_catalogue(catalogue, calculation, DIMENSIONS).statements
    assert set(statement.components) == {"total_receivable_usd", "dpd_90_plus_usd"}
    assert statement.dimensions == ()


def test_types_of_the_test_tables_are_those_of_the_product() -> None:
    assert all(sql_type(name) == "DECIMAL(18,4)" for name in COLUMNS if is_money(name))
    assert sql_type("customer_id") == sql_type("region") == "VARCHAR"
    assert CUSTOMER_RANK not in COLUMNS


def test_a_minimum_and_a_count_are_components_too(engine: Engine) -> None:
    text = """\
version: "1"
kpis:
  - id: risk.spread
    name: Spread
    description: d
    formula: MAX(outstanding_usd) - MIN(outstanding_usd) + COUNT(*) + COUNT(outstanding_usd)
    unit: USD
    precision: 2
    owner: risk
    departments: [risk]
    refresh: daily
    source: tape
"""
    rows = [{"outstanding_usd": amount} for amount in (Decimal("1.5"), None, Decimal(-4))]
    calculation = put(engine, ("outstanding_usd",), rows)
    compiled = compile_catalogue(read_catalogue(parse(text, name="c.yml")), calculation, ())
    (cell,) = compiled.statements[0].cells(engine.rows(compiled.statements[0].query))
    assert dict(cell.values) == {
        "max(outstanding_usd)": Decimal("1.5"),
        "min(outstanding_usd)": Decimal(-4),
        "count(*)": 3,
        "count(outstanding_usd)": 2,
    }
