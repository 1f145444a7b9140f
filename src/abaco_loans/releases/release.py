"""A release: contracts, mappings, catalogue and definitions as one immutable bundle with two digests.

*Meaning* is what can change a number; *policy* is thresholds, owners, texts and limits. Two releases with the
same meaning digest give the same numbers for the same tape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import rfc8785

from abaco_loans.errors import ConfigError, InvariantError
from abaco_loans.kpi.catalogue import Catalogue
from abaco_loans.nearest import nearest
from abaco_loans.tape.contract import Contract
from abaco_loans.tape.definition import Definition
from abaco_loans.tape.expression import row_expression
from abaco_loans.tape.mapping import Mapping

CATALOGUE_FILE, DEFINITIONS_FILE = "catalogue.yml", "definitions.yml"
_POLICY_OF_KPI = {"name", "description", "thresholds", "owner", "departments", "refresh", "source", "where"}
_ARRIVAL = {"arrives_every_h", "arrives_within_h"}
_POLICY_ANYWHERE = {"description", "source_name", "where", "limit_rows", "limit_amount", "limit_unmeasured"} | _ARRIVAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A loaded release. Digests are SHA-256, hexadecimal.

    ``core_digest`` is the meaning without mappings: it is frozen once the release has run, while a mapping for
    a source that was not there before may be added (an amendment). ``mapping_digests`` are by mapping name.
    """

    name: str
    contracts: MappingType[str, Contract]
    mappings: tuple[Mapping, ...]
    catalogue: Catalogue
    definitions: MappingType[str, Definition]
    core_digest: str
    mapping_digests: MappingType[str, str]
    meaning_digest: str
    policy_digest: str
    kind: str = "catalogue"

    def definition(self, name: str | None, layout: str) -> Definition:
        """The definition of that name, or the default of the layout.

        Raises:
            ConfigError: ``REL-102`` there is none.
        """
        if name is None:
            for definition in self.definitions.values():
                if layout in definition.default_for:
                    return definition
            raise ConfigError(
                f"no definition is the default for {layout}",
                code="REL-102",
                where=DEFINITIONS_FILE,
                hint=f"add {layout} to default_for, or give --definition",
            )
        if name not in self.definitions:
            raise ConfigError(
                f"there is no definition {name!r}",
                code="REL-102",
                where=DEFINITIONS_FILE,
                hint=nearest(name, self.definitions),
            )
        return self.definitions[name]


def read_release(name: str, files: MappingType[str, str]) -> Release:
    """The release whose files (path below its folder → text) are given.

    Raises:
        ConfigError: whatever a file says wrong, with ``file:line``; ``REL-101`` a file is missing.
    """
    # Not above: a release that was checked before needs no reader (see `plain`).
    from abaco_loans.kpi.catalogue_file import read_catalogue
    from abaco_loans.strict_yaml import parse
    from abaco_loans.tape.contract_file import read_contract
    from abaco_loans.tape.definition_file import read_definitions
    from abaco_loans.tape.mapping_file import read_mapping

    for needed in (CATALOGUE_FILE, DEFINITIONS_FILE):
        if needed not in files:
            raise ConfigError(
                f"the release has no {needed}",
                code="REL-101",
                where=f"releases/{name}",
                hint="copy it from a new workspace (`abaco init`)",
            )
    place = f"releases/{name}"
    documents = {path: parse(text, name=f"{place}/{path}") for path, text in sorted(files.items())}
    contracts: dict[str, Contract] = {}
    for path, document in documents.items():
        if path.startswith("contracts/"):
            contract = read_contract(document)
            _check_rules(contract)
            contracts[contract.layout] = contract
    if not contracts:
        raise ConfigError(
            "the release has no contract",
            code="REL-101",
            where=f"{place}/contracts",
            hint="copy the contracts from a new workspace (`abaco init`)",
        )
    mappings = tuple(
        read_mapping(document, contracts) for path, document in documents.items() if path.startswith("mappings/")
    )
    catalogue = read_catalogue(documents[CATALOGUE_FILE])
    definitions = read_definitions(documents[DEFINITIONS_FILE])
    return sealed(name, contracts, mappings, catalogue, definitions)


