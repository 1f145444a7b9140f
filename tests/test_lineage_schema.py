"""``scripts/check_lineage_schema.py``: events held against the schemas that they name, here two small ones of ours."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_lineage_schema.py"
SITE = "https://openlineage.io/spec/"
RUN = {
    "type": "object",
    "required": ["runId"],
    "properties": {"runId": {"type": "string", "format": "uuid"}},
}
SCHEMAS: dict[str, Any] = {
    "2-0-2/OpenLineage.json": {
        "$defs": {
            "Run": RUN,
            "BaseFacet": {"type": "object", "required": ["_producer"]},
            "RunEvent": {
                "type": "object",
                "required": ["run", "eventTime"],
                "properties": {
                    "run": {"$ref": "#/$defs/Run"},
                    "eventTime": {"type": "string", "format": "date-time"},
                    "producer": {"type": "string", "format": "uri"},
                },
            },
        }
    },
    "facets/1-0-0/SizeFacet.json": {
        "$defs": {
            "SizeFacet": {
                "allOf": [
                    {"$ref": f"{SITE}2-0-2/OpenLineage.json#/$defs/BaseFacet"},
                    {"required": ["rows"], "properties": {"rows": {"type": "integer"}}},
                ]
            }
        }
    },
}
FACET = {"_schemaURL": f"{SITE}facets/1-0-0/SizeFacet.json#/$defs/SizeFacet", "_producer": "urn:x", "rows": 3}
EVENT: dict[str, Any] = {
    "schemaURL": f"{SITE}2-0-2/OpenLineage.json#/$defs/RunEvent",
    "eventTime": "2025-11-30T10:00:00+00:00",
    "producer": "urn:abaco",
    "run": {"runId": "5b0b7f0e-6c1e-5a52-9d0a-7f3a0f6a2f11", "facets": {}},
    "inputs": [{"name": "tape", "inputFacets": {"size": FACET}}],
}


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    for name, schema in SCHEMAS.items():
        path = tmp_path / "schemas" / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"$id": SITE + name, **schema}), encoding="utf-8")
    return tmp_path / "schemas"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_lineage_schema", SCRIPT)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def checked(events: list[dict[str, Any]], schemas: Path, tmp_path: Path) -> int:
    path = tmp_path / "lineage.ndjson"
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    done = script().main([str(path), "--schemas", str(schemas)])
    assert isinstance(done, int)
    return done


def test_events_that_follow_their_schemas(schemas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked([EVENT, EVENT], schemas, tmp_path) == 0
    assert capsys.readouterr().out == "2 events, 0 faults\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run": {}}, "event.run: 'runId' is a required property"),
        ({"run": {"runId": "run-1"}}, "event.run.runId: 'run-1' is not a 'uuid'"),
        ({"eventTime": "2025-11-30"}, "event.eventTime: '2025-11-30' is not a 'date-time'"),
        ({"producer": "abaco loans"}, "event.producer: 'abaco loans' is not a 'uri'"),
        ({"schemaURL": "https://example.org/a.json"}, "event: names no published schema"),
        (
            {"inputs": [{"inputFacets": {"size": FACET | {"rows": "3"}}}]},
            "inputs[0].inputFacets.size.rows: '3' is not of type 'integer'",
        ),
        ({"inputs": [{"facets": {"size": {**FACET, "_schemaURL": ""}}}]}, "inputs[0].facets.size: names no published"),
        ({"inputs": [{"facets": {"size": "big"}}]}, "inputs[0].facets.size: names no published schema: None"),
        (
            {"inputs": [{"facets": {"size": FACET | {"_schemaURL": f"{SITE}facets/9-0-0/SizeFacet.json"}}}]},
            f"inputs[0].facets.size: {SITE}facets/9-0-0/SizeFacet.json cannot be read",
        ),
        ({"run": "x", "inputs": None}, "event.run: 'x' is not of type 'object'"),
    ],
)
def test_what_does_not_follow_is_said(
    change: dict[str, Any], words: str, schemas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked([EVENT, EVENT | change], schemas, tmp_path) == 1
    said = capsys.readouterr().out
    assert f"event 2: {words}" in said
    assert "event 1:" not in said


def test_lines_that_are_no_events_are_said(schemas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.ndjson"
    path.write_text(json.dumps(EVENT | {"job": "a\u2028b"}, ensure_ascii=False) + "\n[1]\n{\n\n", encoding="utf-8")
    assert script().main([str(path), "--schemas", str(schemas)]) == 1
    said = capsys.readouterr().out
    assert "event 2: no JSON object" in said and "event 3: no JSON:" in said and "3 events, 2 faults" in said


def test_each_schema_is_read_once(schemas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = Path.read_bytes

    def counted(path: Path) -> bytes:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    assert checked([EVENT] * 20, schemas, tmp_path) == 0
    assert sorted(name for name in read if name.endswith(".json")) == ["OpenLineage.json", "SizeFacet.json"]


def test_no_event_is_no_success(schemas: Path, tmp_path: Path) -> None:
    assert checked([], schemas, tmp_path) == 1
