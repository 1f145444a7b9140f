"""Two releases side by side: per KPI and segment the same, or different by how much, and whether that is explained.

Variance is |candidate − baseline| / |baseline| on unrounded values (SPEC, "Variance"), in percent. It is shown towards
the baseline, and *judged* towards the smaller of the two values, so that which side is called baseline changes no
verdict. Beside a zero there is no ratio: the variance is None, and only noise or rounding can explain it.

The baseline may have run several times. Then the candidate is judged against the span of its values, and what it lies
outside that span by no more than the span is wide (the noise floor) is noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from abaco_loans.kpi.catalogue import Catalogue, ValidRange
from abaco_loans.kpi.formula import Interval, as_decimal
from abaco_loans.kpi.result import KpiResult, Status
from abaco_loans.releases import rounding
from abaco_loans.releases.materiality import Lines

# A number beyond 10^±60 is no KPI, and as a fraction it could fill the memory.
_EXPONENT_MAX = 60


class Verdict(StrEnum):
    """What is said of one KPI in one place. Only `SAME` and `WITHIN_TOLERANCE` need no reason."""

    SAME = "same"
    WITHIN_TOLERANCE = "within tolerance"
    EXPLAINED = "explained"
    UNEXPLAINED = "unexplained"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Key:
    """A KPI, overall (``segment`` empty) or in one cell of a segment."""

    kpi: str
    segment: str = ""
    segment_value: str = ""

    @property
    def words(self) -> str:
        """``risk.par_30``, or ``risk.par_30 (product = leasing)``."""
        return f"{self.kpi} ({self.segment} = {self.segment_value})" if self.segment else self.kpi


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one side says of a KPI in one place.

    Attributes:
        value_exact: the value, in the KPI's unit; None where there is none.
        status: `NOT_COMPUTABLE` or `SUPPRESSED` where there is no value, with ``reason``.
        printed_decimals: decimals that the value was rounded to before we saw it; None: it is exact.
        within: what the side's own printed components leave for the value (`rounding.of_formula`), where known.
        basis: what both sides must have in common to be compared, as far as both say it: unit, currency, grain.
    """

    value_exact: Decimal | None = None
    status: Status = Status.OK
    reason: str = ""
    printed_decimals: int | None = None
    within: Interval | None = None
    basis: Mapping[str, str] = field(default_factory=dict)

    @property
    def unusable(self) -> str:
        """Why the value cannot be compared; empty when it can."""
        value = self.value_exact
        if value is None:
            what = "no value" if self.status is Status.OK else self.status.value.replace("_", " ")
            return f"{what}: {self.reason}" if self.reason else what
        if not value.is_finite():
            return f"{value} is no number"
        if value and abs(value.adjusted()) > _EXPONENT_MAX:
            return "the number is out of all proportion"
        return ""


Side = Mapping[Key, Said]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Percent of the value. Less than ``pass_percent`` passes; more than ``halt_percent`` halts; else explain it."""

    pass_percent: Decimal = Decimal("0.1")
    halt_percent: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """Tolerances by KPI; a KPI that is not listed has ``others``."""

    others: Tolerance = Tolerance()
    by_kpi: Mapping[str, Tolerance] = field(default_factory=dict)

    def of(self, kpi: str) -> Tolerance:
        """The tolerance of a KPI."""
        return self.by_kpi.get(kpi, self.others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One KPI in one place, compared. Amounts are in the KPI's unit, signed: candidate less baseline.

    Attributes:
        baseline: value of the baseline's first run; None where it cannot be compared.
        candidate: value of the candidate; None where it cannot be compared.
        difference: of the two; None where there are not two.
        variance_percent: |difference| / |baseline| × 100; None beside a baseline of zero.
        noise: the widest difference between repeats of the baseline; 0 for one run, or a deterministic one.
        noise_percent: of the smaller value; None beside zero.
        explained: the part of the difference that has causes, which ``causes`` name.
        explained_percent: its size, of the smaller value; None beside zero.
        unexplained: the part that has none: what a gate judges.
        unexplained_percent: its size, of the smaller value; None beside zero.
        crossed: thresholds and covenants of which the values stand on different sides: critical however small.
        agrees: both say the same (the same value, or that there is none, for the same reason).
        baseline_knows: the baseline has the KPI, and segments it so; what only the candidate has is new.
    """

    key: Key
    verdict: Verdict
    words: str
    tolerance: Tolerance
    baseline: Decimal | None = None
    candidate: Decimal | None = None
    difference: Decimal | None = None
    variance_percent: Decimal | None = None
    noise: Decimal | None = None
    noise_percent: Decimal | None = None
    explained: Decimal = Decimal(0)
    explained_percent: Decimal | None = Decimal(0)
    unexplained: Decimal | None = None
    unexplained_percent: Decimal | None = None
    causes: tuple[str, ...] = ()
    crossed: tuple[str, ...] = ()
    agrees: bool = False
    baseline_knows: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridged:
    """What a bridge makes of one difference: its causes in words, and what is left (signed, in the KPI's unit)."""

    unexplained: Decimal
    causes: tuple[str, ...] = ()


