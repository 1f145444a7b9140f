"""Series: thinning, changes, anomalies; worked by hand, and the laws that hold for any series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.portfolio.series import (
    Anomaly,
    Change,
    Every,
    Series,
    anomalies,
    change,
    changes,
    is_month_end,
    months_before,
    thinned,
)

START = date(2025, 1, 1)


def daily(values: Sequence[Decimal | int | str | None], start: date = START) -> dict[date, Decimal | None]:
    return {
        start + timedelta(days=index): None if value is None else Decimal(value) for index, value in enumerate(values)
    }


def monthly(values: Sequence[Decimal | int | str | None]) -> dict[date, Decimal | None]:
    """Values at the month ends from January 2020 on."""
    return {
        date(2020 + (index + 1) // 12, (index + 1) % 12 + 1, 1) - timedelta(days=1): None
        if value is None
        else Decimal(value)
        for index, value in enumerate(values)
    }


def last(series: Series) -> Anomaly | None:
    return anomalies(series).get(max(series))


@pytest.mark.parametrize(
    ("day", "months", "earlier"),
    [
        ("2025-03-31", 1, "2025-02-28"),
        ("2024-02-29", 12, "2023-02-28"),
        ("2025-02-28", 12, "2024-02-29"),
        ("2025-04-30", 1, "2025-03-31"),
        ("2025-01-31", 3, "2024-10-31"),
        ("2025-03-30", 1, "2025-02-28"),
        ("2025-12-15", 12, "2024-12-15"),
    ],
)
def test_the_same_day_months_before(day: str, months: int, earlier: str) -> None:
    assert months_before(date.fromisoformat(day), months) == date.fromisoformat(earlier)


@given(st.dates(min_value=date(1950, 1, 1)), st.integers(0, 36))
def test_a_month_end_goes_back_to_a_month_end_in_the_right_month(day: date, months: int) -> None:
    earlier = months_before(day, months)
    assert (day.year - earlier.year) * 12 + day.month - earlier.month == months
    assert is_month_end(earlier) or not is_month_end(day)


def test_the_dates_that_count() -> None:
    days = [date(2025, 12, 26) + timedelta(days=n) for n in range(12)]  # Friday 26 December to Tuesday 6 January
    assert thinned(reversed(days), Every.DAY) == tuple(days)
    assert thinned([*days, *days], Every.WEEK) == (date(2025, 12, 28), date(2026, 1, 4), date(2026, 1, 6))
    assert thinned(days, Every.MONTH) == (date(2025, 12, 31),)
    assert thinned([date(2025, 11, 28)], Every.MONTH) == (), "the last weekday of a month is not its end"
    assert thinned([], Every.WEEK) == ()


def test_changes_since_a_month_a_quarter_and_a_year() -> None:
    series: Series = {
        date(2024, 2, 29): Decimal(4),
        date(2024, 11, 30): Decimal(0),
        date(2025, 1, 30): Decimal(99),
        date(2025, 1, 31): None,
        date(2025, 2, 28): Decimal(5),
    }
    assert changes(series, date(2025, 2, 28)) == {
        "month": None,
        "quarter": Change(absolute=Decimal(5), relative=None),
        "year": Change(absolute=Decimal(1), relative=Decimal("0.25")),
    }
    assert set(changes(series, date(2025, 1, 31)).values()) == {None}
    assert changes({}, date(2025, 1, 31)) == {"month": None, "quarter": None, "year": None}


def test_a_relative_change_has_the_sign_of_the_change() -> None:
    assert change(Decimal(-4), Decimal(-5)) == Change(absolute=Decimal(-1), relative=Decimal("-0.25"))
    assert change(Decimal(3), Decimal(4)) == Change(
        absolute=Decimal(1), relative=Decimal("0.3333333333333333333333333333")
    )


def test_a_score_by_hand() -> None:
    # 1..6: median 3.5; deviations 2.5 1.5 0.5 0.5 1.5 2.5, their median 1.5; 0.6745 × 16.5 / 1.5
    found = last(daily([1, 2, 3, 4, 5, 6, 20]))
    assert found == Anomaly(
        score=Decimal("7.4195"),
        distance=Decimal("16.5"),
        median=Decimal("3.5"),
        mad=Decimal("1.5"),
        before=6,
        seasonal=False,
        flagged=True,
    )
    assert found.words == "unusual: 7.4 robust deviations above the median of the 6 before"
    below = last(daily([1, 2, 3, 4, 5, 6, -13]))
    assert below is not None
    assert (below.score, below.flagged) == (Decimal("-7.4195"), True)
    assert below.words == "unusual: 7.4 robust deviations below the median of the 6 before"


@pytest.mark.parametrize(("value", "flagged"), [("3.5", False), ("-3.5", False), ("3.5001", True), ("-3.5001", True)])
def test_only_beyond_the_limit_is_unusual(value: str, flagged: bool) -> None:
    # median 0, MAD 0.6745: the score is the value itself
    found = last(daily(["-1.349", "-0.6745", "-0.6745", "0.6745", "0.6745", "1.349", value]))
    assert found is not None
    assert (found.score, found.flagged) == (Decimal(value), flagged)
    assert bool(found.words) == flagged


def test_six_values_must_lie_before_and_gaps_are_none() -> None:
    assert last(daily([1, 2, 3, 4, 5, 600])) is None
    assert last(daily([1, 2, 3, None, 4, 5, 600])) is None
    series = daily([1, 2, 3, None, 4, 5, 6, None, 600])
    found = last(series)
    assert found is not None
    assert (found.before, found.flagged) == (6, True)
    assert list(anomalies(series)) == [max(series)]


def test_the_past_reaches_back_24_values() -> None:
    values = [*[1000] * 30, *(10 + n % 2 for n in range(24)), 12]
    found = last(daily(values))
    assert found is not None
    assert (found.before, found.median, found.mad) == (24, Decimal("10.5"), Decimal("0.5"))


def test_against_a_constant_past_any_difference_is_unusual() -> None:
    third = Decimal(20) / 3  # 28 digits, the sum of two has 29
    same = last(daily([third] * 7))
    assert same is not None
    assert (same.score, same.distance, same.flagged, same.words) == (None, Decimal(0), False, "")
    found = last(daily([third] * 6 + [third - Decimal("1E-27")]))
    assert found is not None
    assert (found.score, found.mad, found.flagged) == (None, Decimal(0), True)
    assert found.words == "unusual: below the median of the 6 before, and the past is constant"


def two_years() -> list[int]:
    """Year one has a season; each month of year two is 1 .. 12 above it."""
    first = [100, 100, 100, 100, 100, 400, 400, 100, 100, 100, 100, 900]
    return [*first, *(value + step for step, value in enumerate(first, 1))]


def test_a_season_by_hand() -> None:
    # differences before: 1 .. 12, median 6.5, MAD 3; January: 127.5 − 101 = 26.5, so 0.6745 × 20 / 3
    found = last(monthly([*two_years(), "127.5"]))
    assert found is not None
    assert (found.seasonal, found.before, found.median, found.mad) == (True, 12, Decimal("6.5"), Decimal(3))
    assert found.score == Decimal("4.496666666666666666666666667")
    assert found.words == (
        "unusual: its change in 12 months is 4.5 robust deviations above the median of the 12 before"
    )
    third = [value + 7 for value in two_years()[12:]]
    assert not any(item.flagged for day, item in anomalies(monthly([*two_years(), *third])).items() if day.year == 2022)


def test_a_season_needs_24_month_ends_before_and_the_month_a_year_earlier() -> None:
    short = last(monthly([*two_years()[1:], 127]))
    assert short is not None
    assert not short.seasonal
    series = monthly([*two_years(), *two_years(), 127])
    del series[date(2023, 1, 31)]
    missing = last(series)
    assert missing is not None
    assert (missing.seasonal, missing.before) == (False, 24)
    shifted = {day + timedelta(days=1): value for day, value in monthly([*two_years(), 127]).items()}
    odd = last(shifted)
    assert odd is not None
    assert not odd.seasonal


numbers = st.decimals(min_value=-1000, max_value=1000, places=4)


@given(st.data(), st.lists(numbers, min_size=1, max_size=60), numbers, st.sampled_from([daily, monthly]))
def test_the_baseline_never_contains_the_value_under_test(
    data: st.DataObject, values: list[Decimal], other: Decimal, make: Callable[[list[Decimal]], Series]
) -> None:
    series = make(values)
    day = data.draw(st.sampled_from(sorted(series)))
    before, after = anomalies(series), anomalies({**series, day: other})

    def baseline(item: Anomaly | None) -> object:
        return item and (item.median, item.mad, item.before, item.seasonal)

    assert baseline(before.get(day)) == baseline(after.get(day))
    assert {past: item for past, item in before.items() if past < day} == {
        past: item for past, item in after.items() if past < day
    }, "what comes later changes nothing"


@given(numbers, st.integers(0, 60))
def test_a_constant_series_has_no_anomalies(value: Decimal, length: int) -> None:
    for series in (daily([value / 3] * length), monthly([value / 3] * length)):
        assert not any(item.flagged for item in anomalies(series).values())


@given(
    st.lists(st.decimals(min_value=0, max_value=1, places=4), min_size=6, max_size=60),
    st.sampled_from([-1000, 1000]),
)
def test_a_spike_is_found(values: list[Decimal], spike: int) -> None:
    for series in (daily([*values, spike]), monthly([*values, spike])):
        found = last(series)
        assert found is not None
        assert found.flagged
        assert ("above" if spike > 0 else "below") in found.words
