"""What is true of the panel of any book, what its tapes are warned of, and every line of the roll-forward by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.errors import AbacoError, InputError, UsageError
from abaco_loans.operations.build_panel import ROWS_A_PART, Panel, Span, build_panel
from abaco_loans.operations.read_series import TapeOptions, read_series
from abaco_loans.operations.tools import Tools
from abaco_loans.portfolio.columns import CURRENCY_EFFECT, columns
from abaco_loans.portfolio.policy import Policy
from abaco_loans.portfolio.roll_forward import (
    LINES,
    ROLL_FORWARD,
    TRANSITIONS,
    VANISHED,
    breaks_query,
    continuity_query,
    transition_query,
    vanished_query,
)
from abaco_loans.portfolio.view import PANEL, Asked, Unit
from abaco_loans.portfolio.views import VIEWS
from abaco_loans.tape.calculation import month_end_before
from abaco_loans.tape.definition import Definition, DpdMethod, Restructured
from abaco_loans.tape.template import date_node, number_node
from abaco_loans.wiring import run_tools
from tests.operations.desk import Desk, bucketed_row, write_csv
from tests.tape.reading import shipped
from tests.tape.servicing_books import Bench
from tests.tape.servicing_reference import PARTS, Due, Loan, Move, Rates
from tests.tape.test_servicing_property import DAYS, QUICK, RATES, SEEDS, definitions, some_book

PLAIN = Definition(name="plain", version="1")
JAN, FEB, MAR, APR = date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31), date(2024, 4, 30)
MAY, JUN, JUL = date(2024, 5, 31), date(2024, 6, 30), date(2024, 7, 31)
SETTLED, TAMPERED = "settled", "tampered"
FEW = settings(QUICK, max_examples=3)


def over(query: exp.Expr, relation: str) -> exp.Expr:
    """The query with another relation in the place of the panel."""
    for table in list(query.find_all(exp.Table)):
        if table.name == PANEL:
            table.replace(exp.alias_(exp.to_table(relation), table.alias or PANEL, table=True))
    return query


# --- rebuilt loans, in the engine ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def settle(
    bench: Bench, loans: Sequence[Loan], definition: Definition, days: Iterable[date], rates: Rates = RATES
) -> Asked:
    """The panel of a book at these days, as a table of its own, to be asked of."""
    dates = tuple(sorted(days))
    bench.load(loans, rates)
    bench.panel(definition, dates)
    kept = exp.select("*").from_(PANEL).where(exp.column("as_of") > date_node(month_end_before(dates[0])))
    bench.engine.execute(exp.Create(this=exp.to_table(SETTLED), kind="TABLE", expression=kept, replace=True))
    return Asked(
        rows=lambda query: bench.engine.rows(over(query, SETTLED)),
        dates=dates,
        definition=definition,
        policy=Policy(),
    )


def tampered(asked: Asked, bench: Bench, key: tuple[str, date], column: str) -> None:
    """A copy of the panel in which one amount of one row is a little higher."""
    names = list(columns())
    here = exp.and_(exp.column("loan_id").eq(key[0]), exp.column("as_of").eq(date_node(key[1])))
    more = number_node("0.01" if column == CURRENCY_EFFECT else "0.0001")
    raised = exp.case().when(here, exp.column(column) + more).else_(exp.column(column))
    items = [exp.alias_(raised, name) if name == column else exp.column(name) for name in names]
    query = exp.select(*items).from_(SETTLED)
    bench.engine.execute(exp.Create(this=exp.to_table(TAMPERED), kind="TABLE", expression=query, replace=True))


AMOUNTS = ("opening_principal", *(column for column, _ in LINES.values()), "outstanding_principal", CURRENCY_EFFECT)


@pytest.mark.slow
@QUICK
@given(seed=SEEDS, definition=definitions(), days=st.lists(DAYS, min_size=3, max_size=3, unique=True))
def test_every_row_rolls_forward_and_what_is_tampered_with_is_found(
    bench: Bench, seed: int, definition: Definition, days: list[date]
) -> None:
    asked = settle(bench, some_book(seed), definition, days)
    assert asked.rows(breaks_query()) == []
    assert asked.rows(continuity_query()) == []
    priced = asked.rows(exp.select("loan_id", "as_of").from_(PANEL).where(exp.not_("unpriced")).order_by("1", "2"))
    if not priced:
        return
    rng = Random(seed)
    for column in rng.sample(AMOUNTS, 3):
        key = rng.choice(priced)
        tampered(asked, bench, key, column)
        found = bench.engine.rows(over(breaks_query(), TAMPERED))
        assert [row[:2] for row in found] == [key], column
        gaps = [row[0] for row in bench.engine.rows(over(continuity_query(), TAMPERED))]
        at = asked.dates.index(key[1])
        seen = {"opening_principal": asked.dates[at : at + 1] if at else ()}
        seen["outstanding_principal"] = asked.dates[at + 1 : at + 2]
        known = {row[0] for row in asked.rows(exp.select("as_of").distinct().from_(PANEL))}
        assert gaps == [day for day in seen.get(column, ()) if day in known], column


@pytest.mark.slow
@QUICK
@given(seed=SEEDS, definition=definitions(), day=DAYS.filter(lambda day: day >= date(2024, 3, 1)))
def test_par_falls_as_its_days_rise_and_buckets_add_up(
    bench: Bench, seed: int, definition: Definition, day: date
) -> None:
    bench.load(some_book(seed), RATES)
    found = bench.calculation(definition, day).values()
    rows = [row for row in found if row["dpd_0_7_usd"] is not None and not row["unpriced"]]
    edges = ("dpd_7_30_usd", "dpd_30_60_usd", "dpd_60_90_usd", "dpd_90_plus_usd")

    def total(*names: str) -> Decimal:
        return sum((row[name] for row in rows for name in names), Decimal(0))

    past = [total(*edges), total("past_due_15_usd"), *(total(*edges[low:]) for low in (1, 2, 3))]
    past.append(total("past_due_180_usd"))
    assert past == sorted(past, reverse=True)
    assert past[0] + total("dpd_0_7_usd") == total("outstanding_usd")


@pytest.mark.slow
@FEW
@given(seed=SEEDS, definition=definitions())
def test_two_copies_of_a_book_have_its_ratios(bench: Bench, seed: int, definition: Definition) -> None:
    book = some_book(seed)
    names = ("ageing", "roll_rates", "cures", "first_payment_default", "vintages", "collections")

    def ratios(loans: Sequence[Loan]) -> list[object]:
        asked = settle(bench, loans, definition, (APR, JUL, date(2024, 12, 31)))
        found: list[object] = []
        for name in names:
            table = VIEWS[name].table(asked)
            # An interval is of as many loans as there are, so it narrows.
            shares = [
                item for item in table.columns if item.unit is Unit.PERCENT and item.name[-4:] not in ("_low", "high")
            ]
            kept = [at for at, item in enumerate(table.columns) if item.key or item in shares]
            found += [[row[at] for at in kept] for row in table.rows]
        return found

    once = ratios(book)
    assert len(once) > 10
    assert ratios([*book, *(replace(loan, loan_id=f"{loan.loan_id}-copy") for loan in book)]) == once


HONEST_DATES = st.lists(DAYS, min_size=4, max_size=4, unique=True)


@pytest.mark.slow
@QUICK
@given(seed=SEEDS, definition=definitions(), days=HONEST_DATES)
def test_loans_that_only_borrow_and_pay_show_no_impossible_transition(
    bench: Bench, seed: int, definition: Definition, days: list[date]
) -> None:
    honest = [
        replace(
            loan,
            schedule=tuple(item for item in loan.schedule if item.valid_from is None),
            moves=tuple(
                replace(move, add_balance=Decimal(0))
                for move in loan.moves
                if move.type in ("payment", "disbursement", "write_off")
                and min(getattr(move, part) for part in PARTS) >= 0
            ),
        )
        for loan in some_book(seed)
    ]
    asked = settle(bench, honest, definition, days)
    for transition in TRANSITIONS:
        assert asked.rows(transition_query(transition, definition)) == [], transition.code
    assert asked.rows(vanished_query()) == []


# --- every line of the roll-forward, by hand -----------------------------------------------------------------

OPENED, DUE = date(2024, 1, 1), date(2024, 3, 1)
HUNDRED = Decimal(100)
LENT = Loan(
    loan_id="A",
    disbursement_date=OPENED,
    disbursed_principal=HUNDRED,
    schedule=(Due(due_date=DUE, principal=HUNDRED, interest=Decimal(10)),),
    moves=(),
)
NAMES = {"opening": "opening_principal", **{name: column for name, (column, _) in LINES.items()}}
NAMES |= {"closing": "outstanding_principal", "recovered": "recovered_in_period"}
NAMES |= {"recovered_principal": "recovered_principal_in_period", "written_off_balance": "written_off_balance"}


def pay(day: date, principal: int | str, interest: int | str = 0) -> Move:
    return Move(type="payment", date=day, principal=Decimal(principal), interest=Decimal(interest))


def lines(bench: Bench, loan: Loan, *days: date, definition: Definition = PLAIN) -> list[dict[str, Decimal]]:
    """The lines that are not 0 of the months that end at these days; the first is not looked at before."""
    asked = settle(bench, [loan], definition, days, {})
    rows = asked.rows(exp.select(*NAMES.values()).from_(PANEL).order_by("as_of"))
    assert asked.rows(breaks_query()) == []
    return [{name: amount for name, amount in zip(NAMES, row, strict=True) if amount} for row in rows]


def test_a_loan_is_disbursed_and_paid_back(bench: Bench) -> None:
    loan = replace(LENT, moves=(pay(DUE, 100, 10),))
    assert lines(bench, loan, JAN, FEB, MAR, APR) == [
        {"disbursed": 100, "closing": 100},
        {"opening": 100, "closing": 100},
        {"opening": 100, "principal_paid": 100},
        {},
    ]


def test_written_off_then_paid_is_recovered_and_outside_the_identity(bench: Bench) -> None:
    loan = replace(LENT, written_off_date=date(2024, 3, 15), moves=(pay(date(2024, 3, 5), 20), pay(APR, 30, 5)))
    assert lines(bench, loan, MAR, APR) == [
        {"opening": 100, "principal_paid": 20, "written_off": 80, "written_off_balance": 80},
        {"recovered": 35, "recovered_principal": 30, "written_off_balance": 50},
    ]


def test_a_payment_reinstates_what_is_left(bench: Bench) -> None:
    halves = (Due(due_date=DUE, principal=Decimal(50)), Due(due_date=date(2024, 7, 1), principal=Decimal(50)))
    loan = replace(LENT, schedule=halves, moves=(pay(date(2024, 7, 10), 50),))
    assert lines(bench, loan, APR, MAY, JUN, JUL, definition=replace(PLAIN, write_off_after_days=90)) == [
        {"opening": 100, "closing": 100},
        {"opening": 100, "written_off": 100, "written_off_balance": 100},
        {"written_off_balance": 100},
        {"reinstated": 50, "recovered": 50, "recovered_principal": 50, "closing": 50},
    ]


def test_dust_is_forgiven_and_comes_back_when_it_is_paid(bench: Bench) -> None:
    loan = replace(LENT, moves=(pay(DUE, "99.50"), pay(APR, "0.50")))
    half = Decimal("0.5")
    assert lines(bench, loan, MAR, APR, definition=replace(PLAIN, dust_share=Decimal("0.01"))) == [
        {"opening": 100, "principal_paid": Decimal("99.5"), "dust_forgiven": half},
        {"principal_paid": half, "dust_forgiven": -half},
    ]
    over_paid = replace(LENT, moves=(pay(DUE, 101),))
    assert lines(bench, over_paid, MAR) == [{"opening": 100, "principal_paid": 101, "dust_forgiven": -1}]


def test_capitalised_and_adjusted_stand_apart(bench: Bench) -> None:
    moves = (
        Move(type="capitalisation", date=DUE, principal=Decimal(7)),
        Move(type="adjustment", date=DUE, principal=Decimal(-2), add_balance=Decimal(9), reduce_balance=Decimal(4)),
    )
    wanted = {"opening": 100, "capitalised": 7, "other_adjustments": 3, "closing": 110}
    assert lines(bench, replace(LENT, moves=moves), MAR) == [wanted]


@pytest.mark.parametrize("restructured", Restructured)
def test_a_restructured_schedule_ends_the_arrears_and_moves_only_what_is_capitalised(
    bench: Bench, restructured: Restructured
) -> None:
    day = date(2024, 3, 20)
    new = Due(due_date=date(2024, 6, 1), principal=Decimal(110), valid_from=day)
    interest = Move(type="capitalisation", date=day, principal=Decimal(10))
    loan = replace(LENT, schedule=(*LENT.schedule, new), moves=(interest,), restructured_date=day)
    days = (date(2024, 3, 19), MAR, date(2024, 6, 2))
    definition, risky = replace(PLAIN, restructured=restructured), restructured is Restructured.AT_RISK
    assert lines(bench, loan, *days, definition=definition) == [
        {"opening": 100, "closing": 100},
        {"opening": 100, "capitalised": 10, "closing": 110},
        {"opening": 110, "closing": 110},
    ]
    query = exp.select("days_past_due", "restructured", "at_risk", "scheduled_in_period").from_(SETTLED)
    assert bench.engine.rows(query.order_by("as_of")) == [
        (18, False, False, 110),
        (0, True, risky, 0),
        (1, True, risky, 110),
    ]


def test_what_a_currency_gains_is_a_line_of_its_own(bench: Bench) -> None:
    rates: Rates = {"HNL": {OPENED: Decimal("0.04"), DUE: Decimal("0.05"), date(2024, 3, 30): Decimal("0.03")}}
    moves = (Move(type="capitalisation", date=DUE, principal=Decimal(7)), pay(date(2024, 3, 30), 27))
    asked = settle(bench, [replace(LENT, currency="HNL", moves=moves)], PLAIN, [MAR], rates)
    (row,) = ROLL_FORWARD.table(asked).rows
    found = dict(zip((column.name for column in ROLL_FORWARD.columns), row, strict=True))
    # 100 at .04 + 7 at .05 - 27 at .03 is 3.54, and 80 at .03 is 2.40
    wanted = {
        "opening": 4,
        "capitalised": Decimal("0.35"),
        "principal_paid": Decimal("0.81"),
        "closing": Decimal("2.4"),
    }
    assert {name: value for name, value in found.items() if value} == {
        "as_of": MAR,
        **wanted,
        "currency": Decimal("-1.14"),
    }


# --- panels of real tapes ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A panel, while its engine is open."""

    engine: Engine
    panel: Panel
    rows: list[tuple[Any, ...]]

    @property
    def warned(self) -> dict[str, tuple[int, Decimal | None]]:
        return {item.code: (item.count, item.amount) for item in self.panel.warnings}


