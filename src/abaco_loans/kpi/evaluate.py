"""From the engine's sums to KPI results: exact arithmetic, statuses, bounds, reasons."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import Any

from abaco_loans.kpi.catalogue import Grain, Kpi
from abaco_loans.kpi.compiler import CUSTOMER, Cell, Compiled
from abaco_loans.kpi.formula import Interval, Ratio, as_decimal, as_ratio, interval, rounded
from abaco_loans.kpi.result import COUNTS_QUARANTINE, KpiResult, Status, judged
from abaco_loans.kpi.suppression import suppressed_cells
from abaco_loans.tape.calculation import BY_DAYS, is_money

MISSING_VALUE = "(none)"
_LENT = "disbursed_in_period_usd"
_LIKE_MISSING = re.compile(r"\(+none\)+")
CELLS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What the quarantined rows could add to each component; ``reasons`` says why one cannot be priced.

    ``count`` 0 means that nothing is quarantined, and every bound is the value itself.
    """

    count: int = 0
    ranges: Mapping[str, Interval] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    general_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All results: overall ones in catalogue order, those of segments, and dimensions with too many values."""

    overall: tuple[KpiResult, ...]
    segments: tuple[KpiResult, ...]
    left_out: Mapping[str, int]


def evaluate(
    compiled: Compiled, cells: Mapping[Grain, Sequence[Cell]], facts: Mapping[str, int], prices: Prices
) -> Evaluation:
    """Evaluate every KPI in every cell.

    Args:
        compiled: what was compiled.
        cells: per grain, what its statement found (`Statement.cells`).
        facts: facts of the run by name, without ``run.``; none for a date in the past.
        prices: what the quarantined rows could add.
    """
    by_place: dict[tuple[str, str | None], dict[Grain, Cell]] = {}
    for grain, found in cells.items():
        for cell in found:
            by_place.setdefault((cell.segment, cell.segment_value), {})[grain] = cell
    whole = by_place.pop(("", None), {})
    overall = _in_place(compiled, whole, facts, prices)
    counts: dict[str, int] = {}
    for segment, _ in by_place:
        counts[segment] = counts.get(segment, 0) + 1
    left_out = {segment: count for segment, count in counts.items() if count > CELLS_MAX}
    hidden = suppressed_cells(
        {place: cell[Grain.LOAN].members for place, cell in by_place.items() if Grain.LOAN in cell}
    )
    segments: list[KpiResult] = []
    for place, found_here in by_place.items():
        if place[0] not in left_out:
            segments += _segment(compiled, place, found_here, place in hidden)
    return Evaluation(overall=tuple(overall), segments=tuple(segments), left_out=left_out)


def _segment(
    compiled: Compiled, place: tuple[str, str | None], cells: Mapping[Grain, Cell], hidden: bool
) -> list[KpiResult]:
    segment, value = place[0], shown_value(place[1])
    kpis = [kpi for kpi in compiled.catalogue.kpis if kpi.segmented]
    if hidden:
        return [
            KpiResult(
                kpi=kpi,
                segment=segment,
                segment_value=value,
                status=Status.SUPPRESSED,
                reason="fewer than 3 customers, or it would give such a cell away",
            )
            for kpi in kpis
        ]
    unpriced = Prices(count=1, general_reason="quarantined rows are priced overall, not by segment")
    results = _in_place(compiled, cells, {}, unpriced, segment, value)
    return [result for result in results if result.kpi.segmented]


def shown_value(value: str | None) -> str:
    """A segment's value as shown; one that reads like the missing value gets one more pair of brackets."""
    if value is None:
        return MISSING_VALUE
    return f"({value})" if _LIKE_MISSING.fullmatch(value) else value


def _in_place(
    compiled: Compiled,
    cells: Mapping[Grain, Cell],
    facts: Mapping[str, int],
    prices: Prices,
    segment: str = "",
    segment_value: str = "",
) -> list[KpiResult]:
    known: dict[str, Ratio] = {f"run.{name}": (value, 1) for name, value in facts.items()}
    ranges: dict[str, Interval] = {}
    failed: dict[str, str] = {}
    results: list[KpiResult] = []
    for kpi in compiled.catalogue.kpis:
        never = compiled.never.get(kpi.id)
        if not facts and not segment and kpi.formula.facts:
            never = KpiResult(kpi=kpi, status=Status.NOT_COMPUTABLE, reason="speaks of a run, not of a date")
        if never is not None:
            results.append(replace(never, segment=segment, segment_value=segment_value) if segment else never)
            continue
        result, exact, bound = _one(kpi, cells, known, failed, prices, ranges, segment, segment_value)
        results.append(result)
        if exact is None:
            failed[kpi.id] = result.reason
        else:
            known[kpi.id] = exact
        if bound is not None:
            ranges[kpi.id] = bound
    return results


def _missing(kpi: Kpi, cell: Cell | None, failed: Mapping[str, str], segment: str) -> str:
    """Why the KPI has no value here; empty when it may have one."""
    if segment and kpi.formula.facts:
        return "speaks of the whole run"
    for name in kpi.formula.kpis:
        if name in failed:
            return f"{name} is not computable: {failed[name]}"
    if not kpi.formula.components:
        return ""
    if cell is None or cell.rows == 0:
        return "there are no rows"
    if cell.unpriced and any(is_money(name) for name in kpi.formula.columns):
        return f"{cell.unpriced} row(s) are in a currency without a rate"
    for name in kpi.formula.columns:
        lacking = cell.rows - cell.filled.get(name, cell.rows)
        if lacking and name in BY_DAYS:
            return f"{lacking} row(s) have no days past due under this definition"
        if lacking and name == _LENT:
            return f"{lacking} row(s) of loans disbursed in the period do not say how much"
    for item in kpi.formula.components:
        if cell.values.get(item.name) is None:
            return f"needs {' and '.join(item.columns) or item.name}: no row has a value"
    return ""


