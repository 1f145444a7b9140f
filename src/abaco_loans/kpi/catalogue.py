"""The catalogue: every KPI with its formula, unit, thresholds and owner. The single source of truth.

``catalogue_file`` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from abaco_loans.errors import ConfigError
from abaco_loans.kpi.formula import Formula, parse_formula
from abaco_loans.nearest import nearest
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


def formula_of(text: str, *, grain: Grain, where: str) -> Formula:
    """The formula, parsed and checked against the columns of the grain.

    Raises:
        ConfigError: ``KPI-101``..``KPI-108``, see :func:`abaco_loans.kpi.formula.parse_formula`.
    """
    columns: list[str] = list(COLUMNS)
    if grain is Grain.CUSTOMER:
        columns = [name for name in COLUMNS if is_money(name)] + [CUSTOMER_RANK]
    return parse_formula(text, columns=columns, where=where)


def ordered(kpis: Mapping[str, Kpi]) -> tuple[Kpi, ...]:
    """Dependencies first, otherwise the order given.

    Raises:
        ConfigError: ``KPI-104`` a formula uses a KPI that is not there; ``KPI-107`` KPIs are made of each other.
    """
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
    return tuple(done.values())
