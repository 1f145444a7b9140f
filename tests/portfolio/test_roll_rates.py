from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abaco_loans.engines.base import Engine
from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.portfolio.interval import wilson
from abaco_loans.portfolio.policy import Policy
from abaco_loans.portfolio.roll_rates import ROLL_RATES, ROLL_RATES_AVERAGE
from abaco_loans.portfolio.states import order
from abaco_loans.portfolio.view import Asked
from abaco_loans.tape.staged import StagedFile, TextFormat
from abaco_loans.tape.template import filled
from tests.portfolio.panels import DEFINITION, Row, asked, day, engine_in_scratch, said

MONTHS = tuple(day(text) for text in ("2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"))
PRINTED = Fraction(1, 10**26)
STATES = ("current", "1-6", "30-59", "90+", "written off", "repaid")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_in_scratch() as made:
        yield made


def path(loan: str, states: str, *balances: int) -> list[Row]:
    """One loan's row for each state (``-`` is no row); a single balance holds throughout."""
    rows: list[Row] = []
    for index, state in enumerate(states.split()):
        balance = balances[min(index, len(balances) - 1)]
        amounts = (0, balance) if state == "off" else (0, 0) if state == "repaid" else (balance, 0)
        row = {
            "loan_id": loan,
            "as_of": MONTHS[index],
            "state": "written off" if state == "off" else state,
            "region": loan[0],
            "outstanding_principal": amounts[0],
            "written_off_balance": amounts[1],
        }
        rows += [] if state == "-" else [row]
    return rows


BOOK = [
    *path("a1", "current current", 300),
    *path("a2", "current 1-6", 100),
    *path("b1", "1-6 repaid", 50),
    *path("b2", "90+ off", 70),
    *path("b3", "off off", 30),
    *path("b4", "current -", 40),
    *path("b5", "repaid repaid", 0),
    *path("b6", "- current", 999),
]


def test_rates_by_balance_and_by_count(engine: Engine) -> None:
    found = said(ROLL_RATES, asked(engine, BOOK))
    moves = [(row["from_state"], row["to_state"], row["loans"], row["balance"]) for row in found]
    assert moves == [
        ("current", "current", 1, 300),
        ("current", "1-6", 1, 100),
        ("current", "missing", 1, 40),
        ("1-6", "repaid", 1, 50),
        ("90+", "written off", 1, 70),
        ("written off", "written off", 1, 30),
    ]
    assert {(row["period_start"], row["as_of"]) for row in found} == {MONTHS[:2]}
    assert found[1]["rate_by_balance"] == Decimal("22.72727272727272727272727273")
    assert found[1]["rate_by_count"] == Decimal("33.33333333333333333333333333")


def test_a_loan_counts_for_the_segment_that_it_began_in(engine: Engine) -> None:
    moved = [{**row, "region": "c"} if row["as_of"] == MONTHS[1] else row for row in BOOK]
    found = said(ROLL_RATES, asked(engine, moved, by="region"))
    assert [(row["region"], row["from_state"], row["to_state"], row["rate_by_balance"]) for row in found] == [
        ("a", "current", "current", 75),
        ("a", "current", "1-6", 25),
        ("b", "current", "missing", 100),
        ("b", "1-6", "repaid", 100),
        ("b", "90+", "written off", 100),
        ("b", "written off", "written off", 100),
    ]


def test_repaid_stands_in_the_table_when_a_repaid_loan_comes_back(engine: Engine) -> None:
    rows = [*path("a", "repaid current", 10), *path("b", "repaid repaid", 0)]
    found = said(ROLL_RATES, asked(engine, rows))
    assert [(row["to_state"], row["rate_by_count"], row["rate_by_balance"]) for row in found] == [
        ("current", 50, None),
        ("repaid", 50, None),
    ]


def test_a_loan_that_the_definition_does_not_count_is_not_missing(engine: Engine) -> None:
    uncounted = {"loan_id": "a", "as_of": MONTHS[1], "outstanding_principal": 10}
    found = said(ROLL_RATES, asked(engine, [*path("a", "current", 10), uncounted]))
    assert [row["to_state"] for row in found] == ["(none)"]