def _one(
    kpi: Kpi,
    cells: Mapping[Grain, Cell],
    known: Mapping[str, Ratio],
    failed: Mapping[str, str],
    prices: Prices,
    ranges: Mapping[str, Interval],
    segment: str,
    segment_value: str,
) -> tuple[KpiResult, Ratio | None, Interval | None]:
    cell = cells.get(kpi.grain)
    loan_cell = cells.get(Grain.LOAN)
    unpriced = loan_cell.unpriced if loan_cell else 0
    values = cell.values if cell else {}
    components = {item.name: values.get(item.name) for item in kpi.formula.components}
    null_counts = (
        {name: cell.rows - cell.filled[name] if name in cell.filled else 0 for name in kpi.formula.columns}
        if cell and kpi.grain is Grain.LOAN
        else {}
    )
    shown: dict[str, Any] = {
        "kpi": kpi,
        "segment": segment,
        "segment_value": segment_value,
        "components": components if any(v is not None for v in components.values()) else {},
        "rows_used": cell.rows if cell and components else None,
        "null_counts": null_counts,
    }
    reason = _missing(kpi, cell, failed, segment)
    if not reason and loan_cell and kpi.grain is Grain.CUSTOMER:
        unnamed = loan_cell.rows - loan_cell.filled.get(CUSTOMER, loan_cell.rows)
        if unpriced:
            reason = f"{unpriced} row(s) are in a currency without a rate"
        elif unnamed:
            reason = f"{unnamed} row(s) name no customer"
    if reason:
        return KpiResult(**shown, status=Status.NOT_COMPUTABLE, reason=reason), None, None
    inputs = dict(known)
    inputs.update((name, as_ratio(value)) for name, value in components.items() if value is not None)
    exact = kpi.formula.evaluate(inputs)
    if exact is None:
        return KpiResult(**shown, status=Status.NOT_COMPUTABLE, reason="the denominator is zero"), None, None
    exact, held = _held(exact, kpi)
    value_exact = as_decimal(exact)
    shown |= {
        "status": _status(kpi, value_exact),
        "value": rounded(value_exact, kpi.precision),
        "value_exact": value_exact,
        "held": held,
    }
    if prices.count == 0:  # nothing could come back: the value is its own bound
        return KpiResult(**shown, low=shown["value"], high=shown["value"]), exact, None
    bound, bound_reason = _bound(kpi, exact, inputs, prices, ranges)
    shown |= _ends(kpi, exact, bound)
    return KpiResult(**shown, bound_reason=bound_reason), exact, bound


def _held(exact: Ratio, kpi: Kpi) -> tuple[Ratio, str]:
    limits = kpi.valid_range
    if not limits.clamp:
        return exact, ""
    if limits.greatest is not None and as_decimal(exact) > limits.greatest:
        return as_ratio(limits.greatest), f"held at {limits.greatest}; computed {rounded(as_decimal(exact), 4)}"
    if limits.least is not None and as_decimal(exact) < limits.least:
        return as_ratio(limits.least), f"held at {limits.least}; computed {rounded(as_decimal(exact), 4)}"
    return exact, ""


def _status(kpi: Kpi, value: Decimal) -> Status:
    limits = kpi.valid_range
    if (limits.least is not None and value < limits.least) or (limits.greatest is not None and value > limits.greatest):
        return Status.OUT_OF_RANGE
    return judged(value, kpi.thresholds)


def _bound(
    kpi: Kpi, exact: Ratio, inputs: Mapping[str, Ratio], prices: Prices, ranges: Mapping[str, Interval]
) -> tuple[Interval | None, str]:
    point = Fraction(*exact)
    if kpi.formula.facts:
        return None, COUNTS_QUARANTINE
    if prices.general_reason:
        return None, prices.general_reason
    spans: dict[str, Interval] = {}
    for item in kpi.formula.components:
        if item.name not in prices.ranges:
            return None, prices.reasons.get(item.name, "the quarantined rows cannot be priced")
        base = Fraction(*inputs[item.name])
        least, greatest = prices.ranges[item.name]
        spans[item.name] = base + least, base + greatest
    for name in kpi.formula.kpis:
        if name not in ranges:
            return None, f"{name} cannot be priced"
        spans[name] = ranges[name]
    found = interval(kpi.formula.tree, spans)
    if found is None:
        return None, "the denominator might be zero"
    return _clamped(kpi, (min(found[0], point), max(found[1], point))), ""


def _clamped(kpi: Kpi, bound: Interval) -> Interval:
    limits = kpi.valid_range
    if not limits.clamp:
        return bound
    least = Fraction(limits.least) if limits.least is not None else bound[0]
    greatest = Fraction(limits.greatest) if limits.greatest is not None else bound[1]
    return min(max(bound[0], least), greatest), max(min(bound[1], greatest), least)


def _ends(kpi: Kpi, exact: Ratio, bound: Interval | None) -> dict[str, Decimal | None]:
    """Low and high as shown: rounded outwards, unless they are the value itself."""
    if bound is None:
        return {"low": None, "high": None}
    point = Fraction(*exact)
    ends: dict[str, Decimal | None] = {}
    for name, end, rounding in (("low", bound[0], ROUND_FLOOR), ("high", bound[1], ROUND_CEILING)):
        number = as_decimal((end.numerator, end.denominator))
        ends[name] = rounded(number, kpi.precision) if end == point else rounded(number, kpi.precision, rounding)
    return ends
