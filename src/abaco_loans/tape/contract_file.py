"""Reads contracts written in the Open Data Contract Standard v3.1 (YAML).

What is used of the standard: ``schema[].properties[]`` with ``logicalType``, ``physicalType``,
``required``, ``primaryKey``, ``tags`` (``pii``, ``dimension``), ``logicalTypeOptions`` and
``schema[].quality[]`` of ``type: custom, engine: abaco``, and ``slaProperties[]`` of ``property: frequency`` (how
often a tape is expected) and ``latency`` (how long after the day that it speaks of), with ``unit``. What the standard
has no word for stands in ``customProperties``. Source: bitol-io, Open Data Contract Standard v3.1.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field as ModelField

from abaco_loans.checked import FileModel, check
from abaco_loans.document import Document
from abaco_loans.errors import ConfigError
from abaco_loans.tape.contract import Column, Contract, Kind, Rule, Severity, Table


class _Custom(FileModel):
    property: str
    value: Any


class _Options(FileModel):
    minimum: str | int | None = None
    maximum: str | int | None = None
    maxLength: int | None = None


class _Property(FileModel):
    name: str = ModelField(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    logicalType: Literal["string", "integer", "number", "date", "boolean"]
    physicalType: str | None = None
    description: str = ""
    required: bool = False
    primaryKey: bool = False
    primaryKeyPosition: int | None = None
    classification: str | None = None
    tags: list[str] = []
    logicalTypeOptions: _Options = _Options()
    customProperties: list[_Custom] = []


class _Quality(FileModel):
    id: str = ModelField(pattern=r"^TAPE-\d{3}$")
    name: str
    type: Literal["custom"] = "custom"
    engine: Literal["abaco"] = "abaco"
    implementation: str
    severity: Severity = Severity.ERROR
    description: str = ""


class _Schema(FileModel):
    name: str
    description: str = ""
    physicalType: str | None = None
    properties: list[_Property] = ModelField(min_length=1)
    quality: list[_Quality] = []
    customProperties: list[_Custom] = []


class _Sla(FileModel):
    id: str = ""
    property: Literal["frequency", "latency"]
    value: int = ModelField(gt=0, le=10_000, strict=True)
    unit: Literal["h", "hour", "hours", "d", "day", "days"]
    description: str = ""


class _ContractFile(FileModel):
    apiVersion: Literal["v3.1.0"]
    kind: Literal["DataContract"]
    id: str
    name: str
    version: str
    status: str
    description: dict[str, str] = {}
    schema_: list[_Schema] = ModelField(alias="schema", min_length=1)
    slaProperties: list[_Sla] = []
    customProperties: list[_Custom] = []


_KINDS = {
    "string": Kind.TEXT,
    "integer": Kind.INTEGER,
    "number": Kind.DECIMAL,
    "date": Kind.DATE,
    "boolean": Kind.BOOLEAN,
}
_DECIMAL_TYPE = re.compile(r"DECIMAL\(18,\s*([0-9]|1[0-2])\)\Z", re.IGNORECASE)


def read_contract(document: Document) -> Contract:
    """The contract that the document describes.

    Raises:
        ConfigError: ``CFG-201`` the document is not a contract; ``CFG-202`` it contradicts itself.
    """
    file = check(document, _ContractFile, code="CFG-201", hint="compare with the contracts that `abaco init` makes")
    custom = _custom(file.customProperties)
    known = {"layout", "limitRows", "limitAmount", "limitUnmeasured", "piiPatterns"}
    if unknown := custom.keys() - known:
        raise ConfigError(
            f"unknown customProperties {sorted(unknown)}",
            code="CFG-201",
            where=document.where("customProperties"),
            hint=f"known are {sorted(known)}",
        )
    contract = Contract(
        layout=str(custom.get("layout", file.name)),
        version=file.version,
        tables=tuple(_table(document, index, schema) for index, schema in enumerate(file.schema_)),
        limit_rows=_share(document, custom.get("limitRows", "0.05")),
        limit_amount=_share(document, custom.get("limitAmount", "0.05")),
        limit_unmeasured=_count(document, custom.get("limitUnmeasured", 0)),
        pii_patterns=tuple(custom.get("piiPatterns", [])),
        arrives_every_h=_hours(document, file.slaProperties, "frequency"),
        arrives_within_h=_hours(document, file.slaProperties, "latency"),
        source_name=document.name,
    )
    for pattern in contract.pii_patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"piiPatterns holds {pattern!r}, which is no regular expression",
                code="CFG-202",
                where=document.where("customProperties"),
                hint=str(error),
            ) from error
    return contract


def _custom(items: list[_Custom]) -> dict[str, Any]:
    return {item.property: item.value for item in items}


def _hours(document: Document, promised: list[_Sla], name: str) -> int | None:
    """What the contract promises, in hours; None where it says nothing of it."""
    said = [item.value * (1 if item.unit.startswith("h") else 24) for item in promised if item.property == name]
    if len(said) > 1:
        raise ConfigError(
            f"slaProperties says {name} twice",
            code="CFG-202",
            where=document.where("slaProperties"),
            hint="keep one of them",
        )
    return said[0] if said else None


def _share(document: Document, value: Any) -> Decimal:
    try:
        share = Decimal(str(value))
    except ArithmeticError as error:
        raise ConfigError(
            f"{value!r} is not a share",
            code="CFG-202",
            where=document.where("customProperties"),
            hint="write a number from 0 to 1, like 0.05",
        ) from error
    if not 0 <= share <= 1:
        raise ConfigError(
            f"the limit {value} is not a share",
            code="CFG-202",
            where=document.where("customProperties"),
            hint="write a number from 0 to 1",
        )
    return share


def _count(document: Document, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigError(
            f"limitUnmeasured {value!r} is not a number of rows",
            code="CFG-202",
            where=document.where("customProperties"),
            hint="write a whole number, like 0",
        )
    return value


def _table(document: Document, index: int, schema: _Schema) -> Table:
    custom = _custom(schema.customProperties)
    keyed = sorted(
        (item.primaryKeyPosition or 0, position, item.name)
        for position, item in enumerate(schema.properties)
        if item.primaryKey
    )
    table = Table(
        name=schema.name,
        columns=tuple(_column(document, index, position, item) for position, item in enumerate(schema.properties)),
        key=tuple(name for _, _, name in keyed),
        rules=tuple(_rule(document, index, position, item) for position, item in enumerate(schema.quality)),
        amount=tuple(custom.get("amount", [])),
        optional=bool(custom.get("optional", False)),
        repeats=bool(custom.get("repeats", False)),
    )
    names = table.column_names
    for name in (*table.amount, *(column.within for column in table.columns if column.within)):
        if not set(re.findall(r"[a-z_][a-z0-9_]*", name)) <= set(names):
            raise ConfigError(
                f"{table.name}: {name!r} names a column that is not there",
                code="CFG-202",
                where=document.where("schema", index),
                hint=f"columns are {', '.join(names)}",
            )
    if len(set(names)) != len(names):
        raise ConfigError(
            f"{table.name}: a column stands twice",
            code="CFG-202",
            where=document.where("schema", index),
            hint="keep one of them",
        )
    return table


def _column(document: Document, schema_index: int, index: int, item: _Property) -> Column:
    custom = _custom(item.customProperties)
    scale = 4
    if item.physicalType and item.logicalType == "number":
        match = _DECIMAL_TYPE.match(item.physicalType)
        if not match:
            raise ConfigError(
                f"physicalType {item.physicalType!r} of {item.name} is not known",
                code="CFG-202",
                where=document.where("schema", schema_index, "properties", index),
                hint="write DECIMAL(18,4)",
            )
        scale = int(match[1])
    options = item.logicalTypeOptions
    return Column(
        name=item.name,
        kind=_KINDS[item.logicalType],
        description=item.description,
        required=bool(custom.get("mustExist", item.required)),
        nullable=not item.required,
        scale=scale,
        pii="pii" in item.tags,
        dimension="dimension" in item.tags,
        minimum=None if options.minimum is None else str(options.minimum),
        maximum=None if options.maximum is None else str(options.maximum),
        length_max=options.maxLength or 500,
        within=custom.get("within"),
    )


def _rule(document: Document, schema_index: int, index: int, item: _Quality) -> Rule:
    return Rule(
        code=item.id,
        name=item.name,
        expression=item.implementation,
        severity=item.severity,
        description=item.description,
        where=document.where("schema", schema_index, "quality", index),
    )