def sealed(
    name: str,
    contracts: dict[str, Contract],
    mappings: tuple[Mapping, ...],
    catalogue: Catalogue,
    definitions: dict[str, Definition],
) -> Release:
    """The release with its digests, which are computed here and nowhere else."""
    core = _digest(
        {
            "contracts": {layout: _plain(item, _POLICY_ANYWHERE) for layout, item in contracts.items()},
            "kpis": {
                kpi.id: {
                    **_plain(kpi, _POLICY_OF_KPI | {"formula"}),
                    "formula": kpi.formula.normal,
                }
                for kpi in catalogue.kpis
            },
            "definitions": {item.name: item.as_dict() for item in definitions.values()},
        }
    )
    mapped = {item.name: _digest(_mapping_plain(item)) for item in mappings}
    return Release(
        name=name,
        contracts=contracts,
        mappings=mappings,
        catalogue=catalogue,
        definitions=definitions,
        core_digest=core,
        mapping_digests=mapped,
        meaning_digest=_digest({"core": core, "mappings": mapped}),
        policy_digest=_digest(
            {
                "limits": {
                    layout: [str(item.limit_rows), str(item.limit_amount), item.limit_unmeasured]
                    for layout, item in contracts.items()
                },
                **_expected_arrivals(contracts),
                "kpis": {kpi.id: _only(kpi, _POLICY_OF_KPI - {"where"}) for kpi in catalogue.kpis},
                "defaults": {item.name: list(item.default_for) for item in definitions.values()},
                "texts": {
                    **{f"contract {layout}": _texts(item) for layout, item in contracts.items()},
                    **{f"definition {item.name}": item.description for item in definitions.values()},
                },
            }
        ),
    )


def _expected_arrivals(contracts: MappingType[str, Contract]) -> dict[str, Any]:
    """When tapes are expected, by layout; nothing where nothing is, as before contracts could say it."""
    said = {layout: [item.arrives_every_h, item.arrives_within_h] for layout, item in contracts.items()}
    expected = {layout: hours for layout, hours in said.items() if any(hours)}
    return {"arrivals": expected} if expected else {}


def run_identity(
    release: Release, *, mapping: str, tape_sha256: str, as_of: str, definition: Definition, reporting_currency: str
) -> str:
    """The deterministic id of a run: the as-of date and 20 hexadecimal digits of what its numbers depend on."""
    digest = _digest(
        {
            "meaning": release.core_digest,
            "mapping": release.mapping_digests.get(mapping, ""),
            "tape": tape_sha256,
            "as_of": as_of,
            "definition": definition.as_dict(),
            "reporting_currency": reporting_currency,
        }
    )
    return f"{as_of.replace('-', '')}-{digest[:20]}"


def _check_rules(contract: Contract) -> None:
    """Every rule must parse when the release loads, not when a tape comes."""
    for table in contract.tables:
        for rule in table.rules:
            row_expression(rule.expression, columns=table.column_names, code="CFG-203", where=rule.where)


def _only(item: Any, names: set[str]) -> dict[str, Any]:
    return {field.name: _plain(getattr(item, field.name), set()) for field in fields(item) if field.name in names}


def _mapping_plain(mapping: Mapping) -> dict[str, Any]:
    """A mapping's meaning; the order in which its tables stand is none."""
    found = {
        field.name: _plain(getattr(mapping, field.name), _POLICY_ANYWHERE)
        for field in fields(mapping)
        if field.name not in _POLICY_ANYWHERE
    }
    return {**found, "tables": {item.table: _plain(item, _POLICY_ANYWHERE) for item in mapping.tables}}


def _texts(item: Any) -> Any:
    """The descriptions in a dataclass and in what it is made of, each where it stands."""
    if is_dataclass(item):
        found = {field.name: _texts(getattr(item, field.name)) for field in fields(item) if field.name != "description"}
        return {"description": getattr(item, "description", ""), **{name: text for name, text in found.items() if text}}
    if isinstance(item, (tuple, list)):
        return [text for entry in item if (text := _texts(entry))]
    return None


def _plain(item: Any, without: set[str]) -> Any:
    """Dataclasses, decimals and enums as canonical JSON data."""
    if isinstance(item, Enum):
        return item.value
    if item is None or isinstance(item, (str, bool, int)):
        return item
    if isinstance(item, Decimal):
        return format(item.normalize(), "f")
    if is_dataclass(item):
        return {
            field.name: _plain(getattr(item, field.name), without)
            for field in fields(item)
            if field.name not in without
        }
    if isinstance(item, MappingType):
        return {str(key): _plain(value, without) for key, value in item.items()}
    if isinstance(item, (tuple, list)):
        return [_plain(value, without) for value in item]
    raise InvariantError(f"no canonical form for {type(item).__name__}")


def _digest(data: Any) -> str:
    return hashlib.sha256(rfc8785.dumps(data)).hexdigest()
