"""What rounding alone can explain, and what it cannot."""

from __future__ import annotations

from decimal import ROUND_HALF_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.kpi.catalogue import Grain, formula_of
from abaco_loans.releases import rounding

PAR = formula_of("SUM(dpd_90_plus_usd) / SUM(total_receivable_usd) * 100", grain=Grain.LOAN, where="")
AMOUNTS = st.integers(0, 10**9).map(lambda cents: Decimal(cents) / 100)
WAYS = st.sampled_from([ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_HALF_DOWN])


def shown(value: Decimal, decimals: int, way: str = ROUND_HALF_EVEN) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-decimals), rounding=way)


@pytest.mark.parametrize(
    ("printed", "candidate", "explained"),
    [
        ("2.2", "2.2107", True),
        ("12.0", "11.9733", True),
        ("0.31", "0.3194", False),
        ("0.31", "0.315", True),
        ("0.31", "0.305", True),
        ("0.31", "0.3150000000000000000000000001", False),
        ("2E+3", "2400", True),
        ("2E+3", "2501", False),
        ("12", "12.5", True),
    ],
)
def test_a_printed_value_beside_an_exact_one(printed: str, candidate: str, explained: bool) -> None:
    value = Decimal(printed)
    first = rounding.interval(value, rounding.printed_decimals(value))
    second = rounding.interval(Decimal(candidate), None)
    assert rounding.explains(first, second) is explained
    assert rounding.explains(second, first) is explained


def test_two_rounded_values_that_only_touch_are_two_values() -> None:
    first, second = rounding.interval(Decimal("0.31"), 2), rounding.interval(Decimal("0.32"), 2)
    assert rounding.common(first, second) == (Fraction(315, 1000), Fraction(315, 1000))
    assert not rounding.explains(first, second)
    assert rounding.explains(rounding.interval(Decimal("2.2"), 1), rounding.interval(Decimal("2.21"), 2))


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (1, None, "by one-decimal rounding"),
        (None, 2, "by two-decimal rounding"),
        (1, 2, "by one-decimal rounding"),
        (0, None, "by whole-number rounding"),
        (9, None, "by 9-decimal rounding"),
        (-3, 2, "by rounding to 1,000"),
        (None, None, ""),
    ],
)
def test_words(first: int | None, second: int | None, words: str) -> None:
    assert rounding.in_words(first, second) == words


@given(value=AMOUNTS, decimals=st.integers(-2, 2), way=WAYS)
def test_the_interval_holds_every_number_that_prints_so(value: Decimal, decimals: int, way: str) -> None:
    low, high = rounding.interval(shown(value, decimals, way), decimals)
    assert low <= Fraction(value) <= high


@given(late=AMOUNTS, share=st.integers(1, 100), places=st.tuples(st.integers(0, 2), st.integers(0, 2)), way=WAYS)
def test_a_ratio_lies_in_what_its_printed_parts_leave(
    late: Decimal, share: int, places: tuple[int, int], way: str
) -> None:
    total = (late + 1) * share
    parts = {
        "dpd_90_plus_usd": (shown(late, places[0], way), places[0]),
        "total_receivable_usd": (shown(total, places[1], way), places[1]),
    }
    found = rounding.of_formula(PAR, parts)
    if found is None:
        assert shown(total, places[1], way) <= 1
        return
    assert found[0] <= Fraction(late) / Fraction(total) * 100 <= found[1]


def test_a_ratio_of_parts_that_are_not_all_printed_is_not_known() -> None:
    assert rounding.of_formula(PAR, {"dpd_90_plus_usd": (Decimal(1), None)}) is None
    parts: dict[str, tuple[Decimal, int | None]] = {
        "dpd_90_plus_usd": (Decimal(1), None),
        "total_receivable_usd": (Decimal(0), 0),
    }
    assert rounding.of_formula(PAR, parts) is None
