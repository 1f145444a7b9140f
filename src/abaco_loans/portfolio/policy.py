"""Provisions, borrowing base and covenants: tables that belong to the release (``portfolio.yml``).

Shares, PD, LGD and rates are fractions from 0 to 1; amounts are in reporting currency; days are calendar days.
What they mean stands in DEFINITIONS ("KPI families") and in docs/portfolio.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import rfc8785
from pydantic import Field as ModelField
from pydantic import model_validator

from abaco_loans.checked import FileModel, check
from abaco_loans.kpi.catalogue import Direction
from abaco_loans.strict_yaml import Document

DEFAULTED = (Decimal(1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRisk:
    """Risk of one stage. ``pd``: cumulative probability of default by the end of year 1, 2, ...; never falling."""

    pd: tuple[Decimal, ...]
    lgd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskTable:
    """PD and LGD of the three stages. Stage 1 has the 12-month PD alone, stage 3 has PD 1."""

    stage_1: StageRisk
    stage_2: StageRisk
    stage_3: StageRisk

    def of(self, stage: int) -> StageRisk:
        """The risk of stage 1, 2 or 3."""
        return {1: self.stage_1, 2: self.stage_2, 3: self.stage_3}[stage]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisions:
    """How expected credit loss is reckoned; a product without a table of its own has ``default``.

    More than ``stage_2_after_days`` (``stage_3_after_days``) days past due is stage 2 (3).
    """

    default: RiskTable
    products: Mapping[str, RiskTable] = field(default_factory=dict)
    stage_2_after_days: int = 30
    stage_3_after_days: int = 90
    restructured_is_stage_2: bool = True

    def table(self, product: str | None) -> RiskTable:
        """The PD and LGD of a product."""
        return self.default if product is None else self.products.get(product, self.default)


class RuleKind(StrEnum):
    """What an eligibility rule excludes; what the tape does not say is excluded too."""

    PAST_DUE = "past_due"
    MATURES_AFTER = "matures_after"
    NOT_IN = "not_in"
    RESTRUCTURED = "restructured"


@dataclass(frozen=True, slots=True, kw_only=True)
class EligibilityRule:
    """A named reason for which a loan is not eligible.

    Attributes:
        days: of `PAST_DUE`, the least days past due that exclude; of `MATURES_AFTER`, the most days to maturity.
        column: of `NOT_IN`, the column of the panel.
        values: of `NOT_IN`, what the column may say.
    """

    name: str
    kind: RuleKind
    days: int | None = None
    column: str | None = None
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BorrowingBase:
    """A line of credit that is secured by the loans. ``customer_share_max``: of what is eligible; None: no limit."""

    rules: tuple[EligibilityRule, ...]
    advance_rate: Decimal
    commitment: Decimal
    drawn: Decimal
    reserves: Decimal = Decimal(0)
    customer_share_max: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Covenant:
    """A promise about a KPI, in the KPI's unit. At or beyond ``limit`` it is breached; then ``cure_days`` begin."""

    name: str
    kpi: str
    limit: Decimal
    direction: Direction
    cure_days: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the release says of provisions, of the borrowing base and of covenants."""

    provisions: Provisions | None = None
    borrowing_base: BorrowingBase | None = None
    covenants: tuple[Covenant, ...] = ()

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the canonical JSON of what can change a number: all but names."""
        return hashlib.sha256(rfc8785.dumps(self._meaning())).hexdigest()

    def _meaning(self) -> dict[str, Any]:
        base = self.borrowing_base
        return {
            "provisions": _provisions_meaning(self.provisions) if self.provisions else None,
            "borrowing_base": {
                "rules": [[rule.kind, rule.days, rule.column, sorted(rule.values)] for rule in base.rules],
                "advance_rate": _text(base.advance_rate),
                "commitment": _text(base.commitment),
                "drawn": _text(base.drawn),
                "reserves": _text(base.reserves),
                "customer_share_max": None if base.customer_share_max is None else _text(base.customer_share_max),
            }
            if base
            else None,
            "covenants": sorted(
                [item.kpi, _text(item.limit), item.direction, item.cure_days] for item in self.covenants
            ),
        }


def _provisions_meaning(provisions: Provisions) -> dict[str, Any]:
    return {
        "days": [provisions.stage_2_after_days, provisions.stage_3_after_days],
        "restructured": provisions.restructured_is_stage_2,
        "default": _table_meaning(provisions.default),
        "products": {name: _table_meaning(table) for name, table in provisions.products.items()},
    }