def test_a_balance_without_a_rate_is_counted_and_not_added(engine: Engine) -> None:
    unpriced = {"outstanding_principal_reporting": None, "written_off_balance_reporting": None}
    rows = [*path("a", "current 1-6", 10), *path("b", "current current", 10)]
    rows += [{**row, **unpriced} for row in path("c", "current current", 10) + path("d", "1-6 90+", 10)]
    found = said(ROLL_RATES, asked(engine, rows))
    assert [(row["loans"], row["rate_by_balance"]) for row in found] == [(2, 50), (1, 50), (1, None)]


def test_the_average_pools_the_last_periods(engine: Engine) -> None:
    rows = [*path("a", "1-6 current 1-6 1-6", 1, 100, 30, 30), *path("b", "current current current current", 100)]
    found = said(ROLL_RATES_AVERAGE, asked(engine, rows, window=2))
    assert [(row["from_state"], row["to_state"], row["loans"], row["rate_by_balance"]) for row in found] == [
        ("current", "current", 2, Decimal("66.66666666666666666666666667")),
        ("current", "1-6", 1, Decimal("33.33333333333333333333333333")),
        ("1-6", "1-6", 1, 100),
    ]
    assert {(row["period_start"], row["as_of"]) for row in found} == {(MONTHS[1], MONTHS[3])}


def test_one_date_has_no_rates(engine: Engine) -> None:
    rows = path("a", "current", 1)
    assert said(ROLL_RATES, asked(engine, rows)) == said(ROLL_RATES_AVERAGE, asked(engine, rows)) == []


def test_states_stand_in_order() -> None:
    shuffled = ["missing", "written off", "90+", "7-29", "repaid", "30-59", "(none)", "current", "1-6"]
    ordered = ["current", "1-6", "7-29", "30-59", "90+", "(none)", "written off", "repaid", "missing"]
    assert sorted(shuffled, key=order) == ordered
    assert sorted(DEFINITION.buckets, key=order) == list(DEFINITION.buckets)


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    # R. G. Newcombe, Two-sided confidence intervals for the single proportion (1998), table I, method 3.
    [(81, 263, "25.53", "36.62"), (15, 148, "6.24", "16.05"), (0, 20, "0", "16.11"), (1, 29, "0.61", "17.18")],
)
def test_intervals_as_published(part: int, whole: int, low: str, high: str) -> None:
    found = tuple(round(end, 2) for end in wilson(part, whole))
    assert found == (Decimal(low), Decimal(high))


# --- published matrices --------------------------------------------------------------------------------------


def test_the_matrix_of_two_months_as_published(engine: Engine) -> None:
    """roll-rate-analysis 0.2.0, tests/test_data: 64 accounts, one for each pair of 0 to 7 months late; 6+ is one."""
    rows: list[Row] = []
    for before, after in product(range(8), repeat=2):
        for date, late in zip(MONTHS, (before, after), strict=False):
            state = f"{min(late, 6)}"
            rows.append({"loan_id": f"{before}{after}", "as_of": date, "state": state, "outstanding_principal": 1})
    found = {(row["from_state"], row["to_state"]): row["loans"] for row in said(ROLL_RATES, asked(engine, rows))}
    published = [[1, 1, 1, 1, 1, 1, 2]] * 6 + [[2, 2, 2, 2, 2, 2, 4]]
    assert [[found[str(i), str(j)] for j in range(7)] for i in range(7)] == published