def side(results: Iterable[KpiResult], *, currency: str = "") -> dict[Key, Said]:
    """The results of a run of this engine as a side; ``currency`` is the reporting currency of the run."""
    return {
        Key(kpi=item.kpi.id, segment=item.segment, segment_value=item.segment_value): Said(
            value_exact=item.value_exact,
            status=item.status,
            reason=item.reason,
            basis={
                "unit": item.kpi.unit,
                "grain": item.kpi.grain.value,
                **({"currency": currency} if currency else {}),
            },
        )
        for item in results
    }


def with_parts(said: Side, catalogue: Catalogue) -> dict[Key, Said]:
    """A side that rounds, each KPI held to what the printed KPIs that it is made of leave for it.

    Only a KPI that is made of KPIs alone, all of them printed in the same place, is.
    """
    found = dict(said)
    for key, item in said.items():
        kpi = next((kpi for kpi in catalogue.kpis if kpi.id == key.kpi), None)
        if kpi is None or not kpi.formula.kpis or kpi.formula.components or kpi.formula.facts:
            continue
        parts = {name: said.get(replace(key, kpi=name)) for name in kpi.formula.kpis}
        known = {
            name: (part.value_exact, part.printed_decimals)
            for name, part in parts.items()
            if part is not None and part.value_exact is not None and not part.unusable
        }
        within = rounding.of_formula(kpi.formula, known)
        if within is not None:
            found[key] = replace(item, within=_held(within, kpi.valid_range))
    return found


def _held(found: Interval, limits: ValidRange) -> Interval:
    """What is left of an interval whose ends are held in a range."""
    if not limits.clamp:
        return found
    least, greatest = (None if limit is None else Fraction(limit) for limit in (limits.least, limits.greatest))

    def held(value: Fraction) -> Fraction:
        value = value if least is None else max(value, least)
        return value if greatest is None else min(value, greatest)

    return held(Fraction(found[0])), held(Fraction(found[1]))


def compare(
    baseline: Sequence[Side], candidate: Side, tolerances: Tolerances | None = None, lines: Lines | None = None
) -> tuple[Compared, ...]:
    """Compare every KPI in every place that either side speaks of.

    Args:
        baseline: its runs on the tape, one or more; the first is the one that is shown.
        candidate: its run on the same tape.
        tolerances: by KPI; those of the original rollout by default.
        lines: thresholds and covenants, for what is material however small.
    """
    if not baseline:
        raise ValueError("the baseline has not run")
    known = {(key.kpi, key.segment) for run in baseline for key in run}
    keys = sorted({key for run in (*baseline, candidate) for key in run})
    return tuple(
        replace(
            _one(key, [run.get(key) for run in baseline], candidate.get(key), tolerances or Tolerances(), lines),
            baseline_knows=(key.kpi, key.segment) in known,
        )
        for key in keys
    )


def bridged(compared: Iterable[Compared], bridges: Mapping[Key, Bridged]) -> tuple[Compared, ...]:
    """The comparison with what bridges say: their causes, and what they leave unexplained, judged by the tolerance.

    What is left beyond the tolerance is unexplained even where causes cancel it out and the values are the same.
    """
    return tuple(_bridged(item, bridges[item.key]) if item.key in bridges else item for item in compared)


def _one(
    key: Key, runs: Sequence[Said | None], candidate: Said | None, tolerances: Tolerances, lines: Lines | None
) -> Compared:
    tolerance = tolerances.of(key.kpi)
    baseline = runs[0]
    reason, agrees = _not_comparable(runs, candidate)
    first, second = _value(baseline), _value(candidate)
    if reason or first is None or second is None or baseline is None or candidate is None:
        return Compared(
            key=key,
            verdict=Verdict.NOT_COMPARABLE,
            words=reason,
            tolerance=tolerance,
            baseline=first,
            candidate=second,
            agrees=agrees,
        )
    repeats = [Fraction(run.value_exact) for run in runs if run is not None and run.value_exact is not None]
    low, high, at = min(repeats), max(repeats), Fraction(second)
    noise, difference = high - low, at - Fraction(first)
    beyond = max(low - at, at - high, Fraction(0)) - noise
    smaller = min(abs(Fraction(first)), abs(at))
    found = Compared(
        key=key,
        verdict=Verdict.SAME,
        words="the same",
        tolerance=tolerance,
        baseline=first,
        candidate=second,
        difference=_decimal(difference),
        variance_percent=_percent(difference, abs(Fraction(first))),
        noise=_decimal(noise),
        noise_percent=_percent(noise, smaller),
        unexplained=Decimal(0),
        unexplained_percent=Decimal(0),
        crossed=lines.crossed(key.kpi, first, second, whole=not key.segment) if lines else (),
        agrees=not difference,
    )
    if not difference:
        return found
    if beyond <= 0:
        return replace(found, verdict=Verdict.WITHIN_TOLERANCE, words="within the noise of the baseline's own repeats")
    if _passes(beyond, smaller, tolerance):
        left = beyond if difference > 0 else -beyond
        return replace(
            found,
            verdict=Verdict.WITHIN_TOLERANCE,
            words=f"differs by less than {tolerance.pass_percent:f} %",
            unexplained=_decimal(left),
            unexplained_percent=_percent(left, smaller),
        )
    return _by_rounding(found, baseline, candidate, beyond if difference > 0 else -beyond, smaller)


