"""Another exchange rate is a cause of its own, by currency; and nothing else is taken for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abaco_loans.engines.base import Engine
from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.operations.bridge_kpis import bridge_calculations, bridge_places, other_rates, tape_maker
from abaco_loans.operations.bridge_stations import LoanRows, Side
from abaco_loans.operations.read_tape import load_tape, stage_tape
from abaco_loans.operations.shadow_tape import rates_elsewhere
from abaco_loans.operations.workspace import builtin_texts
from abaco_loans.operations.write_sample import write_sample
from abaco_loans.releases.bridge import Bridge, Cause
from abaco_loans.releases.comparison import Key
from abaco_loans.releases.release import read_release
from abaco_loans.sample import SampleSpec
from tests.kpi.tables import builtin_release, put
from tests.operations.desk import Desk, worked_example, write_csv
from tests.operations.shadow_desk import copied_release, gates, shadow
from tests.tape.reading import KEY

MONEY = ("total_receivable_usd", "dpd_30_60_usd", "dpd_60_90_usd", "dpd_90_plus_usd")
MADE = ("loan_id", "currency", *MONEY)
GIVEN = LoanRows(relation="given", columns=("loan_id", *MONEY))
RELEASE = builtin_release()
Book = list[dict[str, Any]]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = DuckDB(scratch=tmp_path_factory.mktemp("rates"), folders=[], memory_mb=400, threads=1)
    yield engine
    engine.close()


def book(**balances: str) -> Book:
    """Loans by name (``MXN1``: the first in MXN); every second is 30 to 60 days late."""
    zeros = dict.fromkeys(MONEY, Decimal(0))
    return [
        {"loan_id": name, "currency": name[:3], **zeros, MONEY[0]: Decimal(amount)}
        | ({MONEY[1]: Decimal(amount)} if number % 2 else {})
        for number, (name, amount) in enumerate(balances.items())
    ]


def at(rows: Book, factors: Mapping[str, str], unit: str = "0.01") -> Book:
    """The rows at other rates by currency or by loan, rounded."""

    def moved(row: dict[str, Any]) -> dict[str, Any]:
        factor = Decimal(factors.get(row["loan_id"], factors.get(row["currency"], "1")))
        amounts = {name: (row[name] * factor).quantize(Decimal(unit), ROUND_HALF_EVEN) for name in MONEY}
        return {**row, **amounts}

    return [moved(row) for row in rows]


def bridged(engine: Engine, made: Book, theirs: Book, *, new: bool = True) -> Bridge:
    """PAR 30 of recomputed rows and of those that the candidate (``new``) or the baseline gave."""
    ours = put(engine, MADE, made, "ours")
    put(engine, GIVEN.columns, theirs, GIVEN.relation)
    first, second = (
        Side(definition=RELEASE.definitions["investor"], catalogue=RELEASE.catalogue, rows=rows)
        for rows in ((None, GIVEN) if new else (GIVEN, None))
    )
    (bridge,) = bridge_calculations(
        engine, lambda _: ours, first, second, ["risk.par_30"], listed=1000, reporting="USD"
    )
    return bridge


def loans_of(bridge: Bridge) -> dict[tuple[Cause, str], set[str]]:
    """By cause and what its text says of a rate, the loans."""
    return {(part.cause, part.text.partition(": ")[2]): {loan.loan_id for loan in part.top} for part in bridge.parts}


def par_30(rows: Book) -> Fraction:
    return 100 * Fraction(sum(row[MONEY[1]] for row in rows)) / Fraction(sum(row[MONEY[0]] for row in rows))


BALANCES = st.integers(10**4, 10**10).map(lambda cents: str(Decimal(cents) / 100))


@settings(max_examples=8, deadline=None)
@given(
    amounts=st.lists(BALANCES, min_size=7, max_size=12),
    factor=st.decimals("0.0300", "40", places=6).filter(lambda value: abs(value - 1) > Decimal("0.001")),
    unit=st.sampled_from(["0.01", "0.0001"]),
    new=st.booleans(),
)
def test_another_rate_is_fx_with_all_its_loans_and_the_whole_amount(
    engine: Engine, amounts: list[str], factor: Decimal, unit: str, new: bool
) -> None:
    made = book(**{f"{'USD' if n < 3 else 'MXN'}{n}": amount for n, amount in enumerate(amounts)})
    theirs = at(made, {"MXN": str(factor)}, unit)
    bridge = bridged(engine, made, theirs, new=new)
    ends = (par_30(made), par_30(theirs))[:: 1 if new else -1]
    assert (bridge.baseline, bridge.candidate) == ends
    (part,) = bridge.parts
    assert part.cause is Cause.FX
    assert "loan rows: MXN at " in part.text
    assert part.contribution == bridge.difference == sum((loan.contribution for loan in part.top), Fraction(0))
    assert {loan.loan_id for loan in part.top} == {row["loan_id"] for row in made if row["currency"] == "MXN"}
    assert bridge.unexplained == 0


def test_the_factor_is_said_by_currency(engine: Engine) -> None:
    made = book(
        USD1="50", USD2="70", MXN1="1000", MXN2="2000.55", MXN3="31", COP1="900", COP2="800", COP3="70", COP4="0"
    )
    bridge = bridged(engine, made, at(made, {"MXN": "1.05", "COP": "0.5"}, "0.0001"))
    assert loans_of(bridge) == {
        (Cause.FX, "COP at 0.5 times the rate that was recomputed with"): {"COP1", "COP2", "COP3"},
        (Cause.FX, "MXN at 1.05 times the rate that was recomputed with"): {"MXN1", "MXN2", "MXN3"},
    }
    assert sum((part.contribution for part in bridge.parts), Fraction(0)) == bridge.difference != 0


LOANS = {"USD1": "5000", "USD2": "700", "MXN1": "1000", "MXN2": "2000.55", "MXN3": "31", "MXN4": "450", "COP1": "77"}
ALL_MXN = {"MXN1", "MXN2", "MXN3", "MXN4"}


@pytest.mark.parametrize(
    ("factors", "unexplained"),
    [
        ({"MXN2": "1.00001"}, {"MXN2"}),  # one wrong balance
        ({"MXN1": "1.05", "MXN2": "1.05", "MXN3": "1.05"}, {"MXN1", "MXN2", "MXN3"}),  # one loan is as it was
        ({"MXN": "1.05", "MXN3": "1.06"}, ALL_MXN),  # one loan is at another rate
        ({"MXN": "1.05", "USD2": "1.01"}, {*ALL_MXN, "USD2"}),  # something else is wrong too
        ({"COP1": "1.05"}, {"COP1"}),  # one loan is no currency
    ],
)
def test_nothing_else_is_taken_for_a_rate(engine: Engine, factors: dict[str, str], unexplained: set[str]) -> None:
    made = book(**LOANS)
    bridge = bridged(engine, made, at(made, factors, "0.0001"))
    assert loans_of(bridge) == {(Cause.UNEXPLAINED, ""): unexplained}
    assert bridge.unexplained == bridge.difference != 0


def test_loans_too_small_to_show_a_rate_prove_none(engine: Engine) -> None:
    """A few cents fit any factor near one: they must not cover the one loan that is wrong."""
    made = book(USD1="9000", MXN1="0.01", MXN2="0.02", MXN3="0.01", MXN4="450")
    theirs = at(made, {"MXN4": "1.05"})
    assert loans_of(bridged(engine, made, theirs)) == {(Cause.UNEXPLAINED, ""): {"MXN4"}}
    # and beside three that do show it they are no hindrance, nor of it where rounding hides it
    made = book(**LOANS, MXN5="0.01", MXN6="0.01")
    assert loans_of(bridged(engine, made, at(made, {"MXN": "1.05"}))) == {
        (Cause.FX, "MXN at 1.05 times the rate that was recomputed with"): ALL_MXN
    }


def test_a_loan_that_is_missing_or_stands_twice_beside_another_rate(engine: Engine) -> None:
    made = book(**LOANS)
    theirs = at(made, {"MXN": "1.05"})
    gone = [row for row in theirs if row["loan_id"] != "MXN1"]
    assert loans_of(bridged(engine, made, gone)) == {
        (Cause.FX, "MXN at 1.05 times the rate that was recomputed with"): ALL_MXN - {"MXN1"},
        (Cause.ONLY_BASELINE, ""): {"MXN1"},
    }
    twice = loans_of(bridged(engine, made, [*theirs, theirs[2]]))
    assert twice == {(Cause.UNEXPLAINED, ""): ALL_MXN}


def test_amounts_of_any_size_are_looked_at(engine: Engine) -> None:
    """What a program gives is hostile: the largest amounts that there are neither overflow nor pass."""
    most = "99999999999999.9999"
    made = book(USD1="5", MXN1=most, MXN2=most, MXN3="0.0001", MXN4=f"-{most}")
    halved = causes_of(bridged(engine, made, at(made, {"MXN": "0.5"}, "0.0001")))
    assert halved == {Cause.FX, Cause.INPUT_ROUNDING}  # half of the last digit is nothing
    for factors in ({"MXN": "-1"}, {"MXN3": "999999999999"}, {"MXN": "0"}):
        assert Cause.FX not in causes_of(bridged(engine, made, at(made, factors, "0.0001")))


def causes_of(bridge: Bridge) -> set[Cause]:
    return {part.cause for part in bridge.parts}


# --- two releases that take their rates from other columns ----------------------------------------------------

SNAPSHOT = """\
name: bank
layout: snapshot
tables:
  tape:
    columns:
      loan_id: no
      measurement_date: day
      customer_id: customer
      outstanding_principal: balance
      days_past_due: late
      disbursed_principal: lent
      disbursement_date: lent_on
      currency: money
      fx_rate: close
