"""The bridge between two values of a KPI: a sum of causes, each a sum over loans, exact to the last digit.

The way from one definition to another is walked one parameter at a time, in the order of `ORDER`; what a cause is
worth is what the KPI moves by on its step. Invariant: the parts of a bridge sum to its difference.
How a step is put down to loans: `releases.attribution`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

from abaco_loans.errors import InvariantError
from abaco_loans.kpi.formula import as_decimal
from abaco_loans.kpi.result import text_of
from abaco_loans.tape.definition import Definition, DpdMethod, WriteOff


class Cause(StrEnum):
    """Why a KPI differs."""

    TOLERANCE = "arrears tolerance"
    GRACE = "grace"
    COVER = "cover"
    DPD_METHOD = "DPD method"
    BOUNDARY = "boundary"
    DUST = "dust"
    WRITE_OFF = "write-off"
    RESTRUCTURED = "restructured"
    FX = "FX"
    FORMULA = "formula"
    ONLY_BASELINE = "loans only in baseline"
    ONLY_CANDIDATE = "loans only in candidate"
    DUPLICATES = "duplicates"
    INPUT_ROUNDING = "rounding of inputs"
    OUTPUT_ROUNDING = "rounding of the output"
    UNEXPLAINED = "unexplained"


ORDER: tuple[tuple[Cause, tuple[str, ...]], ...] = (
    (Cause.TOLERANCE, ("arrears_tolerance",)),
    (Cause.GRACE, ("grace_days",)),
    (Cause.COVER, ("cover",)),
    (Cause.DPD_METHOD, ("dpd_method",)),
    (Cause.BOUNDARY, ("boundary",)),
    (Cause.DUST, ("dust_share",)),
    (Cause.WRITE_OFF, ("write_off_after_days", "write_off")),
    (Cause.RESTRUCTURED, ("restructured",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One cause switched; ``definition`` is what holds after it, ``text`` says what was switched."""

    cause: Cause
    text: str
    definition: Definition


def steps(baseline: Definition, candidate: Definition) -> tuple[Step, ...]:
    """The way from one definition to another, one cause at a time, in the order of `ORDER`.

    A write-off that stays, by days, is known for the rolling method only: where the baseline has it and the
    candidate's method is another, the write-off is switched before the method.
    """
    order = list(ORDER)
    stays = baseline.write_off is WriteOff.STICKY and baseline.write_off_after_days is not None
    if stays and candidate.dpd_method is not DpdMethod.ROLLING:
        entry = next(item for item in order if item[0] is Cause.WRITE_OFF)
        order.remove(entry)
        order.insert([cause for cause, _ in order].index(Cause.DPD_METHOD), entry)
    found, now = [], baseline
    old, new = baseline.as_dict(), candidate.as_dict()
    for cause, names in order:
        changed = [name for name in names if getattr(baseline, name) != getattr(candidate, name)]
        if changed:
            now = replace(now, **{name: getattr(candidate, name) for name in changed})
            text = ", ".join(f"{name} {_said(old[name])} → {_said(new[name])}" for name in changed)
            found.append(Step(cause=cause, text=text, definition=now))
    return tuple(found)


def _said(value: str | int | None) -> str:
    return "none" if value is None else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanShare:
    """What a loan adds to a part, in the KPI's unit; ``before`` and ``after``: its sums, by component."""

    loan_id: str
    contribution: Fraction
    before: Mapping[str, Decimal]
    after: Mapping[str, Decimal]

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "loan_id": self.loan_id,
            "contribution": text_of(decimal(self.contribution)),
            "before": {name: text_of(value) for name, value in self.before.items()},
            "after": {name: text_of(value) for name, value in self.after.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One cause and what it moves the KPI by.

    ``loans``: how many loans it touches, None where the KPI is no sum over loans; ``top``: the first of them, by
    absolute contribution.
    """

    cause: Cause
    text: str
    contribution: Fraction
    loans: int | None = None
    top: tuple[LoanShare, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """From the baseline's value of a KPI to the candidate's, both exact and None where there is no value.

    Attributes:
        kpi: id of the KPI.
        baseline: what the baseline says.
        candidate: what the candidate says.
        parts: the causes in the order in which they were switched. They sum to the difference.
        not_bridged: why there are no causes; then the whole difference is one unexplained part.
        not_by_loan: why (some) causes name no loans.
    """

    kpi: str
    baseline: Fraction | None
    candidate: Fraction | None
    parts: tuple[Part, ...] = field(default_factory=tuple)
    not_bridged: str = ""
    not_by_loan: str = ""

    def __post_init__(self) -> None:
        """Raises InvariantError when the parts do not sum to the difference."""
        if sum((part.contribution for part in self.parts), Fraction(0)) != (self.difference or 0):
            raise InvariantError(f"the bridge of {self.kpi} does not close")

    @property
    def difference(self) -> Fraction | None:
        """Candidate minus baseline; None where one of them has no value."""
        if self.baseline is None or self.candidate is None:
            return None
        return self.candidate - self.baseline

    @property
    def unexplained(self) -> Fraction:
        """The sum of the unexplained parts."""
        return sum((part.contribution for part in self.parts if part.cause is Cause.UNEXPLAINED), Fraction(0))

    def as_dict(self) -> dict[str, object]:
        """JSON-ready. Values have 28 digits, and the contributions as written still sum to their difference."""
        way = [self.baseline or Fraction(0)]
        for part in self.parts:
            way.append(way[-1] + part.contribution)
        written = [decimal(value) for value in way]
        with localcontext(prec=120):
            moves = [after - before for before, after in pairwise(written)]
            difference = written[-1] - written[0]
        return {
            "kpi": self.kpi,
            "baseline": None if self.baseline is None else text_of(decimal(self.baseline)),
            "candidate": None if self.candidate is None else text_of(decimal(self.candidate)),
            "difference": None if self.difference is None else text_of(difference),
            "unexplained": text_of(decimal(self.unexplained)),
            "not_bridged": self.not_bridged,
            "not_by_loan": self.not_by_loan,
            "parts": [
                {
                    "cause": part.cause.value,
                    "text": part.text,
                    "contribution": text_of(move),
                    "loans": part.loans,
                    "top": [loan.as_dict() for loan in part.top],
                }
                for part, move in zip(self.parts, moves, strict=True)
            ],
        }


def decimal(value: Fraction) -> Decimal:
    """A fraction divided out to 28 digits, half-even."""
    return as_decimal(value.as_integer_ratio())


def unbridged(kpi: str, reason: str, baseline: Fraction | None, candidate: Fraction | None) -> Bridge:
    """The bridge of a KPI whose difference cannot be put down to causes: all of it is unexplained."""
    parts: tuple[Part, ...] = ()
    if baseline is not None and candidate is not None and baseline != candidate:
        text = f"not bridged: {reason}"
        parts = (Part(cause=Cause.UNEXPLAINED, text=text, contribution=candidate - baseline),)
    return Bridge(kpi=kpi, baseline=baseline, candidate=candidate, parts=parts, not_bridged=reason)


def rounds_to(value: Fraction, printed: Decimal) -> bool:
    """Whether a value lies within half a unit of the last digit of a printed number."""
    exponent = int(printed.as_tuple().exponent)
    return abs(value - Fraction(printed)) <= Fraction(10) ** exponent / 2
