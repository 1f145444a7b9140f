"""The catalogue: every KPI with its formula, unit, thresholds and owner. The single source of truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from pydantic import Field as ModelField

from abaco_loans.checked import FileModel, check
from abaco_loans.errors import ConfigError
from abaco_loans.kpi.formula import Formula, parse_formula
from abaco_loans.nearest import nearest
from abaco_loans.strict_yaml import Document
from abaco_loans.tape.calculation import COLUMNS, is_money

CUSTOMER_RANK = "customer_rank"


class Grain(StrEnum):
    """What one row of a formula's columns is: a row of the calculation table, or all loans of a customer."""

    LOAN = "loan"
    CUSTOMER = "customer"


class Direction(StrEnum):
    """Which way a KPI gets worse."""

    HIGH_IS_BAD = "high_is_bad"
    LOW_IS_BAD = "low_is_bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """A value at or beyond a threshold has breached it."""

    warning: Decimal
    critical: Decimal
    direction: Direction

    def as_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return {
            "warning": format(self.warning, "f"),
            "critical": format(self.critical, "f"),
            "direction": self.direction.value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidRange:
    """Least and greatest value that can be true; with ``clamp`` the value is held there and says so."""

    least: Decimal | None = None
    greatest: Decimal | None = None
    clamp: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kpi:
    """One entry of the catalogue. ``precision``: decimals shown."""

    id: str
    name: str
    description: str
    formula: Formula
    unit: str
    precision: int
    grain: Grain = Grain.LOAN
    valid_range: ValidRange = ValidRange()
    thresholds: Thresholds | None = None
    owner: str = ""
    departments: tuple[str, ...] = ()
    refresh: str = "daily"
    source: str = ""
    segmented: bool = True
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All KPIs, in an order in which each comes after those it is made of."""

    version: str
    kpis: tuple[Kpi, ...]

    def get(self, kpi_id: str) -> Kpi:
        """The KPI with that id. Raises ConfigError ``KPI-105`` with the nearest id."""
        for kpi in self.kpis:
            if kpi.id == kpi_id:
                return kpi
        raise ConfigError(
            f"there is no KPI {kpi_id!r}", code="KPI-105", hint=nearest(kpi_id, [kpi.id for kpi in self.kpis])
        )


class _Thresholds(FileModel):
    warning: Decimal
    critical: Decimal
    direction: Direction


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
    return Catalogue(version=file.version, kpis=tuple(_ordered(kpis)))


def _kpi(entry: _Entry, where: str) -> Kpi:
    columns: list[str] = list(COLUMNS)
    if entry.grain is Grain.CUSTOMER:
        columns = [name for name in COLUMNS if is_money(name)] + [CUSTOMER_RANK]
    formula = parse_formula(entry.formula, columns=columns, where=where)
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


def _ordered(kpis: Mapping[str, Kpi]) -> list[Kpi]:
    """Dependencies first, otherwise the order of the file."""
    done: dict[str, Kpi] = {}

    def visit(kpi: Kpi, path: tuple[str, ...]) -> None:
        if kpi.id in path:
            raise ConfigError(
                f"KPIs are made of each other: {' -> '.join((*path, kpi.id))}",
                code="KPI-107",
                where=kpi.where,
                hint="break the circle",
            )
        for name in kpi.formula.kpis:
            if name not in kpis:
                raise ConfigError(
                    f"the formula uses unknown KPI {name!r}",
                    code="KPI-104",
                    where=kpi.where,
                    hint=nearest(name, kpis),
                )
            if name not in done:
                visit(kpis[name], (*path, kpi.id))
        done.setdefault(kpi.id, kpi)

    for kpi in kpis.values():
        visit(kpi, ())
    return list(done.values())
