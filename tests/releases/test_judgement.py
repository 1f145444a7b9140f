"""What a gate says: pass, fail or inconclusive, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.kpi.catalogue import Direction, Thresholds
from abaco_loans.releases.comparison import Bridged, Compared, Key, Said, bridged, compare
from abaco_loans.releases.expected import Expected, Measure, Way
from abaco_loans.releases.gate import Gates, Rule
from abaco_loans.releases.judgement import Evidence, GateVerdict, Outcome, judge, settled
from abaco_loans.releases.materiality import Lines, StageMove
from tests.releases.sides import COLLECTION, PAR_30, PAR_90, exact, key, one, printed, said

TODAY = date(2026, 3, 1)
GATES = Gates(metrics={PAR_30: Rule(must_have_data=True), PAR_90: Rule(critical=True)})


def verdict(
    compared: Sequence[Compared],
    gates: Gates = GATES,
    expected: Sequence[Expected] = (),
    moves: Sequence[StageMove] = (),
    on: date = TODAY,
) -> GateVerdict:
    return judge(compared, gates, expected, today=TODAY, compared_on=on, stage_moves=moves)


def prediction(kpi: str = PAR_30, way: Way = Way.DOWN, size: str = "0 1", **given_: Any) -> Expected:
    least, greatest = map(Decimal, size.split())
    made = Expected(key=key(kpi), way=way, least=least, greatest=greatest, why="new dust", until=TODAY, author="ana")
    return replace(made, **given_)


def explained(baseline: str, candidate: str, left: str = "0") -> tuple[Compared, ...]:
    """PAR 30 with a bridge that leaves so much."""
    bridge = Bridged(unexplained=Decimal(left), causes=("dust",))
    return bridged((one(baseline, candidate),), {key(PAR_30): bridge})


def test_the_original_rollout_halts_on_par_90() -> None:
    baseline = printed(par_30="2.2", par_90="0.31", collection_rate="12.0")
    compared = compare([baseline], exact(par_30="2.2107", par_90="0.3194", collection_rate="11.9733"))
    found = verdict(compared)
    assert found.outcome is Outcome.FAIL and found.stops
    assert found.passed == (COLLECTION, PAR_30)
    (reason,) = [item for item in found.reasons if item.key]
    assert reason.key == key(PAR_90) and reason.halts
    assert reason.words == "unexplained: 3.03 %; not by two-decimal rounding"
    assert reason.compared and reason.compared.baseline == Decimal("0.31")
    assert found.score is not None and round(found.score, 1) == Decimal("66.7")
    assert verdict(compared, replace(GATES, dry_run=True)).outcome is Outcome.FAIL
    assert not verdict(compared, replace(GATES, dry_run=True)).stops


@pytest.mark.parametrize(
    ("candidate", "outcome", "halts"),
    [
        ("1000", Outcome.PASS, False),
        ("1000.999", Outcome.PASS, False),
        ("1001", Outcome.FAIL, False),
        ("1010", Outcome.FAIL, False),
        ("1010.001", Outcome.FAIL, True),
        ("0", Outcome.FAIL, True),
    ],
)
def test_the_original_tolerances(candidate: str, outcome: Outcome, halts: bool) -> None:
    found = verdict([one("1000", candidate)])
    assert found.outcome is outcome
    assert any(reason.halts for reason in found.reasons) is halts


def test_up_to_one_percent_an_explanation_helps_and_more_halts() -> None:
    expected = [prediction(way=Way.UP, size="0 100")]
    assert verdict([one("1000", "1005")], expected=expected).outcome is Outcome.PASS
    assert verdict([one("1000", "1011")], expected=expected).outcome is Outcome.FAIL


def test_an_explained_part_of_more_than_one_percent_must_have_been_expected() -> None:
    assert verdict(explained("10", "10.1")).outcome is Outcome.PASS
    big = explained("10", "9")
    found = verdict(big)
    assert found.outcome is Outcome.FAIL
    assert found.reasons[0].words == "explained by dust, but by more than 1 %, and nobody expected it"
    assert verdict(big, expected=[prediction()]).outcome is Outcome.PASS
    assert verdict(explained("10", "9", left="-0.2"), expected=[prediction()]).outcome is Outcome.FAIL
    hidden = explained("10", "10", left="-3")
    assert verdict(hidden).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("given_", "outcome"),
    [
        ({}, Outcome.PASS),
        ({"size": "1 1"}, Outcome.PASS),
        ({"size": "10 10", "measure": Measure.PERCENT}, Outcome.PASS),
        ({"way": Way.EITHER}, Outcome.PASS),
        ({"way": Way.UP}, Outcome.FAIL),
        ({"size": "0 0.99"}, Outcome.FAIL),
        ({"size": "1.01 2"}, Outcome.FAIL),
        ({"size": "1 5", "measure": Measure.PERCENT}, Outcome.FAIL),
        ({"until": TODAY - timedelta(days=1)}, Outcome.FAIL),
        ({"kpi": PAR_90}, Outcome.FAIL),
    ],
)
def test_what_was_expected(given_: dict[str, Any], outcome: Outcome) -> None:
    assert verdict(explained("10", "9"), expected=[prediction(**given_)]).outcome is outcome


def test_a_prediction_that_fails_fails_the_gate() -> None:
    same = [one("10", "10")]
    found = verdict(same, expected=[prediction(size="0.5 1")])
    assert found.outcome is Outcome.FAIL
    assert found.reasons[0].halts
    assert found.reasons[0].words == "was expected to go down by 0.5 to 1, said ana: new dust; it went by 0"
    expired = prediction(size="0.5 1", until=TODAY - timedelta(days=1))
    assert verdict(same, expected=[expired]).outcome is Outcome.PASS
    assert verdict(same, expected=[prediction(size="0 1")]).outcome is Outcome.PASS
    zero = prediction(way=Way.UP, size="1 9", measure=Measure.PERCENT)
    assert verdict([one("0", "5")], expected=[zero]).outcome is Outcome.FAIL


def test_a_prediction_covers_segments_where_it_says_so() -> None:
    cell = key(PAR_30, "product", "leasing")
    bridges = {key(PAR_30): Bridged(unexplained=Decimal(0)), cell: Bridged(unexplained=Decimal(0))}

    def found(value: str, **given_: Any) -> Outcome:
        sides = {key(PAR_30): said("10"), cell: said("10")}, {key(PAR_30): said("9.5"), cell: said(value)}
        compared = bridged(compare([sides[0]], sides[1]), bridges)
        return verdict(compared, expected=[prediction(size="0.4 1", **given_)]).outcome

    assert found("9.8") is Outcome.FAIL
    assert found("9.8", segments=True) is Outcome.PASS
    assert found("10.2", segments=True) is Outcome.FAIL
    assert found("8.5", segments=True) is Outcome.FAIL


def test_a_crossed_line_is_critical_however_small() -> None:
    lines = Lines(
        thresholds={PAR_30: Thresholds(warning=Decimal(5), critical=Decimal(8), direction=Direction.HIGH_IS_BAD)}
    )
    compared = compare([exact(par_30="5.0000001")], exact(par_30="4.9999999"), lines=lines)
    found = verdict(compared)
    assert found.outcome is Outcome.FAIL and found.reasons[0].halts
    assert found.reasons[0].words == "crosses warning threshold 5, and nobody expected it"
    assert verdict(compared, expected=[prediction()]).outcome is Outcome.PASS
    loose = replace(GATES, pass_score=Decimal(0), fail_score=Decimal(0))
    assert verdict(compared, loose).outcome is Outcome.FAIL


def test_a_change_of_stage_is_critical_however_small() -> None:
    same = [one("10", "10")]
    moves = [StageMove(baseline=1, candidate=2, loans=2, balance_usd=Decimal(5))]
    found = verdict(same, moves=moves)
    assert found.outcome is Outcome.FAIL and found.reasons[0].halts
    assert found.reasons[0].words == "2 loan(s) of 5 go stage 1 → stage 2: 0 were expected"
    assert verdict(same, moves=moves, expected=[prediction(stage_loans_max=2)]).outcome is Outcome.PASS
    assert verdict(same, moves=moves, expected=[prediction(stage_loans_max=1)]).outcome is Outcome.FAIL
    failed = prediction(size="1 2", stage_loans_max=2)
    assert len([item for item in verdict(same, moves=moves, expected=[failed]).reasons if item.halts]) == 2


@pytest.mark.parametrize("odd", [None, "NaN", "missing"])
@pytest.mark.parametrize("other", ["1", None, "missing"])
def test_what_is_missing_or_no_number_never_passes(odd: str | None, other: str | None) -> None:
    def only(value: str | None) -> Mapping[Key, Said]:
        return {} if value == "missing" else {key(PAR_30): said(value)}

    for first, second in ((odd, other), (other, odd)):
        found = verdict(compare([only(first)], only(second)))
        assert found.outcome is Outcome.INCONCLUSIVE and found.stops
        assert PAR_30 not in found.passed


def test_what_neither_side_can_say_stops_nothing_unless_it_must_have_data() -> None:
    compared = compare([exact(par_30="1", par_60=None, par_90="1")], exact(par_30="1", par_60=None, par_90="1"))
    found = verdict(compared)
    assert found.outcome is Outcome.PASS and found.score == 100
    assert [reason.outcome for reason in found.reasons] == [Outcome.NOT_JUDGED]
    strict = replace(GATES, metrics={"risk.par_60": Rule(must_have_data=True)})
    assert verdict(compared, strict).outcome is Outcome.INCONCLUSIVE
    assert verdict(compare([exact(par_60=None)], exact(par_60=None)), Gates()).outcome is Outcome.INCONCLUSIVE
    assert verdict((), Gates()).outcome is Outcome.INCONCLUSIVE


def test_what_only_the_candidate_has_is_new_and_what_it_lost_is_not() -> None:
    new = compare([exact(par_30="1")], exact(par_30="1", par_60="2"))
    assert verdict(new).outcome is Outcome.PASS
    lost = compare([exact(par_30="1", par_60="2")], exact(par_30="1"))
    assert verdict(lost).outcome is Outcome.INCONCLUSIVE
    cells = {key(PAR_30, "product", "a"): said("1")}
    whole = {key(PAR_30): said("1")}
    assert verdict(compare([whole], {**whole, **cells})).outcome is Outcome.PASS
    other = {key(PAR_30, "product", "b"): said("1")}
    assert verdict(compare([{**whole, **other}], {**whole, **cells})).outcome is Outcome.INCONCLUSIVE
    unseen = Gates(others=Rule(segments=False))
    assert verdict(compare([{**whole, **other}], {**whole, **cells}), unseen).outcome is Outcome.PASS


@pytest.mark.parametrize("days", [8, -1])
def test_a_comparison_that_comes_late_proves_nothing(days: int) -> None:
    same = [one("1", "1")]
    assert verdict(same, on=TODAY - timedelta(days=7)).outcome is Outcome.PASS
    late = verdict(same, on=TODAY - timedelta(days=days))
    assert late.outcome is Outcome.INCONCLUSIVE
    assert f"{days} days old" in late.reasons[0].words


def test_a_baseline_that_wavers_too_much_cannot_be_judged_by() -> None:
    compared = compare([exact(par_30="1"), exact(par_30="1.02")], exact(par_30="1.01"))
    found = verdict(compared)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "repeats differ by 0.02" in found.reasons[0].words


def test_weights_make_the_score() -> None:
    gates = Gates(
        metrics={PAR_30: Rule(weight=3), PAR_90: Rule(weight=1)}, pass_score=Decimal(90), fail_score=Decimal(70)
    )

    def scored(**candidate: str) -> GateVerdict:
        return verdict(compare([exact(par_30="1000", par_90="1000")], exact(**candidate)), gates)

    assert scored(par_30="1000", par_90="1000").score == 100
    found = scored(par_30="1000", par_90="1005")
    assert found.score == 75 and found.outcome is Outcome.INCONCLUSIVE
    assert scored(par_30="1005", par_90="1000").outcome is Outcome.FAIL
    assert scored(par_30="1000", par_90="1011").outcome is Outcome.FAIL  # halts, whatever the score
    easy = replace(gates, pass_score=Decimal(50), fail_score=Decimal(50))
    compared = compare([exact(par_30="1000", par_90="1000")], exact(par_30="1000", par_90="1005"))
    assert verdict(compared, easy).outcome is Outcome.PASS
    critical = replace(easy, metrics={**gates.metrics, PAR_90: Rule(critical=True)})
    assert verdict(compared, critical).outcome is Outcome.FAIL


@given(
    values=st.dictionaries(
        st.sampled_from(["par_30", "par_90", "collection_rate"]),
        st.tuples(
            st.one_of(st.none(), st.decimals("0.01", 100, places=4)),
            st.sampled_from([Decimal("0"), Decimal("0.02"), Decimal("-0.2"), None]),
        ),
        min_size=1,
    ),
    pass_score=st.integers(0, 100),
)
def test_a_pass_has_no_halt_and_no_gap(
    values: dict[str, tuple[Decimal | None, Decimal | None]], pass_score: int
) -> None:
    baseline = {key(f"risk.{name}"): said(value) for name, (value, _) in values.items()}
    candidate = {
        key(f"risk.{name}"): said(None if value is None or shift is None else value * (1 + shift))
        for name, (value, shift) in values.items()
    }
    gates = replace(GATES, pass_score=Decimal(pass_score), fail_score=Decimal(0))
    found = verdict(compare([baseline], candidate), gates)
    moved = [name for name, (value, shift) in values.items() if value is not None and shift != 0]
    if moved or values.get("par_30", (None,))[0] is None:
        assert found.outcome is not Outcome.PASS
    else:
        assert found.outcome is Outcome.PASS and found.passed


# --- enough evidence -----------------------------------------------------------------------------------------

STRICT = replace(GATES, tapes_min=2, consecutive_passes=3)


def evidence(text: str, gates: Gates = STRICT, **given_: Any) -> list[Evidence]:
    """Verdicts from ``1p 2f 1i``: tape and outcome, oldest first."""
    outcomes = {"p": Outcome.PASS, "f": Outcome.FAIL, "i": Outcome.INCONCLUSIVE}
    return [
        Evidence(tape=item[0], on=TODAY, outcome=outcomes[item[1]], gates_digest=gates.digest(), **given_)
        for item in text.split()
    ]


@pytest.mark.parametrize(
    ("history", "outcome"),
    [
        ("", Outcome.INCONCLUSIVE),
        ("1p 2p 1p", Outcome.PASS),
        ("1f 1p 2p 1p", Outcome.PASS),
        ("1p 1p 1p", Outcome.INCONCLUSIVE),
        ("1p 2p", Outcome.INCONCLUSIVE),
        ("1p 2f 1p 2p", Outcome.INCONCLUSIVE),
        ("1p 2p 1i", Outcome.INCONCLUSIVE),
        ("1p 2p 1p 2f", Outcome.FAIL),
    ],
)
def test_enough_passes_in_a_row_on_enough_tapes(history: str, outcome: Outcome) -> None:
    assert settled(evidence(history), STRICT, today=TODAY).outcome is outcome


def test_other_gates_dry_runs_and_old_verdicts_are_no_evidence() -> None:
    passes = "1p 2p 1p"
    assert settled(evidence(passes, GATES), STRICT, today=TODAY).outcome is Outcome.INCONCLUSIVE
    assert settled(evidence(passes, dry_run=True), STRICT, today=TODAY).outcome is Outcome.INCONCLUSIVE
    late = settled(evidence(passes), STRICT, today=TODAY + timedelta(days=8))
    assert late.outcome is Outcome.INCONCLUSIVE and "8 days old" in late.words
    found = settled(evidence(passes), STRICT, today=TODAY)
    assert (found.passes, found.tapes, len(found.used)) == (3, 2, 3)
