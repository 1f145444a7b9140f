"""The bridge as arithmetic: the order of its steps, and that what is put down to loans is the whole move."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.errors import InvariantError
from abaco_loans.kpi.formula import Formula, parse_formula
from abaco_loans.releases.attribution import sums_of, value_of, weights
from abaco_loans.releases.bridge import ORDER, Bridge, Cause, Part, rounds_to, steps, unbridged
from abaco_loans.tape.definition import Boundary, Cover, Definition, DpdMethod, WriteOff
from tests.kpi.tables import builtin_release
from tests.tape.test_servicing_property import definitions

INVESTOR = builtin_release().definitions["investor"]
SHOWN_ONLY = {"name", "version", "description", "default_for", "dpd_edges"}
COLUMNS = ("outstanding_usd", "disbursed_usd", "written_off_usd")
FORMULAS = [
    "SUM(outstanding_usd) / SUM(disbursed_usd) * 100",
    "(SUM(outstanding_usd) + SUM(written_off_usd)) / SUM(disbursed_usd)",
    "SUM(outstanding_usd) / (SUM(disbursed_usd) - SUM(written_off_usd)) * 100",
    "100 - 12 * SUM(outstanding_usd)",
    "-SUM(outstanding_usd) + 5",
    "(10 - SUM(outstanding_usd) / SUM(disbursed_usd)) * (SUM(written_off_usd) / SUM(disbursed_usd) / 10)",
    "SUM(outstanding_usd) * SUM(outstanding_usd) / SUM(disbursed_usd)",
    "7",
]


def by_parameter(definition: Definition) -> dict[str, object]:
    return {name: getattr(definition, name) for _, names in ORDER for name in names}


def test_every_parameter_of_a_definition_is_a_cause_or_changes_no_kpi() -> None:
    assert set(by_parameter(INVESTOR)) | SHOWN_ONLY == {item.name for item in fields(Definition)}


def test_the_steps_of_the_catalogue_definition() -> None:
    candidate = replace(
        INVESTOR, name="catalogue", boundary=Boundary.MORE_THAN, cover=Cover.PRINCIPAL, dust_share=Decimal(0),
        write_off_after_days=None,
    )  # fmt: skip
    assert [(step.cause, step.text) for step in steps(INVESTOR, candidate)] == [
        (Cause.COVER, "cover total_due → principal"),
        (Cause.BOUNDARY, "boundary at_least → more_than"),
        (Cause.DUST, "dust_share 0.01 → 0"),
        (Cause.WRITE_OFF, "write_off_after_days 180 → none"),
    ]
    assert steps(INVESTOR, INVESTOR) == ()


def test_a_write_off_that_stays_is_let_go_before_the_method_changes() -> None:
    stays = replace(INVESTOR, write_off=WriteOff.STICKY)
    strict = replace(INVESTOR, dpd_method=DpdMethod.STRICT)
    assert [step.cause for step in steps(stays, strict)] == [Cause.WRITE_OFF, Cause.DPD_METHOD]
    assert [step.cause for step in steps(strict, stays)] == [Cause.DPD_METHOD, Cause.WRITE_OFF]


@given(old=definitions(), new=definitions())
def test_the_steps_switch_one_cause_each_and_end_at_the_candidate(old: Definition, new: Definition) -> None:
    now = old
    of_cause = dict(ORDER)
    for step in steps(old, new):
        before, after = by_parameter(now), by_parameter(step.definition)
        assert {name for name in after if after[name] != before[name]} <= set(of_cause[step.cause])
        assert after != before
        now = step.definition
        stays = now.write_off is WriteOff.STICKY and now.write_off_after_days is not None
        assert not stays or now.dpd_method is DpdMethod.ROLLING
    assert by_parameter(now) == by_parameter(new)


AMOUNTS = st.decimals(min_value=0, max_value=10**6, places=4)


def parsed(text: str) -> Formula:
    return parse_formula(text, columns=COLUMNS, where="here")


def totals(rows: list[dict[str, Decimal]]) -> dict[str, Fraction]:
    return {name: sum((Fraction(row[name]) for row in rows), Fraction(0)) for name in COLUMNS}


@given(
    old=st.sampled_from(FORMULAS), new=st.sampled_from(FORMULAS), loans=st.lists(st.tuples(*[AMOUNTS] * 6), max_size=6)
)
def test_what_loans_and_the_constant_add_is_the_whole_move(
    old: str, new: str, loans: list[tuple[Decimal, ...]]
) -> None:
    before = [dict(zip(COLUMNS, row[:3], strict=True)) for row in loans]
    after = [dict(zip(COLUMNS, row[3:], strict=True)) for row in loans]
    first, second = parsed(old).tree, parsed(new).tree
    start, end = value_of(first, totals(before)), value_of(second, totals(after))
    if start is None or end is None:
        return
    move = weights(first, second, totals(before), totals(after))
    by_loan = sum((move.of(one, other) for one, other in zip(before, after, strict=True)), Fraction(0))
    assert by_loan + move.constant == end - start
    if old == new:
        assert move.old == move.new
        assert all(move.of(one, one) == 0 for one in before)


def test_a_ratio_is_put_down_to_loans_as_its_quotient_moves() -> None:
    before = {"outstanding_usd": Fraction(30), "disbursed_usd": Fraction(120)}
    after = {"outstanding_usd": Fraction(50), "disbursed_usd": Fraction(160)}
    tree = parsed("SUM(outstanding_usd) / SUM(disbursed_usd) * 100").tree
    move = weights(tree, tree, before, after)
    assert move.new == {
        "outstanding_usd": Fraction(100, 160),
        "disbursed_usd": Fraction(-100 * 30, 120 * 160),
    }


def test_formulas_that_are_no_sums_over_loans_say_why() -> None:
    catalogue = builtin_release().catalogue
    reasons = {kpi.id: sums_of(catalogue, kpi.id).reason for kpi in catalogue.kpis}
    assert reasons["risk.par_30"] == reasons["risk.portfolio_health"] == reasons["finance.weighted_apr"] == ""
    assert reasons["concentration.hhi_customers"] == "concentration.hhi_customers adds up customers, not loans"
    assert reasons["technology.data_quality_score"] == "technology.data_quality_score speaks of the run, not of loans"
    assert reasons["growth.active_clients"].startswith("count(DISTINCT ")
    assert sums_of(catalogue, "risk.portfolio_health").columns[-2:] == ("cash_available_usd", "total_eligible_usd")


def test_a_bridge_closes_or_is_refused() -> None:
    parts = (Part(cause=Cause.COVER, text="", contribution=Fraction(1, 3)),) * 3
    bridge = Bridge(kpi="a.b", baseline=Fraction(1, 7), candidate=Fraction(8, 7), parts=parts)
    assert bridge.difference == 1
    assert bridge.unexplained == 0
    with pytest.raises(InvariantError, match="does not close"):
        replace(bridge, candidate=Fraction(2))


@given(st.lists(st.fractions(max_denominator=10**9), min_size=1, max_size=6))
def test_the_contributions_as_written_sum_to_the_difference_to_the_last_digit(moves: list[Fraction]) -> None:
    parts = tuple(Part(cause=Cause.DUST, text="", contribution=move) for move in moves)
    shown = Bridge(kpi="a.b", baseline=Fraction(1, 7), candidate=Fraction(1, 7) + sum(moves), parts=parts).as_dict()
    written = shown["parts"]
    assert isinstance(written, list)
    with localcontext(prec=200):
        total = sum((Decimal(part["contribution"]) for part in written), Decimal(0))
        assert total == Decimal(str(shown["difference"]))
        assert total == Decimal(str(shown["candidate"])) - Decimal(str(shown["baseline"]))


def test_what_is_not_bridged_is_unexplained_as_a_whole() -> None:
    found = unbridged("a.b", "no rows", Fraction(2), Fraction(5))
    assert found.unexplained == found.difference == 3
    assert found.not_bridged == "no rows"
    assert unbridged("a.b", "no rows", None, Fraction(5)).parts == ()
    assert unbridged("a.b", "no rows", Fraction(5), Fraction(5)).parts == ()


@pytest.mark.parametrize(
    ("value", "printed", "explained"),
    [("2.2107", "2.2", True), ("0.3194", "0.31", False), ("11.9733", "12.0", True), ("2.25", "2.2", True)],
)
def test_rounding_explains_half_a_unit_of_the_last_digit(value: str, printed: str, explained: bool) -> None:
    assert rounds_to(Fraction(value), Decimal(printed)) is explained