def _by_rounding(found: Compared, baseline: Said, candidate: Said, left: Fraction, smaller: Fraction) -> Compared:
    """A difference beyond the tolerance: explained by rounding alone, or not at all."""
    how = rounding.in_words(baseline.printed_decimals, candidate.printed_decimals)
    first, second = _interval(baseline), _interval(candidate)
    if how and first and second and rounding.explains(first, second):
        return replace(
            found,
            verdict=Verdict.EXPLAINED,
            words=f"explained {how}",
            explained=found.difference or Decimal(0),
            explained_percent=_percent(Fraction(found.difference or 0), smaller),
            causes=(how,),
        )
    percent = _percent(left, smaller)
    amount = f"{percent:.2f} %" if percent is not None else "no ratio beside zero"
    return replace(
        found,
        verdict=Verdict.UNEXPLAINED,
        words=f"unexplained: {amount}" + (f"; not {how}" if how else ""),
        unexplained=_decimal(left),
        unexplained_percent=percent,
    )


def _bridged(item: Compared, bridge: Bridged) -> Compared:
    if item.difference is None or item.baseline is None or item.candidate is None:
        return item
    smaller = min(abs(Fraction(item.baseline)), abs(Fraction(item.candidate)))
    if not bridge.unexplained.is_finite():
        return replace(item, verdict=Verdict.NOT_COMPARABLE, words="the bridge does not say what is unexplained")
    whole, noise = Fraction(item.difference), Fraction(item.noise or 0)
    left = Fraction(bridge.unexplained)
    explained = whole - left
    verdict, words = item.verdict, item.words
    if left and abs(left) > noise and not _passes(abs(left), smaller, item.tolerance):
        verdict, words = Verdict.UNEXPLAINED, f"unexplained: {_decimal(left):f} of {_decimal(whole):f}"
    elif item.verdict in (Verdict.EXPLAINED, Verdict.UNEXPLAINED):
        verdict, words = Verdict.EXPLAINED, f"explained by {', '.join(bridge.causes) or 'its bridge'}"
    return replace(
        item,
        verdict=verdict,
        words=words,
        causes=bridge.causes,
        explained=_decimal(explained),
        explained_percent=_percent(explained, smaller),
        unexplained=_decimal(left),
        unexplained_percent=_percent(left, smaller),
    )


def _not_comparable(runs: Sequence[Said | None], candidate: Said | None) -> tuple[str, bool]:
    """Why two sides cannot be compared, and whether they agree in that; ("", False) when they can."""
    baseline = runs[0]
    if baseline is None or candidate is None:
        return f"the {'baseline' if baseline is None else 'candidate'} does not say it", False
    first, second = baseline.unusable, candidate.unusable
    if first and second:
        # A program that prints null gives no reason, and so contradicts none.
        reasons = {baseline.reason, candidate.reason} - {""}
        empty = baseline.value_exact is None and candidate.value_exact is None
        agree = empty and baseline.status is candidate.status and len(reasons) <= 1
        return f"both: {max(first, second, key=len)}" if agree else f"baseline: {first}; candidate: {second}", agree
    if first or second:
        return f"baseline: {first}" if first else f"candidate: {second}", False
    if any(run is None or run.unusable for run in runs):
        return "the baseline does not say it in every repeat", False
    for name in sorted(baseline.basis.keys() & candidate.basis.keys()):
        if baseline.basis[name] != candidate.basis[name]:
            return f"{name} {baseline.basis[name]} is not {name} {candidate.basis[name]}", False
    return "", False


def _value(said: Said | None) -> Decimal | None:
    return said.value_exact if said is not None and not said.unusable else None


def _interval(said: Said) -> Interval | None:
    if said.value_exact is None:
        return None
    found = rounding.interval(said.value_exact, said.printed_decimals)
    return rounding.common(found, said.within) if said.within else found


def _passes(size: Fraction, smaller: Fraction, tolerance: Tolerance) -> bool:
    return size * 100 < Fraction(tolerance.pass_percent) * smaller


def _percent(part: Fraction, whole: Fraction) -> Decimal | None:
    """|part| / whole × 100 to 28 digits; 0 where there is no part; None beside zero."""
    if not part:
        return Decimal(0)
    return _decimal(abs(part) / whole * 100) if whole else None


def _decimal(value: Fraction) -> Decimal:
    return as_decimal((value.numerator, value.denominator))
