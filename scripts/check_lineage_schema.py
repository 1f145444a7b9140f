#!/usr/bin/env python3
"""Check OpenLineage events against the published JSON Schema: ``check_lineage_schema.py EVENTS [--schemas FOLDER]``.

EVENTS is a file with an event a line (``logs/lineage.ndjson`` of a workspace). Each event is held against the schema
that its ``schemaURL`` names, each facet against that of its ``_schemaURL``, formats included. The schemas are fetched
from those URLs; on a machine without network, FOLDER holds them as the site does (``2-0-2/OpenLineage.json``,
``facets/1-2-0/SchemaDatasetFacet.json``). Needs the packages of the extra ``dev``.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

SITE = "https://openlineage.io/spec/"
_TIMEOUT_S = 30
_FORMATS = frozenset({"date-time", "uri", "uuid"})


def main(arguments: list[str]) -> int:
    """Print what is wrong with each event; 1 when something is, or when there is no event."""
    parser = argparse.ArgumentParser(description="Check OpenLineage events against the published JSON Schema.")
    parser.add_argument("events", type=Path, help="file with an event a line")
    parser.add_argument("--schemas", type=Path, help="folder with the schemas; without it they are fetched")
    given = parser.parse_args(arguments)
    check = checker(given.schemas)
    events = [json.loads(line) for line in given.events.read_text(encoding="utf-8").splitlines()]
    found = [f"event {number}: {fault}" for number, event in enumerate(events, 1) for fault in check(event)]
    facets = sum(len(list(_facets(event))) for event in events)
    print(*found, f"{len(events)} events with {facets} facets, {len(found)} faults", sep="\n")
    return 1 if found or not events else 0


def checker(schemas: Path | None) -> Callable[[dict[str, Any]], Iterator[str]]:
    """What finds the faults of an event."""
    registry: Registry[Any] = Registry(retrieve=lambda uri: _schema(uri, schemas))  # type: ignore[call-arg]
    formats = Draft202012Validator.FORMAT_CHECKER
    if missing := _FORMATS - formats.checkers.keys():
        raise SystemExit(f"install rfc3339-validator and rfc3986-validator: nothing checks {sorted(missing)}")

    def held(said: object, url: str, place: str) -> Iterator[str]:
        if not url.startswith(SITE):
            yield f"{place}: names no published schema: {url!r}"
            return
        validator = Draft202012Validator({"$ref": url}, registry=registry, format_checker=formats)
        for error in validator.iter_errors(said):
            yield f"{place}{error.json_path[1:]}: {error.message}"

    def faults(event: dict[str, Any]) -> Iterator[str]:
        yield from held(event, str(event.get("schemaURL")), "event")
        for place, facet in _facets(event):
            yield from held(facet, str(facet.get("_schemaURL")), place)

    return faults


def _facets(event: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every facet of an event with its place."""
    holders = [("run", event.get("run", {})), ("job", event.get("job", {}))]
    for side in ("inputs", "outputs"):
        holders += [(f"{side}[{index}]", item) for index, item in enumerate(event.get(side, []))]
    for place, holder in holders:
        for kind in ("facets", "inputFacets", "outputFacets"):
            for name, facet in holder.get(kind, {}).items():
                yield f"{place}.{kind}.{name}", facet


def _schema(uri: str, folder: Path | None) -> Resource[Any]:
    if not uri.startswith(SITE):
        raise SystemExit(f"a schema of another site is named: {uri}")
    if folder is not None:
        text = (folder / uri.removeprefix(SITE)).read_bytes()
    else:
        with urllib.request.urlopen(uri, timeout=_TIMEOUT_S) as answer:
            text = answer.read()
    return Resource.from_contents(json.loads(text), default_specification=DRAFT202012)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
