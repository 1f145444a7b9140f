"""A checked release as plain JSON data and back, so that it need not be read and checked again.

Nothing is believed for being plain: digests are computed from what was restored, by
:func:`abaco_loans.releases.release.sealed`, as after reading the files, and formulas are parsed against the
allow-list again. What cannot be restored to the letter gives None.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from abaco_loans.errors import ConfigError
from abaco_loans.kpi.catalogue import Catalogue, Kpi, formula_of, ordered
from abaco_loans.kpi.formula import Formula
from abaco_loans.releases.release import Release, sealed
from abaco_loans.tape.contract import Contract
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.mapping import Mapping


def plain_release(release: Release) -> dict[str, Any]:
    """The release as JSON data, without its digests."""
    return {
        "contracts": _plain(list(release.contracts.values())),
        "mappings": _plain(release.mappings),
        "catalogue": _plain(release.catalogue),
        "definitions": _plain(list(release.definitions.values())),
    }


def restored_release(name: str, data: Any) -> Release | None:
    """The release of which :func:`plain_release` gave the data; None where it cannot have."""
    try:
        contracts: tuple[Contract, ...] = _restored(tuple[Contract, ...], data["contracts"])
        mappings: tuple[Mapping, ...] = _restored(tuple[Mapping, ...], data["mappings"])
        catalogue: Catalogue = _restored(Catalogue, data["catalogue"])
        definitions: tuple[Definition, ...] = _restored(tuple[Definition, ...], data["definitions"])
        return sealed(
            name,
            {item.layout: item for item in contracts},
            mappings,
            Catalogue(version=catalogue.version, kpis=ordered({kpi.id: kpi for kpi in catalogue.kpis})),
            {item.name: item for item in definitions},
        )
    except (TypeError, ValueError, LookupError, ArithmeticError, ConfigError):
        return None


def _plain(item: Any) -> Any:
    if isinstance(item, Formula):
        return item.text
    if isinstance(item, Enum):
        return item.value
    if isinstance(item, Decimal):
        return str(item)
    if is_dataclass(item):
        return {field.name: _plain(getattr(item, field.name)) for field in fields(item)}
    if isinstance(item, MappingType):
        return {key: _plain(value) for key, value in item.items()}
    if isinstance(item, (tuple, list)):
        return [_plain(value) for value in item]
    return item


def _restored(kind: Any, data: Any) -> Any:
    """The value of the annotated type ``kind``. Raises TypeError, ValueError or ArithmeticError for other data."""
    if isinstance(kind, UnionType):
        return None if data is None else _restored(get_args(kind)[0], data)
    if get_origin(kind) is tuple:
        return tuple(_restored(get_args(kind)[0], value) for value in _of(list, data))
    if get_origin(kind) is MappingType:
        return {key: _restored(get_args(kind)[1], value) for key, value in _of(dict, data).items()}
    hints = _hints(kind)
    if hints:
        if _of(dict, data).keys() != hints.keys():
            raise TypeError(f"not the fields of {kind}")
        given = {name: _restored(hint, data[name]) for name, hint in hints.items() if hint is not Formula}
        if kind is Kpi:
            text, grain, where = _of(str, data["formula"]), given["grain"], given["where"]
            given["formula"] = formula_of(text, grain=grain, where=where)
        return kind(**given)
    if issubclass(kind, (Enum, Decimal)):
        return kind(_of(str, data))
    return _of(kind, data)


def _of(kind: type, data: Any) -> Any:
    """The data, if it is of exactly that type: True is no number."""
    if type(data) is not kind:
        raise TypeError(f"{type(data)} is not {kind}")
    return data


@cache
def _hints(kind: type) -> dict[str, Any]:
    """The fields of a dataclass with their types; none of another type."""
    return get_type_hints(kind) if is_dataclass(kind) else {}