def _table_meaning(table: RiskTable) -> list[list[str]]:
    return [[_text(item) for item in (risk.lgd, *risk.pd)] for risk in (table.of(stage) for stage in (1, 2, 3))]


def _text(value: Decimal) -> str:
    """One text for equal numbers."""
    return format(value.normalize(), "f")


Share = Annotated[Decimal, ModelField(ge=0, le=1, decimal_places=6)]
Amount = Annotated[Decimal, ModelField(ge=0, max_digits=18, decimal_places=4)]
Days = Annotated[int, ModelField(ge=0, le=36500)]


class _Stage(FileModel):
    pd: tuple[Share, ...] = ModelField(min_length=1, max_length=50)
    lgd: Share

    @model_validator(mode="after")
    def _cumulative(self) -> Self:
        if any(later < earlier for earlier, later in pairwise(self.pd)):
            raise ValueError("pd is cumulative: a later year cannot have less than the one before")
        return self


class _Stage1(FileModel):
    pd: Share
    lgd: Share


class _Stage3(FileModel):
    lgd: Share


class _Table(FileModel):
    stage_1: _Stage1
    stage_2: _Stage
    stage_3: _Stage3

    def made(self) -> RiskTable:
        return RiskTable(
            stage_1=StageRisk(pd=(self.stage_1.pd,), lgd=self.stage_1.lgd),
            stage_2=StageRisk(pd=self.stage_2.pd, lgd=self.stage_2.lgd),
            stage_3=StageRisk(pd=DEFAULTED, lgd=self.stage_3.lgd),
        )


class _Provisions(FileModel):
    stage_2_after_days: Days = 30
    stage_3_after_days: Days = 90
    restructured_is_stage_2: bool = True
    default: _Table
    products: dict[str, _Table] = ModelField(default_factory=dict)

    @model_validator(mode="after")
    def _stages_follow(self) -> Self:
        if self.stage_3_after_days <= self.stage_2_after_days:
            raise ValueError("stage_3_after_days must be more than stage_2_after_days")
        return self

    def made(self) -> Provisions:
        return Provisions(
            default=self.default.made(),
            products={name: table.made() for name, table in self.products.items()},
            stage_2_after_days=self.stage_2_after_days,
            stage_3_after_days=self.stage_3_after_days,
            restructured_is_stage_2=self.restructured_is_stage_2,
        )


class _Rule(FileModel):
    name: str = ModelField(min_length=1)
    kind: RuleKind
    days: Days | None = None
    column: Literal["currency", "product", "company", "region", "facility", "status", "frequency"] | None = None
    values: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        by_days = self.kind in {RuleKind.PAST_DUE, RuleKind.MATURES_AFTER}
        if by_days != (self.days is not None):
            raise ValueError("days belong to past_due and matures_after, which need them")
        if (self.kind is RuleKind.NOT_IN) != (self.column is not None and bool(self.values)):
            raise ValueError("column and values belong to not_in, which needs both")
        if self.kind is not RuleKind.NOT_IN and (self.column is not None or self.values):
            raise ValueError("column and values belong to not_in, which needs both")
        return self


class _BorrowingBase(FileModel):
    rules: tuple[_Rule, ...] = ()
    advance_rate: Share
    commitment: Amount
    drawn: Amount
    reserves: Amount = Decimal(0)
    customer_share_max: Annotated[Decimal, ModelField(gt=0, le=1, decimal_places=6)] | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        _differ([rule.name for rule in self.rules])
        return self

    def made(self) -> BorrowingBase:
        return BorrowingBase(
            rules=tuple(EligibilityRule(**rule.model_dump()) for rule in self.rules),
            **self.model_dump(exclude={"rules"}),
        )


class _Covenant(FileModel):
    name: str = ModelField(min_length=1)
    kpi: str
    limit: Annotated[Decimal, ModelField(max_digits=24)]
    direction: Direction
    cure_days: Days = 0


class _PortfolioFile(FileModel):
    provisions: _Provisions | None = None
    borrowing_base: _BorrowingBase | None = None
    covenants: tuple[_Covenant, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        _differ([item.name for item in self.covenants])
        return self


def _differ(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the name {twice[0]!r} stands twice")


def read_policy(document: Document) -> Policy:
    """The policy of the document. Raises ConfigError ``CFG-501``."""
    file = check(document, _PortfolioFile, code="CFG-501", hint="see docs/portfolio.md")
    return Policy(
        provisions=file.provisions.made() if file.provisions else None,
        borrowing_base=file.borrowing_base.made() if file.borrowing_base else None,
        covenants=tuple(Covenant(**item.model_dump()) for item in file.covenants),
    )