"""


def test_a_release_that_reads_another_column_of_rates_differs_by_fx(desk: Desk, tmp_path: Path) -> None:
    (desk.release / "mappings" / "bank.yml").write_text(SNAPSHOT, encoding="utf-8")
    copied_release(desk, "v3", {"mappings/bank.yml": lambda text: text.replace("fx_rate: close", "fx_rate: average")})
    gates(desk, "v3", "")
    rows = [
        {
            "no": f"L{n}", "day": "2025-11-30", "customer": f"C{n}", "balance": 100 * n + 7, "late": 45 * (n % 2),
            "lent": 5000, "lent_on": "2025-01-15", "money": "MXN" if n % 4 < 2 else "USD",
            "close": "0.054", "average": f"0.05{n}",
        }
        for n in range(1, 10)
    ]  # fmt: skip
    found = shadow(desk, write_csv(tmp_path / "bank.csv", rows), "v2", "v3", repeats=1)
    bridge = found["bridge"]["risk.par_30"]
    (part,) = bridge["parts"]
    assert (part["cause"], part["text"]) == ("FX", "rates from close → average")
    changed = {f"L{n}" for n in range(1, 10) if n % 4 < 2 and n != 4}
    assert {loan["loan_id"] for loan in part["top"]} == changed
    assert part["loans"] == len(changed)
    assert Decimal(part["contribution"]) == Decimal(bridge["difference"]) != 0
    assert Decimal(bridge["unexplained"]) == 0
    assert found["kpis"]["risk.par_30"]["causes"] == ["FX"]


def test_a_tape_without_rates_is_compared_whatever_mappings_the_releases_have(desk: Desk, tmp_path: Path) -> None:
    folder = copied_release(desk, "v3", {})
    required = [column.name for column in RELEASE.contracts["bucketed"].table("tape").columns if column.required]
    columns = ", ".join(f"{name}: their_{name}" for name in required)
    (folder / "mappings" / "other.yml").write_text(
        f"name: other\nlayout: bucketed\ntables:\n  tape:\n    columns: {{{columns}}}\n", encoding="utf-8"
    )
    gates(desk, "v3", "")
    found = shadow(desk, write_csv(tmp_path / "book.csv", worked_example()), "v2", "v3", repeats=1)
    assert found["kpis"]["risk.par_30"]["verdict"] == "same"


RATES = """\
name: two
layout: servicing
tables:
  loans: {columns: LOANS}
  schedules: {columns: SCHEDULES}
  transactions: {columns: MOVES}
  rates: {columns: {date: date, currency: currency, rate: rate}}
