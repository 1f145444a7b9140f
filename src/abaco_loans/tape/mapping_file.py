"""Reads mappings (YAML): how a source's own columns, units, formats and codes become the contract's."""

from __future__ import annotations

import re
from datetime import date
from typing import Literal

from pydantic import Field as ModelField

from abaco_loans.checked import FileModel, check
from abaco_loans.document import Document
from abaco_loans.errors import ConfigError
from abaco_loans.nearest import nearest
from abaco_loans.tape.cells import FALSE_WORDS, TRUE_WORDS
from abaco_loans.tape.contract import Contract, Kind, Table
from abaco_loans.tape.mapping import Field, Formats, Mapping, TableMapping, Unit

# What a code may stand for, by the kind of its column: as the text, and as it is said. Text may be anything.
_VALUES = {
    Kind.INTEGER: (r"[+-]?\d{1,18}", "a whole number"),
    Kind.DECIMAL: (r"[+-]?\d{1,14}([.]\d+)?", "a number with a decimal point"),
    Kind.DATE: (r"\d{4}-\d\d-\d\d", "a date like 2025-11-30"),
    Kind.BOOLEAN: ("|".join((*TRUE_WORDS, *FALSE_WORDS)), "true or false (in quotes)"),
}
_DIRECTIVES = {"%d", "%m", "%Y", "%y", "%b", "%B", "%H", "%M", "%S"}


class _Field(FileModel):
    from_: str = ModelField(alias="from")
    unit: Unit = Unit.AS_IS
    codes: dict[str, str] = {}
    date: str | None = None


class _Formats(FileModel):
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ",", ".", " ", "'"] = ""
    date: str = "iso"


class _TableFile(FileModel):
    file: str | None = ModelField(default=None, pattern=r"^[^/\\\x00]+$")
    sheet: str | None = None
    delimiter: str | None = ModelField(default=None, min_length=1, max_length=1)
    encoding: str | None = None
    formats: _Formats = _Formats()
    columns: dict[str, str | _Field]


class _MappingFile(FileModel):
    name: str = ModelField(pattern=r"^[a-z][a-z0-9_-]{0,62}$")
    layout: str
    description: str = ""
    tables: dict[str, _TableFile]


def read_mapping(document: Document, contracts: dict[str, Contract]) -> Mapping:
    """The mapping that the document describes, checked against the contract of its layout.

    Raises:
        ConfigError: ``CFG-301`` not a mapping; ``CFG-302`` unknown layout, table or column, or a required
            column that is not mapped.
    """
    file = check(document, _MappingFile, code="CFG-301", hint="see docs/mappings.md")
    contract = contracts.get(file.layout)
    if contract is None:
        raise ConfigError(
            f"unknown layout {file.layout!r}",
            code="CFG-302",
            where=document.where("layout"),
            hint=f"layouts are {', '.join(contracts)}",
        )
    tables = []
    for name, table_file in file.tables.items():
        _agree(document, contract, name, table_file)
        tables.append(_table(name, table_file))
    for table in contract.tables:
        if not table.optional and table.name not in file.tables:
            raise ConfigError(
                f"the table {table.name!r} is not mapped",
                code="CFG-302",
                where=document.where("tables"),
                hint=f"add tables.{table.name}",
            )
    return Mapping(
        name=file.name,
        layout=file.layout,
        tables=tuple(tables),
        description=file.description,
        source_name=document.name,
    )


def _agree(document: Document, contract: Contract, name: str, file: _TableFile) -> None:
    known = {table.name: table for table in contract.tables}
    if name not in known:
        raise ConfigError(
            f"the layout {contract.layout} has no table {name!r}",
            code="CFG-302",
            where=document.where("tables", name),
            hint=f"tables are {', '.join(known)}",
        )
    if file.formats.thousands == file.formats.decimal:
        raise ConfigError(
            "thousands and decimal separator are the same",
            code="CFG-302",
            where=document.where("tables", name, "formats"),
            hint="change one of them",
        )
    own = (item.date for item in file.columns.values() if isinstance(item, _Field) and item.date)
    for pattern in (file.formats.date, *own):
        if pattern != "iso" and not (
            all(re.search(part, pattern) for part in ("%d", "%[mbB]", "%[Yy]"))
            and set(re.findall("%.?", pattern)) <= _DIRECTIVES
        ):
            raise ConfigError(
                f"{pattern!r} is no date pattern",
                code="CFG-302",
                where=document.where("tables", name),
                hint="write iso, or day, month and year like %d/%m/%Y",
            )
    _codes_agree(document, known[name], file)
    names = known[name].column_names
    for column in file.columns:
        if column not in names:
            raise ConfigError(
                f"the contract has no column {column!r} in {name}",
                code="CFG-302",
                where=document.where("tables", name, "columns", column),
                hint=nearest(column, names),
            )
    missing = [column.name for column in known[name].columns if column.required and column.name not in file.columns]
    if missing:
        raise ConfigError(
            f"required columns of {name} are not mapped: {', '.join(missing)}",
            code="CFG-302",
            where=document.where("tables", name, "columns"),
            hint="add `column: source name` lines",
        )


def _codes_agree(document: Document, table: Table, file: _TableFile) -> None:
    """What a code stands for must be a value of its column; empty where the column may be."""
    for column in table.columns:
        field = file.columns.get(column.name)
        if not isinstance(field, _Field) or column.kind not in _VALUES:
            continue
        pattern, words = _VALUES[column.kind]
        for code, value in field.codes.items():
            fits = re.fullmatch(pattern, value, re.IGNORECASE) and (column.kind is not Kind.DATE or _is_day(value))
            if not fits and (value or not column.nullable):
                raise ConfigError(
                    f"the code {code!r} stands for {value!r}, and {column.name} holds {words}",
                    code="CFG-302",
                    where=document.where("tables", table.name, "columns", column.name),
                    hint=f"write {words} behind the code",
                )


def _is_day(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def _table(name: str, file: _TableFile) -> TableMapping:
    fields = {}
    for column, source in file.columns.items():
        if isinstance(source, str):
            fields[column] = Field(source=source)
        else:
            fields[column] = Field(source=source.from_, unit=source.unit, codes=source.codes, date_format=source.date)
    return TableMapping(
        table=name,
        fields=fields,
        formats=Formats(**file.formats.model_dump()),
        file=file.file,
        delimiter=file.delimiter,
        encoding=file.encoding,
        sheet=file.sheet,
    )
