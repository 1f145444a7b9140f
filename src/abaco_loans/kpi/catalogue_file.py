"""Reads the catalogue (YAML): what is wrong in it is told with its line."""

from __future__ import annotations

from decimal import Decimal
from typing import Self

from pydantic import Field as ModelField
from pydantic import model_validator

from abaco_loans.checked import FileModel, check
from abaco_loans.document import Document
from abaco_loans.errors import ConfigError
from abaco_loans.kpi.catalogue import (
    Catalogue,
    Direction,
    Grain,
    Kpi,
    Thresholds,
    ValidRange,
    formula_of,
    ordered,
)


class _Thresholds(FileModel):
    warning: Decimal
    critical: Decimal
    direction: Direction

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        worse = self.critical - self.warning
        if (worse < 0) if self.direction is Direction.HIGH_IS_BAD else (worse > 0):
            raise ValueError(
                f"critical {self.critical:f} is not worse than warning {self.warning:f} ({self.direction})"
            )
        return self


class _Range(FileModel):
    min: Decimal | None = None
    max: Decimal | None = None
    clamp: bool = False


class _Entry(FileModel):
    id: str = ModelField(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")
    name: str
    description: str
    formula: str
    unit: str
    precision: int = ModelField(ge=0, le=10)
    grain: Grain = Grain.LOAN
    valid_range: _Range = _Range()
    thresholds: _Thresholds | None = None
    owner: str
    departments: list[str] = ModelField(min_length=1)
    refresh: str
    source: str
    segmented: bool = True


class _CatalogueFile(FileModel):
    version: str
    kpis: list[_Entry] = ModelField(min_length=1)


def read_catalogue(document: Document) -> Catalogue:
    """The catalogue of the document.

    Raises:
        ConfigError: ``KPI-100`` not a catalogue; ``KPI-101``..``KPI-108`` a formula is wrong; each with
            ``file:line`` and a hint.
    """
    file = check(document, _CatalogueFile, code="KPI-100", hint="see docs/kpis.md")
    kpis: dict[str, Kpi] = {}
    for index, entry in enumerate(file.kpis):
        if entry.id in kpis:
            raise ConfigError(
                f"the KPI {entry.id!r} stands twice",
                code="KPI-106",
                where=document.where("kpis", index),
                hint="rename or remove one of them",
            )
        kpis[entry.id] = _kpi(entry, document.where("kpis", index, "formula"))
    return Catalogue(version=file.version, kpis=ordered(kpis))


def _kpi(entry: _Entry, where: str) -> Kpi:
    formula = formula_of(entry.formula, grain=entry.grain, where=where)
    limits = entry.thresholds
    return Kpi(
        id=entry.id,
        name=entry.name,
        description=entry.description,
        formula=formula,
        unit=entry.unit,
        precision=entry.precision,
        grain=entry.grain,
        valid_range=ValidRange(
            least=entry.valid_range.min, greatest=entry.valid_range.max, clamp=entry.valid_range.clamp
        ),
        thresholds=None
        if limits is None
        else Thresholds(warning=limits.warning, critical=limits.critical, direction=limits.direction),
        owner=entry.owner,
        departments=tuple(entry.departments),
        refresh=entry.refresh,
        source=entry.source,
        segmented=entry.segmented and not formula.facts,
        where=where,
    )
