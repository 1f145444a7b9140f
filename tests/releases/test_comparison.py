"""Two releases side by side: what is the same, what is not, and what can be said of it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.kpi.catalogue import Direction, Thresholds
from abaco_loans.kpi.result import KpiResult, Status
from abaco_loans.portfolio.policy import Covenant
from abaco_loans.releases.comparison import (
    Bridged,
    Compared,
    Key,
    Said,
    Tolerance,
    Tolerances,
    Verdict,
    bridged,
    compare,
    side,
)
from abaco_loans.releases.materiality import Lines
from tests.kpi.tables import builtin_release
from tests.releases.sides import COLLECTION, PAR_30, PAR_90, exact, key, one, printed, said

CENT = Decimal("0.01")


def by_kpi(found: tuple[Compared, ...]) -> dict[str, Compared]:
    return {item.key.kpi: item for item in found}


def test_the_original_rollout_to_the_digit() -> None:
    baseline = printed(par_30="2.2", par_90="0.31", collection_rate="12.0")
    found = by_kpi(compare([baseline], exact(par_30="2.2107", par_90="0.3194", collection_rate="11.9733")))
    shown = {kpi: (item.variance_percent or Decimal(0)).quantize(CENT) for kpi, item in found.items()}
    assert shown == {PAR_30: Decimal("0.49"), PAR_90: Decimal("3.03"), COLLECTION: Decimal("0.22")}
    assert found[PAR_30].words == found[COLLECTION].words == "explained by one-decimal rounding"
    assert found[PAR_30].verdict is found[COLLECTION].verdict is Verdict.EXPLAINED
    assert found[PAR_30].unexplained == 0 and found[PAR_30].explained == Decimal("0.0107")
    assert found[PAR_90].verdict is Verdict.UNEXPLAINED
    assert found[PAR_90].words == "unexplained: 3.03 %; not by two-decimal rounding"
    assert found[PAR_90].unexplained == Decimal("0.0094")


def test_the_original_rollout_as_it_was_reported() -> None:
    baseline = printed(par_30="2.2", par_90="0.31", collection_rate="12.0")
    found = by_kpi(compare([baseline], printed(par_30="2.21", par_90="0.32", collection_rate="11.97")))
    shown = {kpi: (item.variance_percent or Decimal(0)).quantize(CENT) for kpi, item in found.items()}
    assert shown == {PAR_30: Decimal("0.45"), PAR_90: Decimal("3.23"), COLLECTION: Decimal("0.25")}
    assert [found[kpi].verdict for kpi in (PAR_30, PAR_90, COLLECTION)] == [
        Verdict.EXPLAINED,
        Verdict.UNEXPLAINED,
        Verdict.EXPLAINED,
    ]


@pytest.mark.parametrize(
    ("baseline", "candidate", "verdict"),
    [
        ("1000", "1000.0", Verdict.SAME),
        ("1000", "1000.999", Verdict.WITHIN_TOLERANCE),
        ("1000", "1001", Verdict.UNEXPLAINED),
        ("1000", "1010", Verdict.UNEXPLAINED),
        ("-2", "2", Verdict.UNEXPLAINED),
        ("0", "0.00", Verdict.SAME),
        ("1E+61", "1E+61", Verdict.NOT_COMPARABLE),
        ("1E-999999", "1", Verdict.NOT_COMPARABLE),
        ("1E+999999", "1", Verdict.NOT_COMPARABLE),
    ],
)
def test_verdicts(baseline: str, candidate: str, verdict: Verdict) -> None:
    assert one(baseline, candidate).verdict is one(candidate, baseline).verdict is verdict


def test_zero_against_something_is_not_zero_percent() -> None:
    found = one("0", "0.000001")
    assert found.verdict is Verdict.UNEXPLAINED
    assert found.variance_percent is None and found.unexplained_percent is None
    assert "no ratio" in found.words
    back = one("0.000001", "0")
    assert back.variance_percent == 100 and back.unexplained_percent is None
    rounded = compare([printed(par_30="0.0")], exact(par_30="0.04"))[0]
    assert rounded.verdict is Verdict.EXPLAINED and rounded.explained_percent is None


@pytest.mark.parametrize("odd", [None, "NaN", "Infinity", "-Infinity", "sNaN"])
def test_no_number_is_never_a_pass(odd: str | None) -> None:
    for first, second in ((odd, "1"), ("1", odd), (odd, "NaN")):
        found = one(first, second)
        assert found.verdict is Verdict.NOT_COMPARABLE
        assert not found.agrees
        assert found.difference is None and found.variance_percent is None and found.words


def test_neither_computable_for_the_same_reason_agrees() -> None:
    same = one(None, None)
    assert same.verdict is Verdict.NOT_COMPARABLE and same.agrees
    assert same.words == "both: not computable: there are no rows"

    def against(first: Said, second: Said) -> Compared:
        return compare([{key(PAR_30): first}], {key(PAR_30): second})[0]

    assert against(said(None, ""), said(None)).agrees
    assert not against(said(None, "the denominator is zero"), said(None)).agrees
    assert not against(Said(status=Status.SUPPRESSED, reason="there are no rows"), said(None)).agrees


def test_one_side_only() -> None:
    cell = key(PAR_30, "product", "leasing")
    baseline = {key(PAR_30): said("1"), key(PAR_90): said("1")}
    candidate = {key(PAR_30): said("1"), key(COLLECTION): said("1"), cell: said("1")}
    found = {item.key: item for item in compare([baseline], candidate)}
    assert found[key(PAR_90)].words == "the candidate does not say it" and found[key(PAR_90)].baseline_knows
    assert found[key(COLLECTION)].words == "the baseline does not say it"
    assert not found[key(COLLECTION)].baseline_knows and not found[cell].baseline_knows
    with_segments = compare([{**baseline, key(PAR_30, "product", "factoring"): said("1")}], candidate)
    assert {item.key: item.baseline_knows for item in with_segments}[cell]


def test_units_grains_and_currencies_must_agree_as_far_as_both_say() -> None:
    def against(first: dict[str, str], second: dict[str, str]) -> Compared:
        value = said("1")
        return compare([{key(PAR_30): replace(value, basis=first)}], {key(PAR_30): replace(value, basis=second)})[0]

    assert against({"unit": "%", "currency": "USD"}, {"unit": "%", "currency": "HNL"}).verdict is Verdict.NOT_COMPARABLE
    assert against({"currency": "USD"}, {"currency": "HNL"}).words == "currency USD is not currency HNL"
    assert against({}, {"currency": "HNL"}).verdict is Verdict.SAME


def test_a_side_from_results() -> None:
    kpi = builtin_release().catalogue.get(PAR_30)
    results = [
        KpiResult(kpi=kpi, status=Status.OK, value=Decimal("2.21"), value_exact=Decimal("2.2107")),
        KpiResult(kpi=kpi, segment="product", segment_value="x", status=Status.SUPPRESSED, reason="few"),
    ]
    found = side(results, currency="USD")
    assert found[key(PAR_30)].value_exact == Decimal("2.2107")
    assert found[key(PAR_30)].basis == {"unit": "%", "grain": "loan", "currency": "USD"}
    assert found[key(PAR_30, "product", "x")].unusable == "suppressed: few"


def test_printed_components_narrow_what_rounding_can_explain() -> None:
    value = Said(value_exact=Decimal("2.2"), printed_decimals=1)
    narrow = replace(value, within=(Fraction(215, 100), Fraction(220, 100)))
    for baseline, verdict in ((value, Verdict.EXPLAINED), (narrow, Verdict.UNEXPLAINED)):
        assert compare([{key(PAR_30): baseline}], exact(par_30="2.2107"))[0].verdict is verdict


@pytest.mark.parametrize(
    ("baseline", "candidate", "crossed"),
    [
        ("4.9999999", "5", ("warning threshold 5",)),
        ("5", "5.0000001", ()),
        ("7.9999", "8", ("critical threshold 8",)),
        ("4", "9", ("warning threshold 5", "critical threshold 8")),
        ("10", "9.999", ("covenant 'PAR 30' 10",)),
    ],
)
def test_what_crosses_a_line_says_so(baseline: str, candidate: str, crossed: tuple[str, ...]) -> None:
    limits = Thresholds(warning=Decimal(5), critical=Decimal(8), direction=Direction.HIGH_IS_BAD)
    covenant = Covenant(name="PAR 30", kpi=PAR_30, limit=Decimal(10), direction=Direction.HIGH_IS_BAD)
    lines = Lines(thresholds={PAR_30: limits}, covenants=(covenant,))
    for first, second in ((baseline, candidate), (candidate, baseline)):
        assert compare([exact(par_30=first)], exact(par_30=second), lines=lines)[0].crossed == crossed


def test_low_is_bad_is_breached_at_or_below() -> None:
    limits = Thresholds(warning=Decimal("1.5"), critical=Decimal(1), direction=Direction.LOW_IS_BAD)
    lines = Lines(thresholds={COLLECTION: limits})
    assert lines.crossed(COLLECTION, Decimal("1.5"), Decimal("1.51")) == ("warning threshold 1.5",)
    assert lines.crossed(COLLECTION, Decimal("1.5"), Decimal("1.49")) == ()


def test_a_bridge_says_what_is_left() -> None:
    compared = (one("10", "12"),)

    def after(left: str) -> Compared:
        return bridged(compared, {key(PAR_30): Bridged(unexplained=Decimal(left), causes=("boundary",))})[0]

    assert after("0").verdict is Verdict.EXPLAINED
    assert after("0").words == "explained by boundary"
    assert after("0").explained == 2 and after("0").explained_percent == 20
    assert after("0.005").verdict is Verdict.EXPLAINED and after("0.005").unexplained_percent == Decimal("0.05")
    assert after("-0.05").verdict is Verdict.UNEXPLAINED and after("-0.05").explained == Decimal("2.05")
    assert after("NaN").verdict is Verdict.NOT_COMPARABLE
    hidden = bridged((one("10", "10"),), {key(PAR_30): Bridged(unexplained=Decimal(-3), causes=("dust",))})[0]
    assert hidden.verdict is Verdict.UNEXPLAINED and hidden.explained == 3
    same = bridged((one("10", "10"),), {key(PAR_30): Bridged(unexplained=Decimal(0))})[0]
    assert same.verdict is Verdict.SAME
    assert bridged(compared, {}) == compared


# --- properties ----------------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.none(),
    st.decimals(-1000, 1000, places=3),
    st.sampled_from([Decimal(0), Decimal(100), Decimal("100.1"), Decimal(101), Decimal("NaN"), Decimal("Infinity")]),
)
SAID = st.builds(
    lambda value, decimals: Said(
        value_exact=value,
        printed_decimals=decimals if value is not None else None,
        status=Status.NOT_COMPUTABLE if value is None else Status.OK,
    ),
    VALUES,
    st.sampled_from([None, None, 0, 1, 3]),
)
KEYS = st.builds(
    Key,
    kpi=st.sampled_from([PAR_30, PAR_90]),
    segment=st.just("product"),
    segment_value=st.sampled_from(["a", "b", "c"]),
)
SIDES = st.dictionaries(KEYS, SAID, max_size=6)


@given(first=SIDES, second=SIDES)
def test_both_ways_agree(first: dict[Key, Said], second: dict[Key, Said]) -> None:
    there, back = compare([first], second), compare([second], first)
    assert [(item.key, item.verdict, item.agrees) for item in there] == [
        (item.key, item.verdict, item.agrees) for item in back
    ]
    for one_way, other_way in zip(there, back, strict=True):
        if one_way.difference is not None and other_way.difference is not None:
            assert one_way.difference == -other_way.difference
            assert one_way.unexplained_percent == other_way.unexplained_percent
    missing = [item for item in there if item.key not in first or item.key not in second]
    assert all(item.verdict is Verdict.NOT_COMPARABLE and not item.agrees for item in missing)


@given(values=SIDES, repeats=st.integers(1, 3))
def test_compared_with_itself_all_is_the_same(values: dict[Key, Said], repeats: int) -> None:
    for item in compare([values] * repeats, values):
        usable = not values[item.key].unusable
        assert item.verdict is (Verdict.SAME if usable else Verdict.NOT_COMPARABLE)
        assert not usable or (item.noise == 0 and item.variance_percent == 0 and item.agrees)


@given(
    value=st.decimals("0.001", 10**9, places=3),
    shift=st.decimals("0.1", 50, places=6),
    sign=st.sampled_from([1, -1]),
)
def test_a_planted_shift_is_never_a_pass(value: Decimal, shift: Decimal, sign: int) -> None:
    planted = value * (1 + sign * shift / 100)
    found = one(value, planted)
    assert found.verdict is Verdict.UNEXPLAINED
    assert abs(Fraction(found.difference or 0)) == abs(Fraction(planted) - Fraction(value))


# --- noise ---------------------------------------------------------------------------------------------------

REPEATS = 8


def noisy(rng: Random, shift: Decimal = Decimal(0)) -> dict[Key, Said]:
    """One run of a program whose PAR 30 wavers by up to 0.2 %."""
    wavers = Decimal(rng.randint(-2000, 2000)) / 1_000_000
    return {key(PAR_30): said(Decimal("7.35") * (1 + shift) * (1 + wavers))}


def test_the_noise_floor_covers_noise_and_not_a_shift() -> None:
    passes = (Verdict.SAME, Verdict.WITHIN_TOLERANCE)
    for seed in range(20):
        rng = Random(seed)
        baseline = [noisy(rng) for _ in range(REPEATS)]
        equal, shifted = compare(baseline, noisy(rng))[0], compare(baseline, noisy(rng, Decimal("0.01")))[0]
        assert equal.noise and equal.noise > 0
        assert equal.verdict in passes, seed
        assert shifted.verdict is Verdict.UNEXPLAINED, seed


def test_the_noise_of_a_deterministic_release_is_exactly_zero() -> None:
    runs = [exact(par_30="7.3500"), exact(par_30="7.35"), exact(par_30="7.35")]
    assert compare(runs, exact(par_30="7.36"))[0].noise == 0


def test_a_baseline_that_did_not_say_it_every_time_cannot_be_compared() -> None:
    for other in ({}, exact(par_30=None), exact(par_30="NaN")):
        found = compare([exact(par_30="1"), other], exact(par_30="1"))[0]
        assert found.verdict is Verdict.NOT_COMPARABLE and not found.agrees
    with pytest.raises(ValueError, match="has not run"):
        compare([], exact(par_30="1"))


def test_tolerances_by_kpi() -> None:
    wide = Tolerances(by_kpi={PAR_30: Tolerance(pass_percent=Decimal(20), halt_percent=Decimal(30))})
    found = by_kpi(compare([exact(par_30="1", par_90="1")], exact(par_30="1.1", par_90="1.1"), wide))
    assert found[PAR_30].verdict is Verdict.WITHIN_TOLERANCE
    assert found[PAR_90].verdict is Verdict.UNEXPLAINED
