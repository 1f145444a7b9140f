"""Which layout and mapping a tape has: told by its column names, or by the person who runs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingType
from dataclasses import replace

from abaco_loans.errors import InputError
from abaco_loans.nearest import closest, meant, nearest
from abaco_loans.tape.contract import Contract
from abaco_loans.tape.mapping import Field, Mapping, TableMapping, Unread


def identity_mapping(contract: Contract, headers: MappingType[str, Sequence[str]]) -> Mapping:
    """The mapping of a tape that uses the contract's own names. ``headers``: table → column names."""
    tables = []
    for table in contract.tables:
        if table.name in headers:
            names = {name.casefold(): name for name in headers[table.name]}
            fields = {
                column.name: Field(source=names[column.name.casefold()])
                for column in table.columns
                if column.name.casefold() in names
            }
            tables.append(TableMapping(table=table.name, fields=fields))
    return Mapping(name=contract.layout, layout=contract.layout, tables=tuple(tables))


def fitted(mapping: Mapping, contract: Contract, headers: MappingType[str, Sequence[str]]) -> Mapping:
    """The mapping with the header's own spelling of each name; what optional columns are not there is ``unread``."""
    tables = []
    for item in mapping.tables:
        if item.table not in headers:
            continue
        names = {name.casefold(): name for name in headers[item.table]}
        fields = {
            column: Field(
                source=names[field.source.casefold()],
                unit=field.unit,
                codes=field.codes,
                date_format=field.date_format,
            )
            for column, field in item.fields.items()
            if field.source.casefold() in names
        }
        tables.append(
            TableMapping(
                table=item.table,
                fields=fields,
                formats=item.formats,
                file=item.file,
                delimiter=item.delimiter,
                encoding=item.encoding,
                sheet=item.sheet,
            )
        )
    return Mapping(
        name=mapping.name,
        layout=mapping.layout,
        tables=tuple(tables),
        description=mapping.description,
        source_name=mapping.source_name,
        unread=tuple(_unread(mapping, contract, headers)),
    )


def _unread(mapping: Mapping, contract: Contract, headers: MappingType[str, Sequence[str]]) -> Iterator[Unread]:
    """Columns that a mapping names and the tape lacks, and the contract's own names written wrong."""
    for table in contract.tables:
        item = mapping.table(table.name)
        if item is None or table.name not in headers:
            continue
        there = {name.casefold() for name in headers[table.name]}
        read = {field.source.casefold() for field in item.fields.values()}
        spare = [name for name in headers[table.name] if name.casefold() not in read]
        own = all(field.source.casefold() == column for column, field in item.fields.items())
        for column in table.column_names:
            if column in item.fields and item.fields[column].source.casefold() not in there:
                source = item.fields[column].source
                yield Unread(table=table.name, column=column, source=source, like=closest(source, spare))
            elif own and column not in item.fields:
                like = meant(column, spare)
                if like is not None:
                    yield Unread(table=table.name, column=column, source=column, like=like)


def missing_columns(
    mapping: Mapping, contract: Contract, headers: MappingType[str, Sequence[str]]
) -> list[tuple[str, str, str]]:
    """(table, contract column, source column) of required columns that the headers lack."""
    missing = []
    for table in contract.tables:
        item = mapping.table(table.name)
        if item is None or table.name not in headers:
            if not table.optional:
                missing += [(table.name, column.name, column.name) for column in table.columns if column.required]
            continue
        names = {name.casefold() for name in headers[table.name]}
        for column in table.columns:
            source = item.fields[column.name].source if column.name in item.fields else column.name
            if column.required and source.casefold() not in names:
                missing.append((table.name, column.name, source))
    return missing


def choose_mapping(
    contracts: MappingType[str, Contract],
    mappings: Sequence[Mapping],
    headers: MappingType[str, Sequence[str]],
    *,
    name: str,
    layout: str | None = None,
    mapping: str | None = None,
) -> Mapping:
    """The mapping that fits the headers (table → column names), fitted to their spelling.

    ``layout`` and ``mapping`` narrow the choice. Among several that fit, the one that reads most columns wins.

    Raises:
        InputError: ``TAPE-101`` no mapping fits; ``TAPE-102`` a required column is missing; ``TAPE-103`` an
            unknown layout or mapping is asked for.
    """
    known = [item for item in mappings if item.layout in contracts]
    if mapping is not None and mapping not in [item.name for item in known]:
        raise InputError(
            f"there is no mapping {mapping!r}",
            code="TAPE-103",
            where=name,
            hint=nearest(mapping, [item.name for item in known]),
        )
    if layout is not None and layout not in contracts:
        raise InputError(f"there is no layout {layout!r}", code="TAPE-103", where=name, hint=nearest(layout, contracts))
    if mapping is None:
        known += [identity_mapping(contract, headers) for contract in contracts.values()]
    candidates = [
        item
        for item in known
        if (mapping is None or item.name == mapping)
        and (layout is None or item.layout == layout)
        and {table.table for table in item.tables} & set(headers)
    ]
    fits = [item for item in candidates if not missing_columns(item, contracts[item.layout], headers)]
    if fits:
        best = max(fits, key=lambda item: _read(item, headers))
        as_good = [item.name for item in fits if item in mappings and _read(item, headers) == _read(best, headers)]
        rivals = tuple(name for name in as_good if name != best.name)
        return replace(fitted(best, contracts[best.layout], headers), rivals=rivals)
    raise _no_fit(contracts, candidates, headers, name, narrowed=layout is not None or mapping is not None)


def _read(mapping: Mapping, headers: MappingType[str, Sequence[str]]) -> int:
    return sum(
        field.source.casefold() in {name.casefold() for name in headers.get(item.table, ())}
        for item in mapping.tables
        for field in item.fields.values()
    )


def _no_fit(
    contracts: MappingType[str, Contract],
    candidates: Sequence[Mapping],
    headers: MappingType[str, Sequence[str]],
    name: str,
    *,
    narrowed: bool,
) -> InputError:
    found = ", ".join(column for header in headers.values() for column in list(header)[:12])
    if not candidates:
        return InputError(
            "no mapping reads such a tape",
            code="TAPE-101",
            where=name,
            hint=f"its columns are {found}; write a mapping (docs/mappings.md)",
        )
    best = max(candidates, key=lambda item: _read(item, headers))
    missing = missing_columns(best, contracts[best.layout], headers)
    if _read(best, headers) * 2 < len(missing) and not narrowed:
        return InputError(
            "the tape fits no contract and no mapping: it looks like another lender's",
            code="TAPE-101",
            where=name,
            hint=f"its columns are {found}; write a mapping (docs/mappings.md)",
        )
    table, _, source = missing[0]
    names = ", ".join(sorted({item[2] for item in missing}))
    close = nearest(source, headers.get(table, ())) if table in headers else f"the file for {table} is missing"
    return InputError(
        f"required column(s) missing for the {best.layout} layout ({best.name}): {names}",
        code="TAPE-102",
        where=name,
        hint=f"{source}: {close}; rename it, or write a mapping (docs/mappings.md)",
    )
