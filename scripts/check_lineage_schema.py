#!/usr/bin/env python3
"""Check OpenLineage events against the published JSON Schema: ``check_lineage_schema.py EVENTS [--schemas FOLDER]``.

EVENTS is a file with an event a line (``logs/lineage.ndjson`` of a workspace). Each event is held against the schema
that its ``schemaURL`` names, each facet against that of its ``_schemaURL``, formats included. The schemas are fetched
from those URLs; on a machine without network, FOLDER holds them as the site does (``2-0-2/OpenLineage.json``,
``facets/1-2-0/SchemaDatasetFacet.json``). Needs the packages of the extra ``dev``.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.exceptions import NoSuchResource, Unresolvable
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
    faults = checker(given.schemas)
    # Not splitlines: a text may hold other characters that end a line.
    lines = [line for line in given.events.read_text(encoding="utf-8").split("\n") if line]
    found = [f"event {number}: {fault}" for number, line in enumerate(lines, 1) for fault in faults(line)]
    print(*found, f"{len(lines)} events, {len(found)} faults", sep="\n")
    return 1 if found or not lines else 0


def checker(schemas: Path | None) -> Callable[[str], Iterator[str]]:
    """What finds the faults of an event, given as text. Each schema is read once."""
    retrieve = functools.cache(functools.partial(_schema, folder=schemas))
    registry: Registry[Any] = Registry(retrieve=retrieve)  # type: ignore[call-arg]
    formats = Draft202012Validator.FORMAT_CHECKER
    if missing := _FORMATS - formats.checkers.keys():
        raise SystemExit(f"install rfc3339-validator and rfc3986-validator: nothing checks {sorted(missing)}")

    def held(said: object, url: object, place: str) -> Iterator[str]:
        if not isinstance(url, str) or not url.startswith(SITE):
            yield f"{place}: names no published schema: {url!r}"
            return
        validator = Draft202012Validator({"$ref": url}, registry=registry, format_checker=formats)
        try:
            for error in validator.iter_errors(said):
                yield f"{place}{error.json_path[1:]}: {error.message}"
        except Unresolvable as error:
            yield f"{place}: {url} cannot be read: {error}"

    def faults(line: str) -> Iterator[str]:
        try:
            event = json.loads(line)
        except ValueError as error:
            yield f"no JSON: {error}"
            return
        if not isinstance(event, dict):
            yield "no JSON object"
            return
        yield from held(event, event.get("schemaURL"), "event")
        for place, facet in _facets(event):
            url = facet.get("_schemaURL") if isinstance(facet, dict) else None
            yield from held(facet, url, place)

    return faults


def _facets(event: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Every facet of an event with its place; what is not of the form is for the schema of the event to say."""
    holders: list[tuple[str, object]] = [("run", event.get("run")), ("job", event.get("job"))]
    for side in ("inputs", "outputs"):
        items = event.get(side)
        holders += [(f"{side}[{index}]", item) for index, item in enumerate(items if isinstance(items, list) else [])]
    for place, holder in holders:
        for kind in ("facets", "inputFacets", "outputFacets"):
            facets = holder.get(kind) if isinstance(holder, dict) else None
            if isinstance(facets, dict):
                yield from ((f"{place}.{kind}.{name}", facet) for name, facet in facets.items())


def _schema(uri: str, folder: Path | None) -> Resource[Any]:
    if not uri.startswith(SITE):
        raise NoSuchResource(uri)
    if folder is not None:
        text = (folder / uri.removeprefix(SITE)).read_bytes()
    else:
        with urllib.request.urlopen(uri, timeout=_TIMEOUT_S) as answer:
            text = answer.read()
    return Resource.from_contents(json.loads(text), default_specification=DRAFT202012)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