"""


@pytest.mark.slow
def test_rates_of_a_servicing_extract_are_switched_for_balances_and_for_flows(tmp_path: Path) -> None:
    write_sample(SampleSpec(loans=80, months=12, seed=5, currencies=2), tmp_path / "sample")
    folder, scratch = tmp_path / "sample" / "servicing", tmp_path / "scratch"
    header, *lines = (folder / "rates.csv").read_text(encoding="utf-8").splitlines()
    place = header.split(",").index("rate")
    mids = [Decimal(line.split(",")[place]) * (1 + Decimal(n % 7 + 1) / 50) for n, line in enumerate(lines)]
    written = [f"{header},mid", *(f"{line},{mid}" for line, mid in zip(lines, mids, strict=True))]
    (folder / "rates.csv").write_text("\n".join(written) + "\n", encoding="utf-8")
    text = RATES
    for word, name in (("LOANS", "loans"), ("SCHEDULES", "schedules"), ("MOVES", "transactions")):
        names = (folder / f"{name}.csv").read_text(encoding="utf-8").split("\n", 1)[0].strip().split(",")
        known = RELEASE.contracts["servicing"].table(name).column_names
        text = text.replace(word, "{" + ", ".join(f"{column}: {column}" for column in names if column in known) + "}")
    releases = [
        read_release("two", {**builtin_texts(), "mappings/two.yml": text.replace("rate: rate", f"rate: {column}")})
        for column in ("rate", "mid")
    ]
    scratch.mkdir()
    engine = DuckDB(scratch=scratch, folders=[], memory_mb=400, threads=2)
    stage = [partial(stage_tape, folder, release, layout="servicing", mapping="two") for release in releases]
    staged = stage[0](scratch, lambda: engine)
    tape = load_tape(staged, engine, KEY, scratch, lambda _: None)
    rates = rates_elsewhere(staged, tape, stage[1], engine, scratch / "again", KEY)
    assert rates is not None and rates.text == "rates from rate → mid"
    assert rates_elsewhere(staged, tape, stage[0], engine, scratch / "same", KEY) is None
    day = date(2025, 11, 30)
    make = tape_maker(tape, engine, day, "USD")
    side = Side(definition=RELEASE.definitions["investor"], catalogue=RELEASE.catalogue)
    places = [
        *(Key(kpi=kpi) for kpi in ("finance.outstanding", "finance.scheduled_collection_rate")),
        Key(kpi="finance.outstanding", segment="currency", segment_value="HNL"),
        Key(kpi="finance.outstanding", segment="currency", segment_value="USD"),
    ]
    other = other_rates(tape, engine, day, "USD", rates)
    found = bridge_places(engine, make, side, side, places, reporting="USD", rates=other)
    whole, flows, foreign, own = (found[place] for place in places)
    assert not any(bridge.not_bridged for bridge in found.values())
    for bridge in (whole, flows, foreign):
        (part,) = bridge.parts
        assert (part.cause, part.text) == (Cause.FX, "rates from rate → mid")
        assert part.contribution == bridge.difference != 0
        assert part.loans and part.loans > 2 and part.top
    assert foreign.difference == whole.difference
    assert own.difference == 0 and own.parts == ()
    # The next of several ways over one tape begins with the tape's own rates again.
    assert bridge_places(engine, make, side, side, places, reporting="USD", rates=other) == found
    engine.close()
