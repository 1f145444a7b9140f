"""Bridges on the engine: on the real book against `plain_book`, and over small random books with planted changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.kpi.catalogue import Catalogue
from abaco_loans.kpi.formula import parse_formula
from abaco_loans.operations.bridge_kpis import bridge_calculations, bridge_kpis, rebuilt
from abaco_loans.operations.bridge_stations import LoanRows, Side
from abaco_loans.operations.read_tape import ReadTape, load_tape, stage_tape
from abaco_loans.operations.rebuild import is_foreign, normal_relations
from abaco_loans.releases.bridge import Bridge, Cause, Part, decimal
from abaco_loans.releases.comparison import Key
from abaco_loans.tape.calculation import COLUMNS, Calculation, month_end_before, snapshot_calculation
from abaco_loans.tape.definition import Boundary, Cover, Definition
from abaco_loans.tape.template import expression, filled
from tests.kpi.tables import builtin_release, put
from tests.operations.plain_book import PRESETS, Loan, Rules, State, past, read_book, states_at
from tests.tape.reading import KEY
from tests.tape.servicing_books import Bench
from tests.tape.servicing_reference import risk_days, state_at
from tests.tape.test_servicing_property import DAYS, QUICK, RATES, SEEDS, definitions, some_book

ALL = 1_000_000
PARS = {"risk.par_30": 30, "risk.par_60": 60, "risk.par_90": 90}
CATALOGUE = builtin_release().catalogue
INVESTOR = builtin_release().definitions["investor"]
OTHER = replace(
    INVESTOR, name="catalogue", boundary=Boundary.MORE_THAN, cover=Cover.PRINCIPAL, dust_share=Decimal(0),
    write_off_after_days=None,
)  # fmt: skip
# The same way in the words of `plain_book`, one cause after the other.
RULES = (
    PRESETS["investor"],
    replace(PRESETS["investor"], cover="principal"),
    replace(PRESETS["investor"], cover="principal", boundary="more_than"),
    Rules(cover="principal", boundary="more_than", written_off_after=180),
    Rules(cover="principal", boundary="more_than"),
)
CAUSES = [Cause.COVER, Cause.BOUNDARY, Cause.DUST, Cause.WRITE_OFF]


def side(definition: Definition, rows: LoanRows | None = None, **printed: str) -> Side:
    values = {Key(kpi=f"risk.{name}"): Decimal(text) for name, text in printed.items()}
    return Side(definition=definition, catalogue=CATALOGUE, rows=rows, printed=values)


def total(parts: Sequence[Part]) -> Fraction:
    return sum((part.contribution for part in parts), Fraction(0))


def named(parts: Sequence[Part]) -> dict[Cause, list[str]]:
    return {part.cause: [loan.loan_id for loan in part.top] for part in parts}


# --- the real book ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    engine: Engine
    tape: ReadTape
    loans: list[Loan]

    def bridges(self, day: date, old: Side, new: Side, **asked: int) -> dict[str, Bridge]:
        found = bridge_kpis(
            self.tape, self.engine, day=day, currency="USD", baseline=old, candidate=new, kpis=list(PARS), **asked
        )
        return {bridge.kpi: bridge for bridge in found}


@pytest.fixture(scope="module")
def book(factoring_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    scratch = tmp_path_factory.mktemp("bridge")
    engine = DuckDB(scratch=scratch, folders=[], memory_mb=600, threads=2)
    staged = stage_tape(factoring_dir, builtin_release(), scratch, lambda: engine)
    tape = load_tape(staged, engine, KEY, scratch, lambda _: None)
    yield Book(engine=engine, tape=tape, loans=read_book(factoring_dir))
    engine.close()


def shares(before: dict[str, State], after: dict[str, State], days: int, old: Rules, new: Rules) -> dict[str, Fraction]:
    """What each loan adds to the move of a PAR, by hand: (n1 - n0) / D1 - N0 (d1 - d0) / (D0 D1)."""

    def late(state: State, rules: Rules) -> Decimal:
        return state.outstanding if state.days >= (days if rules.boundary == "at_least" else days + 1) else Decimal(0)

    whole = Fraction(sum(state.outstanding for state in before.values()))
    whole_after = Fraction(sum(state.outstanding for state in after.values()))
    late_before = Fraction(sum(late(state, old) for state in before.values()))
    found = {}
    for loan in before:
        more_late = late(after[loan], new) - late(before[loan], old)
        more = after[loan].outstanding - before[loan].outstanding
        if more_late or more:
            found[loan] = 100 * (
                Fraction(more_late) / whole_after - late_before * Fraction(more) / (whole * whole_after)
            )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("day", [date(2025, 2, 28), date(2025, 4, 30), date(2025, 7, 31)])
def test_the_real_book_is_bridged_loan_by_loan(book: Book, day: date) -> None:
    found = book.bridges(day, side(INVESTOR), side(OTHER), listed=ALL)
    states = [states_at(book.loans, day, rules) for rules in RULES]
    for kpi, days in PARS.items():
        bridge = found[kpi]
        values = [past(state, days, rules) for state, rules in zip(states, RULES, strict=True)]
        assert (bridge.baseline, bridge.candidate) == (values[0], values[-1])
        assert bridge.difference != 0
        assert total(bridge.parts) == values[-1] - values[0]
        assert bridge.unexplained == 0
        assert bridge.not_bridged == bridge.not_by_loan == ""
        assert [part.cause for part in bridge.parts] == CAUSES
        for index, part in enumerate(bridge.parts):
            assert part.contribution == values[index + 1] - values[index]
            wanted = shares(states[index], states[index + 1], days, RULES[index], RULES[index + 1])
            assert {loan.loan_id: loan.contribution for loan in part.top} == wanted
            assert part.loans == len(wanted)
            sizes = [abs(loan.contribution) for loan in part.top]
            assert sizes == sorted(sizes, reverse=True)


def test_one_wrong_balance_is_unexplained_with_its_loan_on_top(book: Book) -> None:
    day, wrong = date(2025, 7, 31), Decimal("0.01")
    assert len(book.loans) == 17_688
    normal_relations(book.tape, book.engine, "USD", kind="TABLE")
    made = rebuilt(book.engine, OTHER, day, "USD", book.tape.file("loans").present, foreign=False)
    victim, balance = book.engine.rows(
        exp.select("loan_id", "dpd_30_60_usd").from_(made.query.subquery("c")).where("dpd_30_60_usd > 0").limit(1)
    )[0]
    given_rows(book.engine, made, {"dpd_30_60_usd": plus(victim, "dpd_30_60_usd", wrong)})
    near = replace(OTHER, boundary=Boundary.AT_LEAST)
    bridge = book.bridges(day, side(near), side(OTHER, LoanRows(relation="given", columns=made.columns)))
    switched, part = bridge["risk.par_30"].parts
    assert (switched.cause, part.cause) == (Cause.BOUNDARY, Cause.UNEXPLAINED)
    receivable = sum((item.outstanding for item in states_at(book.loans, day, RULES[-1]).values()), Decimal(0))
    assert (part.loans, part.top[0].loan_id) == (1, victim)
    assert part.contribution == bridge["risk.par_30"].unexplained == 100 * Fraction(wrong) / Fraction(receivable)
    assert part.top[0].after["dpd_30_60_usd"] - part.top[0].before["dpd_30_60_usd"] == wrong
    assert part.top[0].before["dpd_30_60_usd"] == balance
    assert bridge["risk.par_60"].unexplained == bridge["risk.par_90"].unexplained == 0


def plus(loan: str, column: str, amount: Decimal) -> exp.Expr:
    return expression(
        "SELECT CAST(CASE WHEN loan_id = :loan THEN :it + :amount ELSE :it END AS DECIMAL(18,4))",
        loan=exp.Literal.string(loan), it=exp.column(column), amount=exp.convert(amount),
    )  # fmt: skip


def given_rows(engine: Engine, made: Calculation, changed: Mapping[str, exp.Expr]) -> None:
    """The relation ``given``: the calculation table with some columns changed."""
    items = [exp.alias_(changed.get(name, exp.column(name)), name) for name in made.columns]
    query = exp.select(*items).from_(made.query.subquery("c"))
    engine.execute(exp.Create(this=exp.to_table("given"), kind="TABLE", expression=query, replace=True))


# --- small random books -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("books"))


class SmallBook:
    """A random book, all of it in a currency that has rates."""

    def __init__(self, bench: Bench, seed: int, day: date) -> None:
        self.loans = [replace(loan, currency="USD") for loan in some_book(seed)]
        self.engine, self.day = bench.engine, day
        bench.load(self.loans, RATES)
        self.foreign = is_foreign(self.engine, "USD")

    def make(self, definition: Definition) -> Calculation:
        return rebuilt(self.engine, definition, self.day, "USD", ("loan_id",), foreign=self.foreign)

    def bridges(self, old: Side, new: Side) -> dict[str, Bridge]:
        found = bridge_calculations(self.engine, self.make, old, new, list(PARS), listed=ALL)
        return {bridge.kpi: bridge for bridge in found}

    def par(self, days: int, definition: Definition) -> Fraction | None:
        """The PAR by the slow reference; None where it has no value."""
        late = whole = Fraction(0)
        for loan in self.loans:
            if loan.disbursement_date <= self.day:
                state = state_at(loan, self.day, month_end_before(self.day), definition, RATES)
                risk, balance = risk_days(loan, state, definition), state.outstanding_principal
                if risk is None:
                    return None
                whole += Fraction(balance)
                late += Fraction(balance) if risk >= definition.reaches(days) else 0
        return 100 * late / whole if whole else None


@pytest.mark.slow
@settings(parent=QUICK, max_examples=3)
@given(seed=SEEDS, old=definitions(), new=definitions(), day=DAYS.filter(lambda day: day >= date(2024, 3, 1)))
def test_every_bridge_closes(bench: Bench, seed: int, old: Definition, new: Definition, day: date) -> None:
    small = SmallBook(bench, seed, day)
    for kpi, bridge in small.bridges(side(old), side(new)).items():
        values = small.par(PARS[kpi], old), small.par(PARS[kpi], new)
        assert (bridge.baseline, bridge.candidate) == values
        assert bool(bridge.not_bridged) is (None in values)
        if not bridge.not_bridged:
            assert total(bridge.parts) == bridge.difference
            assert bridge.unexplained == 0
            for part in bridge.parts:
                assert part.loans == len(part.top)
                assert sum((loan.contribution for loan in part.top), Fraction(0)) == part.contribution


# --- rows and outputs as a release gave them ----------------------------------------------------------------

MONEY = ("total_receivable_usd", "dpd_30_60_usd", "dpd_60_90_usd", "dpd_90_plus_usd")
GIVEN = LoanRows(relation="given", columns=("loan_id", *MONEY))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = DuckDB(scratch=tmp_path_factory.mktemp("rows"), folders=[], memory_mb=400, threads=1)
    yield engine
    engine.close()


def against(engine: Engine, made: Sequence[dict[str, Any]], given: Sequence[dict[str, Any]], *, new: bool) -> Bridge:
    """PAR 30 of recomputed rows against those that the candidate (``new``) or the baseline gave."""
    ours = put(engine, GIVEN.columns, made, "ours")
    put(engine, GIVEN.columns, given, GIVEN.relation)
    sides = [side(INVESTOR, None if new else GIVEN), side(INVESTOR, GIVEN if new else None)]
    (bridge,) = bridge_calculations(engine, lambda _: ours, sides[0], sides[1], ["risk.par_30"], listed=ALL)
    return bridge


CENTS = st.integers(0, 10**7).map(lambda cents: Decimal(cents) / 100)
BOOKS = st.lists(st.tuples(CENTS, CENTS, CENTS, CENTS), min_size=4, max_size=12)


@pytest.mark.slow
@settings(max_examples=30)
@given(book=BOOKS, new=st.booleans(), where=st.permutations(range(4)), column=st.sampled_from(MONEY), by=CENTS)
def test_changed_rows_are_always_found(
    engine: Engine, book: list[tuple[Decimal, ...]], new: bool, where: list[int], column: str, by: Decimal
) -> None:
    made: list[dict[str, Any]] = [
        {"loan_id": f"L{n}", **dict(zip(MONEY, row, strict=True))} for n, row in enumerate(book)
    ]
    assume(sum(row[MONEY[0]] for row in made) > 0)
    wrong, gone, twice, _ = (f"L{n}" for n in where)
    given = [dict(row) for row in made if row["loan_id"] != gone]
    for row in given:
        row[column] += by + 1 if row["loan_id"] == wrong else 0
    given += [dict(row) for row in made if row["loan_id"] == twice]
    given.append({**made[0], "loan_id": "NEW", MONEY[0]: Decimal(9)})
    bridge = against(engine, made, given, new=new)
    missing, extra = (Cause.ONLY_BASELINE, Cause.ONLY_CANDIDATE)[:: 1 if new else -1]
    assert total(bridge.parts) == bridge.difference
    late, whole = (sum(row[name] for row in given for name in names) for names in (MONEY[1:], MONEY[:1]))
    assert (bridge.candidate if new else bridge.baseline) == 100 * Fraction(late) / Fraction(whole)
    assert named(bridge.parts) == {
        missing: [gone],
        extra: ["NEW"],
        Cause.DUPLICATES: [twice],
        Cause.UNEXPLAINED: [wrong],
    }
    for part in bridge.parts:
        assert part.top[0].contribution == part.contribution
    assert against(engine, made, made[::-1], new=new).parts == ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    loan_id: str
    late: str
    balance: str

    def columns(self) -> dict[str, object]:
        zeros = dict.fromkeys(MONEY, Decimal(0))
        return {"loan_id": self.loan_id, **zeros, "dpd_30_60_usd": self.late, "total_receivable_usd": self.balance}


OURS = [Row(loan_id="A", late="10.1234", balance="10.1234"), Row(loan_id="B", late="0", balance="89.8767")]


def bridged(engine: Engine, theirs: Sequence[Row], new: Side | None = None, **printed: str) -> Bridge:
    """PAR 30 of `OURS` against rows that the candidate gave."""
    made = put(engine, GIVEN.columns, [row.columns() for row in OURS], "ours")
    put(engine, GIVEN.columns, [row.columns() for row in theirs], GIVEN.relation)
    new = new or side(INVESTOR, GIVEN if theirs else None, **printed)
    (bridge,) = bridge_calculations(engine, lambda _: made, side(INVESTOR), new, ["risk.par_30"], plain=True)
    return bridge


def test_rows_that_were_rounded_and_one_that_was_more_than_that(engine: Engine) -> None:
    theirs = [Row(loan_id="A", late="10.12", balance="10.12"), Row(loan_id="B", late="0", balance="89.87")]
    bridge = bridged(engine, theirs)
    assert named(bridge.parts) == {Cause.INPUT_ROUNDING: ["A"], Cause.UNEXPLAINED: ["B"]}
    assert named(bridged(engine, [theirs[0], replace(theirs[1], balance="89.88")]).parts) == {
        Cause.INPUT_ROUNDING: ["A", "B"]
    }
    assert bridged(engine, OURS).parts == ()


def test_a_duplicate_that_is_not_the_same_row_is_unexplained(engine: Engine) -> None:
    assert named(bridged(engine, [*OURS, OURS[0]]).parts) == {Cause.DUPLICATES: ["A"]}
    assert named(bridged(engine, [*OURS, replace(OURS[0], balance="11")]).parts) == {Cause.UNEXPLAINED: ["A"]}
    three = bridged(engine, [*OURS, *OURS, OURS[1]])
    assert named(three.parts) == {Cause.DUPLICATES: ["A", "B"]} or named(three.parts) == {Cause.DUPLICATES: ["B", "A"]}
    assert three.candidate == 100 * Fraction("20.2468") / Fraction("289.8769")


def test_what_was_printed_is_rounded_or_unexplained(engine: Engine) -> None:
    bridge = bridged(engine, [], par_30="10.1")
    assert bridge.candidate == Fraction("10.1")
    assert [part.cause for part in bridge.parts] == [Cause.OUTPUT_ROUNDING]
    assert [part.cause for part in bridged(engine, [], par_30="10.2").parts] == [Cause.UNEXPLAINED]


def with_formula(text: str, kpi_id: str = "risk.par_30") -> Catalogue:
    formula = parse_formula(text, columns=COLUMNS, where="")
    return replace(
        CATALOGUE,
        kpis=tuple(replace(kpi, formula=formula) if kpi.id == kpi_id else kpi for kpi in CATALOGUE.kpis),
    )


def test_a_changed_formula_is_a_cause_with_its_loans(engine: Engine) -> None:
    changed = with_formula("(SUM(dpd_60_90_usd) + SUM(dpd_90_plus_usd)) / SUM(total_receivable_usd) * 100 + 1")
    bridge = bridged(engine, [], Side(definition=INVESTOR, catalogue=changed))
    (part,) = bridge.parts
    assert (part.cause, part.loans) == (Cause.FORMULA, 1)
    assert bridge.candidate == 1
    assert part.top[0].contribution == part.contribution - 1 == -100 * Fraction("10.1234") / Fraction("100.0001")


def test_what_has_no_value_on_one_side_is_not_bridged(engine: Engine) -> None:
    bridge = bridged(engine, [], Side(definition=INVESTOR, catalogue=with_formula("SUM(disbursed_usd)")))
    assert bridge.not_bridged.startswith("no value under the candidate's formula: needs disbursed_usd")
    assert (bridge.candidate, bridge.parts) == (None, ())
    empty = Side(
        definition=INVESTOR, catalogue=replace(CATALOGUE, kpis=()), printed={Key(kpi="risk.par_30"): Decimal(3)}
    )
    assert bridged(engine, [], empty).not_bridged == "one of the catalogues does not have it"


def test_a_step_that_leaves_no_value_is_taken_together_with_the_next(engine: Engine) -> None:
    new = replace(INVESTOR, cover=Cover.PRINCIPAL, boundary=Boundary.MORE_THAN, dust_share=Decimal(0))
    ours = put(engine, GIVEN.columns, [row.columns() for row in OURS], "ours")
    nothing = put(engine, GIVEN.columns, [replace(row, balance="0").columns() for row in OURS], "nothing")
    worlds = iter([ours, ours, nothing, ours])
    (bridge,) = bridge_calculations(engine, lambda _: next(worlds), side(INVESTOR), side(new), ["risk.par_30"])
    assert [(part.cause, part.text, part.contribution) for part in bridge.parts] == [
        (Cause.COVER, "cover total_due → principal", Fraction(0)),
        (Cause.DUST, "dust_share 0.01 → 0, together with boundary at_least → more_than", Fraction(0)),
    ]


def test_a_text_that_decides_is_compared_too_and_rows_may_have_no_name(engine: Engine) -> None:
    """Loans without an id are one loan; a formula over a text sees the text change."""
    changed = with_formula("SUM(CASE WHEN status = 'late' THEN total_receivable_usd ELSE 0 END)")
    columns = ("loan_id", "status", "total_receivable_usd")
    rows = [{"loan_id": name, "status": "late", "total_receivable_usd": Decimal(5)} for name in ("A", None)]
    made = put(engine, columns, rows, "ours")
    put(engine, columns, [rows[0], {**rows[1], "status": "paid"}], "given")
    old = Side(definition=INVESTOR, catalogue=changed)
    new = replace(old, rows=LoanRows(relation="given", columns=columns))
    (bridge,) = bridge_calculations(engine, lambda _: made, old, new, ["risk.par_30"])
    assert named(bridge.parts) == {Cause.UNEXPLAINED: [""]}
    assert bridge.difference == -5
    nameless = LoanRows(relation="given", columns=columns[1:])
    (bridge,) = bridge_calculations(engine, lambda _: made, old, replace(new, rows=nameless), ["risk.par_30"])
    assert bridge.unexplained == -5
    assert bridge.not_by_loan == "the rows have no loan_id"


# --- snapshots ----------------------------------------------------------------------------------------------

SNAPSHOT = ("loan_id", "customer_id", "outstanding_principal", "disbursed_principal", "days_past_due")


@cache
def snapshot_rows() -> str:
    rng = Random(4)
    rows = [
        f"('L{n}', 'C{n % 7}', {rng.choice([0, 1, 50, 80])}, 100, {rng.choice([0, 20, 30, 60, 90, 181])})"
        for n in range(40)
    ]
    return ", ".join(rows)


def test_a_snapshot_and_kpis_that_are_no_sums_over_loans(engine: Engine) -> None:
    query = f"""
    SELECT *, DATE '2025-11-30' AS measurement_date, CAST(50 AS DECIMAL(18,4)) AS total_eligible_usd,
           CAST(4 AS DECIMAL(18,4)) AS cash_available_usd
    FROM (VALUES {snapshot_rows()}) t({", ".join(SNAPSHOT)})
    """
    engine.execute(exp.Create(this=exp.to_table("tape"), kind="TABLE", expression=filled(query), replace=True))
    present = (*SNAPSHOT, "total_eligible_usd", "cash_available_usd")

    def make(definition: Definition) -> Calculation:
        return snapshot_calculation("tape", present, definition, date(2025, 11, 30), "USD")

    kpis = ["risk.portfolio_health", "growth.active_clients", "concentration.hhi_customers", "risk.par_30"]
    found = bridge_calculations(engine, make, side(INVESTOR), side(OTHER), kpis, listed=ALL, plain=True)
    health, clients, hhi, par = found
    for bridge in found:
        assert [part.cause for part in bridge.parts] == CAUSES
        assert bridge.parts[0].contribution == 0  # a snapshot's days past due are its own
        assert total(bridge.parts) == bridge.difference
    assert 0 not in (health.difference, hhi.difference, par.difference)
    assert health.not_by_loan == par.not_by_loan == ""
    for part in (*health.parts, *par.parts):
        assert sum((loan.contribution for loan in part.top), Fraction(0)) == part.contribution
    assert clients.not_by_loan.endswith("is no sum over loans")
    assert hhi.not_by_loan == "concentration.hhi_customers adds up customers, not loans"
    assert hhi.baseline is not None and decimal(hhi.baseline) > 0