def test_the_cohort_matrix_as_published(tmp_path: Path) -> None:
    """transitionMatrix 0.5.1: its data set synthetic_data5 (10,000 entities at 5 dates, drawn from the matrix
    .8 .15 .05 / .1 .7 .2 / 0 0 1), and what its cohort estimator prints as the average of the periods."""
    try:
        package = distribution("transitionMatrix")
    except PackageNotFoundError:
        pytest.fail("its data set is what is looked at: pip install --no-deps transitionMatrix==0.5.1")
    copy = tmp_path / "data.csv"
    copy.write_bytes(Path(str(package.locate_file("datasets/synthetic_data5.csv"))).read_bytes())
    engine = DuckDB(scratch=tmp_path, folders=[tmp_path], memory_mb=400, threads=1)
    header = ("ID", "Time", "State")
    staged = StagedFile(name="data", path=str(copy), format=TextFormat.CSV, sha256="", size_bytes=0, header=header)
    query = filled(
        "SELECT ID AS loan_id, CAST('2024-01-01' AS DATE) + CAST(Time AS INTEGER) AS as_of, State AS state, "
        "1 AS outstanding_principal_reporting, 0 AS written_off_balance_reporting FROM source"
    )
    assert engine.load("panel", staged, query) == 50_000
    dates = tuple(day(f"2024-01-0{number}") for number in range(1, 6))
    table = ROLL_RATES_AVERAGE.table(Asked(rows=engine.rows, dates=dates, definition=DEFINITION, policy=Policy()))
    found = {(row[2], row[3]): Decimal(str(row[7])) for row in table.rows}
    engine.close()
    matrix = [[round(found.get((i, j), Decimal(0)) / 100, 8) for j in "012"] for i in "012"]
    assert matrix == [
        [Decimal("0.80198979"), Decimal("0.14826554"), Decimal("0.04974467")],
        [Decimal("0.09903292"), Decimal("0.70029756"), Decimal("0.20066952")],
        [0, 0, 1],
    ]


# --- properties ----------------------------------------------------------------------------------------------


@st.composite
def books(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for loan in range(draw(st.integers(1, 6))):
        for date in MONTHS[:3]:
            state = draw(st.sampled_from((*STATES, None)))
            balance = 0 if state == "repaid" else draw(st.integers(0, 10**6))
            row = {"loan_id": f"{loan}", "as_of": date, "state": state, "outstanding_principal": Decimal(balance) / 100}
            rows += [row] if state else []
    return rows


@pytest.mark.slow
@given(rows=books())
@settings(max_examples=40)
def test_rates_are_those_of_the_loans_one_by_one(engine: Engine, rows: list[Row]) -> None:
    view = asked(engine, rows, dates=MONTHS[:3])
    state = {(row["loan_id"], row["as_of"]): row["state"] for row in rows}
    expected: dict[Any, dict[Any, list[Fraction]]] = defaultdict(lambda: defaultdict(list))
    for before, after in pairwise(MONTHS[:3]):
        for row in rows:
            if row["as_of"] == before:
                later = state.get((row["loan_id"], after), "missing")
                expected[after, row["state"]][later].append(Fraction(row["outstanding_principal"]))
    found: dict[Any, dict[Any, Mapping[str, Any]]] = defaultdict(dict)
    for line in said(ROLL_RATES, view):
        found[line["as_of"], line["from_state"]][line["to_state"]] = line
    assert set(found) == {key for key, moves in expected.items() if key[1] != "repaid" or set(moves) != {"repaid"}}
    for key, lines in found.items():
        moves = expected[key]
        assert {to: (line["loans"], line["balance"]) for to, line in lines.items()} == {
            to: (len(balances), sum(balances)) for to, balances in moves.items()
        }
        sums_to_all(list(lines.values()))


def sums_to_all(lines: Sequence[Mapping[str, Any]]) -> None:
    """The rates out of one state are all of it: exactly as fractions, to the last digits as printed."""
    for part, rate in (("loans", "rate_by_count"), ("balance", "rate_by_balance")):
        whole = sum(Fraction(line[part]) for line in lines)
        if whole == 0:
            assert {line[rate] for line in lines} == {None}
            continue
        shares = [Fraction(line[part]) / whole for line in lines]
        assert sum(shares) == 1
        assert all(abs(Fraction(line[rate]) / 100 - share) < PRINTED for line, share in zip(lines, shares, strict=True))
    for line in lines:
        assert 0 <= line["rate_by_count_low"] <= line["rate_by_count"] <= line["rate_by_count_high"] <= 100
