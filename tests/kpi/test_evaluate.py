"""From sums to results: statuses at their limits, ranges, reasons, counts."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from sqlglot import exp

from abaco_loans.errors import ConfigError
from abaco_loans.kpi.catalogue import Catalogue, Direction, Grain, Thresholds
from abaco_loans.kpi.catalogue_file import read_catalogue
from abaco_loans.kpi.compiler import Cell, compile_catalogue
from abaco_loans.kpi.evaluate import CELLS_MAX, Prices, evaluate
from abaco_loans.kpi.result import KpiResult, Status, judged, text_of
from abaco_loans.strict_yaml import parse
from abaco_loans.tape.calculation import Calculation

HIGH = Thresholds(warning=Decimal(5), critical=Decimal(8), direction=Direction.HIGH_IS_BAD)
LOW = Thresholds(warning=Decimal("1.5"), critical=Decimal(1), direction=Direction.LOW_IS_BAD)
TINY = Decimal("1E-25")
ZERO = Fraction(0), Fraction(0)


@pytest.mark.parametrize(
    ("thresholds", "value", "status"),
    [
        (HIGH, Decimal(5) - TINY, Status.OK),
        (HIGH, Decimal(5), Status.WARNING),
        (HIGH, Decimal(8) - TINY, Status.WARNING),
        (HIGH, Decimal(8), Status.CRITICAL),
        (HIGH, Decimal(8) + TINY, Status.CRITICAL),
        (LOW, Decimal("1.5") + TINY, Status.OK),
        (LOW, Decimal("1.5"), Status.WARNING),
        (LOW, Decimal(1) + TINY, Status.WARNING),
        (LOW, Decimal(1), Status.CRITICAL),
        (LOW, Decimal(0), Status.CRITICAL),
        (None, Decimal(10**9), Status.OK),
    ],
)
def test_a_threshold_is_breached_at_or_beyond_it(thresholds: Thresholds | None, value: Decimal, status: Status) -> None:
    assert judged(value, thresholds) is status


def catalogue(*entries: dict[str, Any]) -> Catalogue:
    base = {
        "name": "N",
        "description": "d",
        "unit": "%",
        "precision": 2,
        "owner": "risk",
        "departments": ["risk"],
        "refresh": "daily",
        "source": "tape",
    }
    document = parse("version: '1'\nkpis: []", name="c.yml")
    document.data["kpis"] = [{"id": f"risk.k{index}", **base, **entry} for index, entry in enumerate(entries)]
    return read_catalogue(document)


def results(
    found: Catalogue,
    values: dict[str, Any],
    *,
    columns: tuple[str, ...] = ("outstanding_usd", "total_receivable_usd"),
    absent: dict[str, str] | None = None,
    rows: int = 3,
    unpriced: int = 0,
    facts: dict[str, int] | None = None,
    filled: dict[str, int] | None = None,
    prices: Prices | None = None,
) -> list[KpiResult]:
    calculation = Calculation(query=exp.select("*"), columns=columns, absent=absent or {})
    compiled = compile_catalogue(found, calculation, ())
    cell = Cell(
        segment="", segment_value=None, rows=rows, members=rows, values=values, filled=filled or {}, unpriced=unpriced
    )
    evaluation = evaluate(compiled, {Grain.LOAN: [cell]}, facts or {}, prices or Prices())
    return list(evaluation.overall)


RATIO = {"formula": "SUM(outstanding_usd) / SUM(total_receivable_usd) * 100"}
SUMS = {"outstanding_usd": Decimal(1), "total_receivable_usd": Decimal(3)}


def test_a_ratio_is_kept_to_28_digits() -> None:
    (found,) = results(catalogue(RATIO), SUMS, filled={"outstanding_usd": 2, "total_receivable_usd": 3})
    assert text_of(found.value_exact) == "33.33333333333333333333333333"
    assert text_of(found.value) == "33.33"
    assert found.components == SUMS
    assert found.rows_used == 3
    assert found.null_counts == {"outstanding_usd": 1, "total_receivable_usd": 0}
    assert (found.low, found.high, found.bound_reason) == (found.value, found.value, "")


@pytest.mark.parametrize(
    ("limits", "value", "status"),
    [
        ({"min": 0, "max": 50}, "50.00", Status.OK),
        ({"min": 0, "max": "49.99"}, "50.00", Status.OUT_OF_RANGE),
        ({"min": 50}, "50.00", Status.OK),
        ({"min": "50.01"}, "50.00", Status.OUT_OF_RANGE),
    ],
)
def test_a_value_that_cannot_be_true_is_out_of_range(limits: dict[str, Any], value: str, status: Status) -> None:
    thresholds = {"warning": 1, "critical": 2, "direction": "high_is_bad"}
    sums = {"outstanding_usd": Decimal(1), "total_receivable_usd": Decimal(2)}
    (found,) = results(catalogue({**RATIO, "valid_range": limits, "thresholds": thresholds}), sums)
    assert text_of(found.value) == value
    assert found.status is (Status.CRITICAL if status is Status.OK else status)


def test_a_clamped_value_is_held_and_says_what_was_computed() -> None:
    held = {**RATIO, "valid_range": {"min": 10, "max": 20, "clamp": True}}
    (found,) = results(catalogue(held), SUMS)
    assert (text_of(found.value), found.held) == ("20.00", "held at 20; computed 33.3333")
    assert (found.low, found.high) == (found.value, found.value)
    (found,) = results(catalogue(held), {**SUMS, "outstanding_usd": Decimal(0)})
    assert (text_of(found.value), found.held) == ("10.00", "held at 10; computed 0.0000")
    assert found.status is Status.OK


def test_a_kpi_of_a_held_kpi_uses_the_held_value() -> None:
    held = {**RATIO, "valid_range": {"max": 20, "clamp": True}}
    found = results(catalogue(held, {"formula": "risk.k0 * 2"}), SUMS)
    assert text_of(found[1].value) == "40.00"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            {"columns": ("total_receivable_usd",), "absent": {"outstanding_usd": "a bucketed tape does not have it"}},
            "needs outstanding_usd: a bucketed tape does not have it",
        ),
        ({"columns": ("total_receivable_usd",)}, "needs outstanding_usd: not in the tape"),
        ({"rows": 0}, "there are no rows"),
        ({"unpriced": 2}, "2 row(s) are in a currency without a rate"),
    ],
)
def test_what_cannot_be_computed_says_why(given: dict[str, Any], reason: str) -> None:
    (found,) = results(catalogue(RATIO), SUMS, **given)
    assert (found.status, found.reason) == (Status.NOT_COMPUTABLE, reason)
    assert (found.value, found.value_exact, found.low, found.high) == (None, None, None, None)


@pytest.mark.parametrize(
    ("sums", "reason"),
    [
        ({"outstanding_usd": None, "total_receivable_usd": Decimal(1)}, "needs outstanding_usd: no row has a value"),
        ({"outstanding_usd": Decimal(1), "total_receivable_usd": Decimal(0)}, "the denominator is zero"),
        ({"outstanding_usd": Decimal(0), "total_receivable_usd": Decimal(0)}, "the denominator is zero"),
    ],
)
def test_an_empty_column_and_a_zero_denominator_are_never_zero(sums: dict[str, Any], reason: str) -> None:
    (found,) = results(catalogue(RATIO), sums)
    assert (found.status, found.reason, found.value) == (Status.NOT_COMPUTABLE, reason, None)


def test_a_reason_is_handed_on_to_the_kpis_made_of_it() -> None:
    found = results(catalogue(RATIO, {"formula": "1 + risk.k0"}), {**SUMS, "total_receivable_usd": Decimal(0)})
    assert found[1].reason == "risk.k0 is not computable: the denominator is zero"


def test_a_count_of_loans_needs_no_rate() -> None:
    entry = {"formula": "SUM(opened_in_period)"}
    found = results(catalogue(entry), {"opened_in_period": 4}, columns=("opened_in_period",), unpriced=2)
    assert text_of(found[0].value) == "4.00"


def test_facts_of_the_run() -> None:
    entry = {"formula": "run.rows_accepted / run.rows_in * 100"}
    found = results(catalogue(entry), {}, facts={"rows_accepted": 19, "rows_in": 20})
    assert (text_of(found[0].value), found[0].rows_used) == ("95.00", None)
    assert found[0].as_dict()["components"] == {}


def test_a_dimension_with_too_many_values_is_left_out_and_said() -> None:
    found = catalogue(RATIO)
    calculation = Calculation(query=exp.select("*"), columns=("outstanding_usd", "total_receivable_usd", "region"))
    compiled = compile_catalogue(found, calculation, ("region",))
    cells = [Cell(segment="", segment_value=None, rows=9, members=9, values=SUMS, filled={})]
    cells += [
        Cell(segment="region", segment_value=f"r{index}", rows=9, members=9, values=SUMS, filled={})
        for index in range(CELLS_MAX + 1)
    ]
    assert evaluate(compiled, {Grain.LOAN: cells}, {}, Prices()).left_out == {"region": CELLS_MAX + 1}
    assert evaluate(compiled, {Grain.LOAN: cells}, {}, Prices()).segments == ()
    assert len(evaluate(compiled, {Grain.LOAN: cells[:-1]}, {}, Prices()).segments) == CELLS_MAX


def test_an_unknown_kpi_shows_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"KPI-105.*did you mean 'risk.k0'"):
        catalogue(RATIO).get("risk.k1x")


# --- bounds -------------------------------------------------------------------------------------------------


def test_bounds_are_rounded_outwards_and_hold_the_value() -> None:
    prices = Prices(
        count=1,
        ranges={"outstanding_usd": (Fraction(0), Fraction(1)), "total_receivable_usd": ZERO},
    )
    (found,) = results(catalogue(RATIO), SUMS, prices=prices)
    assert (text_of(found.low), text_of(found.high)) == ("33.33", "66.67")


def test_a_bound_that_cannot_be_priced_is_null_with_its_reason() -> None:
    known = catalogue(RATIO, {"formula": "risk.k0 + 1"}, {"formula": "run.rows_in"}, {"formula": "COUNT(*)"})
    sums = {**SUMS, "count(*)": 3}
    prices = Prices(count=1, ranges={"total_receivable_usd": ZERO}, reasons={"outstanding_usd": "unreadable"})
    found = results(known, sums, prices=prices, facts={"rows_in": 4})
    assert [(item.low, item.high) for item in found] == [(None, None)] * 4
    assert [item.bound_reason for item in found] == [
        "unreadable",
        "risk.k0 cannot be priced",
        "counts the quarantine itself",
        "the quarantined rows cannot be priced",
    ]
    assert all(item.value is not None for item in found)


def test_a_bound_over_a_denominator_that_might_be_zero_is_null() -> None:
    prices = Prices(
        count=1,
        ranges={"outstanding_usd": ZERO, "total_receivable_usd": (Fraction(-3), Fraction(0))},
    )
    (found,) = results(catalogue(RATIO), SUMS, prices=prices)
    assert (found.low, found.bound_reason) == (None, "the denominator might be zero")