class House:
    """Builds panels from files, each with an engine and a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        desk = Desk(folder / "workspace")
        self.tools: Tools = run_tools(desk.workspace, desk.environment, desk.said.append, desk.clock)
        self._numbers = itertools.count()

    def place(self) -> Path:
        found = self.folder / str(next(self._numbers))
        found.mkdir()
        return found

    @contextmanager
    def built(
        self, *paths: Path, definition: Definition = PLAIN, span: Span | None = None, rows_a_part: int = ROWS_A_PART
    ) -> Iterator[Built]:
        scratch = self.place()
        engine = self.tools.open_engine(scratch, [scratch])
        try:
            tape = read_series(paths, shipped(), engine, self.tools, scratch, TapeOptions())
            panel = build_panel(
                tape,
                engine,
                definition,
                span or Span(),
                currency="USD",
                scratch=scratch,
                progress=self.tools.progress,
                rows_a_part=rows_a_part,
            )
            rows = engine.rows(exp.select(*columns()).from_(PANEL).order_by("loan_id", "as_of"))
            yield Built(engine=engine, panel=panel, rows=rows)
        finally:
            engine.close()

    def rows(self, *paths: Path, **options: Any) -> list[str]:
        """The rows of the panel, as they are written."""
        with self.built(*paths, **options) as found:
            assert found.rows
            return [repr(row) for row in found.rows]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))


def extract(folder: Path, loans: Sequence[Loan], rates: Rates, rng: Random | None = None) -> Path:
    """A servicing extract; its rows in any order, where there is a source of chance."""

    def row_of(item: Loan | Due | Move, *left_out: str, **more: object) -> dict[str, object]:
        return more | {field.name: getattr(item, field.name) for field in fields(item) if field.name not in left_out}

    tables: dict[str, list[dict[str, object]]] = {
        "loans": [row_of(loan, "schedule", "moves") for loan in loans],
        "schedules": [row_of(item, loan_id=loan.loan_id) for loan in loans for item in loan.schedule],
        "transactions": [row_of(item, loan_id=loan.loan_id) for loan in loans for item in loan.moves],
        "rates": [
            {"date": day, "currency": currency, "rate": rate}
            for currency, days in rates.items()
            for day, rate in days.items()
        ],
    }
    for name, rows in tables.items():
        if rng is not None:
            rng.shuffle(rows)
        if rows:
            write_csv(folder / f"{name}.csv", rows)
    return folder


@pytest.mark.slow
@FEW
@given(seed=SEEDS, definition=definitions())
def test_the_order_of_rows_changes_no_byte(house: House, seed: int, definition: Definition) -> None:
    book = some_book(seed)
    meant = house.rows(extract(house.place(), book, RATES), definition=definition)
    assert house.rows(extract(house.place(), book, RATES, Random(seed)), definition=definition) == meant


@pytest.mark.parametrize("rows_a_part", [1, 50])
def test_the_size_of_parts_changes_no_byte(house: House, rows_a_part: int) -> None:
    book = extract(house.place(), some_book(8)[:5], RATES)
    assert house.rows(book, rows_a_part=rows_a_part) == house.rows(book)


def test_the_panel_of_an_extract_is_that_of_the_engine(house: House, bench: Bench) -> None:
    """What is built in parts, from files, is what `Bench` builds at once."""
    book = some_book(7)
    names = list(columns())[:1] + [name for name in columns() if name not in ("loan_id", "frequency", "customer_id")]
    days = (MAR, APR, JUN)
    asked = settle(bench, book, PLAIN, days)
    meant = asked.rows(exp.select(*names).from_(PANEL).order_by("loan_id", "as_of"))
    with house.built(extract(house.place(), book, RATES), span=Span(at=days), rows_a_part=60) as found:
        assert found.panel.dates == days and found.panel.starts == (FEB, MAR, APR)
        assert found.engine.rows(exp.select(*names).from_(PANEL).order_by("loan_id", "as_of")) == meant


def test_a_month_without_any_transaction_is_warned_of(house: House) -> None:
    loan = replace(LENT, moves=(pay(date(2024, 2, 5), 10), pay(MAY, 10)))
    with house.built(extract(house.place(), [loan], {})) as found:
        assert found.panel.dates == (JAN, FEB, MAR, APR, MAY)
        assert found.warned == {"WARN-207": (2, None)}
        assert "2024-03, 2024-04" in found.panel.warnings[0].text


def test_a_currency_without_rates_is_warned_of_with_what_it_owes(house: House) -> None:
    there = replace(LENT, moves=(pay(MAR, 40),))
    loans = [there, replace(there, loan_id="B", currency="GTQ"), replace(there, loan_id="C", currency="HNL")]
    rates: Rates = {"HNL": {OPENED: Decimal("0.04")}}
    with house.built(extract(house.place(), loans, rates), span=Span(at=(MAR,))) as found:
        assert found.warned == {"WARN-208": (1, Decimal(60))}
        assert "GTQ" in found.panel.warnings[0].text
        twin = exp.select("outstanding_principal_reporting", "unpriced").from_(PANEL).order_by("loan_id")
        assert found.engine.rows(twin) == [(60, False), (None, True), (Decimal("2.4"), False)]


# --- snapshots -----------------------------------------------------------------------------------------------

Row = dict[str, object]


def shot(loan: str, day: date, owed: object, days: object = 0, **more: object) -> Row:
    row: Row = {"loan_id": loan, "measurement_date": day, "outstanding_principal": owed, "days_past_due": days}
    optional = ("disbursed_principal", "disbursement_date", "currency", "fx_rate", "written_off")
    row |= dict.fromkeys((*optional, "written_off_balance", "restructured", "product"), "")
    assert set(more) <= set(row)
    return row | more


def tape_of(house: House, rows: Sequence[Row], name: str = "tape.csv") -> Path:
    return write_csv(house.place() / name, rows)


def some_shots(seed: int) -> list[Row]:
    """Twelve loans at three month ends, some of them missing now and then; two currencies, one with a rate."""
    rng, rows = Random(seed), []
    for number, day in itertools.product(range(12), (JAN, FEB, MAR)):
        if rng.random() < 0.9:
            currency, rate = rng.choice([("", ""), ("HNL", "0.04"), ("GTQ", "")])
            more: Row = {"currency": currency, "fx_rate": rate, "product": rng.choice(["a", "b"])}
            more |= {"disbursed_principal": 100, "disbursement_date": OPENED, "restructured": rng.choice(["", "true"])}
            late = rng.choice([0, 5, 29, 30, 60, 200])
            rows.append(shot(f"L{number}", day, Decimal(rng.randint(0, 10000)) / 100, late, **more))
    return rows


@pytest.mark.slow
@FEW
@given(seed=SEEDS, definition=definitions())
def test_a_snapshot_tape_in_two_files_is_the_whole_one(house: House, seed: int, definition: Definition) -> None:
    rows = some_shots(seed)
    whole = house.rows(tape_of(house, rows), definition=definition)
    rng = Random(seed)
    aside = [rng.random() < 0.5 for _ in rows]
    by_date = [row["measurement_date"] == FEB for row in rows]
    for chosen in (aside, by_date):
        parts = [[row for row, there in zip(rows, chosen, strict=True) if there is which] for which in (True, False)]
        assert house.rows(*(tape_of(house, part) for part in parts), definition=definition) == whole


def test_a_loan_in_two_tapes_counts_once_as_the_last_one_has_it(house: House) -> None:
    first = tape_of(house, [shot("A", JAN, 100), shot("B", JAN, 50), shot("A", FEB, 90), shot("C", FEB, 5)])
    second = tape_of(house, [shot("A", FEB, "80.5"), shot("B", FEB, 40)], "second.csv")
    owed = exp.select("loan_id", "as_of", "outstanding_principal").from_(PANEL).order_by("loan_id", "as_of")
    with house.built(first, second) as found:
        assert found.warned == {"WARN-301": (1, Decimal(90))}
        assert f"{FEB} that stand in 2 tapes" in found.panel.warnings[0].text
        wanted = [("A", JAN, 100), ("A", FEB, Decimal("80.5")), ("B", JAN, 50), ("B", FEB, 40), ("C", FEB, 5)]
        assert found.engine.rows(owed) == wanted
    with house.built(second, first) as found:
        assert found.warned == {"WARN-301": (1, Decimal("80.5"))}
        assert ("A", FEB, 90) in found.engine.rows(owed)


def test_a_missing_month_is_warned_of(house: House) -> None:
    tapes = [tape_of(house, [shot("A", day, 100)], f"{day}.csv") for day in (JAN, APR)]
    with house.built(*tapes) as found:
        assert (found.panel.dates, found.panel.starts) == ((JAN, APR), (date(2023, 12, 31), JAN))
        assert found.warned == {"WARN-302": (2, None)}
        assert f"{FEB}, {MAR}" in found.panel.warnings[0].text


def test_a_snapshot_currency_without_a_rate_is_warned_of(house: House) -> None:
    rows = [shot("A", JAN, 100, currency="GTQ"), shot("B", JAN, 10, currency="HNL", fx_rate="0.04"), shot("C", JAN, 1)]
    with house.built(tape_of(house, rows)) as found:
        assert found.warned == {"WARN-208": (1, Decimal(100))}


def test_a_span_leaves_out_other_dates_and_knows_what_was_before(house: House) -> None:
    tape = tape_of(house, [shot("A", JAN, 100, 3), shot("A", FEB, 90, 32), shot("A", MAR, 80)])
    query = exp.select("as_of", "opening_principal", "opening_days_past_due").from_(PANEL).order_by("as_of")
    with house.built(tape, span=Span(start=FEB)) as found:
        assert found.panel.dates == (FEB, MAR)
        assert found.engine.rows(query) == [(FEB, 100, 3), (MAR, 90, 32)]
    with house.built(tape, span=Span(at=(MAR,))) as found:
        assert found.engine.rows(query) == [(MAR, 90, 32)]


@pytest.mark.parametrize(
    ("kinds", "error", "code"),
    [
        (("bucketed",), InputError, "PAN-101"),
        (("snapshot", "bucketed"), InputError, "PAN-101"),
        (("servicing", "servicing"), UsageError, "PAN-102"),
        (("snapshot", "servicing"), UsageError, "PAN-102"),
    ],
)
def test_tapes_that_make_no_panel_are_refused(
    house: House, kinds: tuple[str, ...], error: type[AbacoError], code: str
) -> None:
    makers = {
        "bucketed": lambda: write_csv(house.place() / "bucketed.csv", [bucketed_row("A", 100, b0=100)]),
        "snapshot": lambda: tape_of(house, [shot("A", JAN, 100)]),
        "servicing": lambda: extract(house.place(), [replace(LENT, moves=(pay(DUE, 1),))], {}),
    }
    paths = [makers[kind]() for kind in kinds]
    with pytest.raises(error) as caught, house.built(*paths):
        pass
    assert caught.value.code == code


# --- transitions that cannot be ------------------------------------------------------------------------------

# Each loan by name: what a tape and that of a month later say of it, and what of that cannot be.
MOVES: tuple[tuple[str, Sequence[Row], set[str]], ...] = (
    ("pays", ({}, {"owed": 90}), set()),
    ("late by every day", ({"days": 5}, {"days": 34}), set()),
    ("late by a day more", ({"days": 5}, {"days": 35}), {"MOVE-101"}),
    ("late at once", ({}, {"owed": 90, "days": 30}), {"MOVE-101"}),
    ("pays its arrears", ({"days": 60}, {"owed": 90, "days": 30}), set()),
    ("pays in full", ({"days": 60}, {"owed": 0}), set()),
    ("restructured", ({"days": 60}, {"restructured": "true"}), set()),
    ("less late", ({"days": 60}, {"days": 30}), {"MOVE-102"}),
    ("healed", ({"days": 60}, {}), {"MOVE-102"}),
    ("lost", ({"days": 60}, {"owed": 0, "written_off": "true", "written_off_balance": 100}), set()),
    ("grew", ({}, {"owed": "100.0001"}), {"MOVE-103"}),
    ("reopened", ({"owed": 0}, {"owed": 10}), {"MOVE-103", "MOVE-104"}),
    ("lost when closed", ({"owed": 0}, {"owed": 0, "written_off": "true"}), {"MOVE-104"}),
    ("gone", ({},), {"MOVE-105"}),
    ("closed and gone", ({"owed": 0},), set()),
)


def transitions(found: Built) -> dict[str, set[tuple[str, date]]]:
    queries = {item.code: transition_query(item, PLAIN) for item in TRANSITIONS} | {VANISHED[0]: vanished_query()}
    return {code: {row[:2] for row in found.engine.rows(query)} for code, query in queries.items()}


def test_each_impossible_transition_is_found_with_its_code_and_nothing_else(house: House) -> None:
    rows = [shot("new", FEB, 100, disbursed_principal=100, disbursement_date=FEB)]
    for name, states, _ in MOVES:
        rows += [shot(name, day, **{"owed": 100, **seen}) for day, seen in zip((JAN, FEB), states, strict=False)]
    with house.built(tape_of(house, rows)) as found:
        for code, listed in transitions(found).items():
            assert listed == {(name, FEB) for name, _, codes in MOVES if code in codes}, code


def test_days_of_grace_and_counting_in_months_may_raise_days_past_due_faster(house: House) -> None:
    rows = [shot("A", JAN, 100, 10), shot("A", FEB, 100, 39), shot("B", JAN, 100, 30), shot("B", FEB, 100, 60)]
    graceful = replace(PLAIN, grace_days=10)
    monthly = replace(PLAIN, dpd_method=DpdMethod.MONTHLY_OTS)
    with house.built(tape_of(house, rows), definition=graceful) as found:
        for definition, wanted in ((PLAIN, ["A", "B"]), (graceful, ["B"]), (monthly, [])):
            query = transition_query(TRANSITIONS[0], definition).order_by("loan_id")
            assert [row[0] for row in found.engine.rows(query)] == wanted


def test_a_loan_that_comes_back_vanished_once(house: House) -> None:
    rows = [shot("B", day, 10) for day in (JAN, FEB, MAR)]
    with house.built(tape_of(house, [*rows, shot("A", JAN, 100), shot("A", MAR, 500, 90)])) as found:
        assert {code: listed for code, listed in transitions(found).items() if listed} == {"MOVE-105": {("A", FEB)}}
