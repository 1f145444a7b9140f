"""Reads gates and expected differences (YAML): what is wrong in one is told with its line."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator
from pydantic import Field as ModelField

from abaco_loans.checked import FileModel, check
from abaco_loans.document import Document
from abaco_loans.errors import ConfigError
from abaco_loans.nearest import nearest
from abaco_loans.releases.comparison import Key
from abaco_loans.releases.expected import Expected, Measure, Way
from abaco_loans.releases.gate import Gates, Rule


def _is_text(value: Any) -> Any:
    """A date is written as one: a plain number would be read as seconds."""
    if not isinstance(value, str):
        raise ValueError("write a date, like 2026-12-31")
    return value


Percent = Annotated[Decimal, ModelField(ge=0, le=100, max_digits=12, decimal_places=9)]
Size = Annotated[Decimal, ModelField(ge=0, max_digits=28)]
Day = Annotated[date, BeforeValidator(_is_text)]
Words = Annotated[str, ModelField(min_length=1, max_length=1000)]


class _Others(FileModel):
    pass_percent: Percent = Decimal("0.1")
    halt_percent: Percent = Decimal(1)
    weight: int = ModelField(default=1, ge=1, le=1000)
    segments: bool = True

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.pass_percent > self.halt_percent:
            raise ValueError("pass_percent is above halt_percent")
        return self


class _Metric(_Others):
    critical: bool = False
    must_have_data: bool = False


class _GatesFile(FileModel):
    metrics: dict[str, _Metric] = {}
    others: _Others = _Others()
    pass_score: Percent = Decimal(100)
    fail_score: Percent = Decimal(100)
    tapes_min: int = ModelField(default=1, ge=1, le=1000)
    consecutive_passes: int = ModelField(default=1, ge=1, le=1000)
    evidence_days_max: int = ModelField(default=7, ge=0, le=3660)
    dry_run: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.fail_score > self.pass_score:
            raise ValueError("fail_score is above pass_score")
        return self


class _Expected(FileModel):
    kpi: str
    segment: str = ""
    segment_value: str = ""
    direction: Way
    min: Size
    max: Size
    measure: Measure = Measure.UNIT
    segments: bool = False
    stage_loans_max: int = ModelField(default=0, ge=0, le=1_000_000_000)
    why: Words
    until: Day
    author: Words

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.min > self.max:
            raise ValueError("min is above max")
        if bool(self.segment) != bool(self.segment_value):
            raise ValueError("segment and segment_value go together")
        if self.segments and self.segment:
            raise ValueError("segments: true is for a KPI as a whole")
        return self


class _ExpectedFile(FileModel):
    expected: tuple[_Expected, ...] = ()


def read_gates(document: Document, *, kpis: Collection[str]) -> Gates:
    """The gates of the document; ``kpis`` are those that either release has.

    Raises:
        ConfigError: ``GATE-101`` not gates; ``GATE-103`` a KPI that no release has.
    """
    file = check(document, _GatesFile, code="GATE-101", hint="see docs/gates.md")
    for kpi in file.metrics:
        _known(kpi, kpis, document.where("metrics", kpi))
    given = {name: getattr(file, name) for name in type(file).model_fields if name not in ("metrics", "others")}
    return Gates(
        metrics={kpi: Rule(**item.model_dump()) for kpi, item in file.metrics.items()},
        others=Rule(**file.others.model_dump()),
        **given,
    )


def read_expected(document: Document, *, kpis: Collection[str]) -> tuple[Expected, ...]:
    """The expected differences of the document; ``kpis`` are those that either release has.

    Raises:
        ConfigError: ``GATE-102`` no ledger of expected differences; ``GATE-103`` a KPI that no release has.
    """
    file = check(document, _ExpectedFile, code="GATE-102", hint="see docs/gates.md")
    for index, item in enumerate(file.expected):
        _known(item.kpi, kpis, document.where("expected", index, "kpi"))
    return tuple(
        Expected(
            key=Key(kpi=item.kpi, segment=item.segment, segment_value=item.segment_value),
            way=item.direction,
            least=item.min,
            greatest=item.max,
            measure=item.measure,
            segments=item.segments,
            stage_loans_max=item.stage_loans_max,
            why=item.why,
            until=item.until,
            author=item.author,
        )
        for item in file.expected
    )


def _known(kpi: str, kpis: Collection[str], where: str) -> None:
    """A gate over a name that nobody has would judge nothing."""
    if kpi not in kpis:
        raise ConfigError(f"no release has a KPI {kpi!r}", code="GATE-103", where=where, hint=nearest(kpi, kpis))
