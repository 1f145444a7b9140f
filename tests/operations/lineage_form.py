"""Holds events of OpenLineage, read from JSON, against the classes that its project makes of the published schema.

The JSON Schema itself comes in no package that a test could install. The classes of ``openlineage-python`` are made of
it, and they know what a part must have and may have, and of which type each value is. What they let through is checked
here: they verify no type and no URL when they are made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlparse

import attrs
from openlineage.client import event_v2
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    data_quality_assertions_dataset,
    dataset_version_dataset,
    error_message_run,
    input_statistics_input_dataset,
    job_type_job,
    nominal_time_run,
    output_statistics_output_dataset,
    processing_engine_run,
    schema_dataset,
)
from openlineage.client.generated import base

SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
# Place of a facet, and its name there → its class.
FACETS: Mapping[tuple[str, str], type[Any]] = {
    ("run", "processing_engine"): processing_engine_run.ProcessingEngineRunFacet,
    ("run", "nominalTime"): nominal_time_run.NominalTimeRunFacet,
    ("run", "errorMessage"): error_message_run.ErrorMessageRunFacet,
    ("job", "jobType"): job_type_job.JobTypeJobFacet,
    ("dataset", "schema"): schema_dataset.SchemaDatasetFacet,
    ("dataset", "version"): dataset_version_dataset.DatasetVersionDatasetFacet,
    ("dataset", "columnLineage"): column_lineage_dataset.ColumnLineageDatasetFacet,
    ("input", "dataQualityAssertions"): data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet,
    ("input", "inputStatistics"): input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
    ("output", "outputStatistics"): output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
}
_BASES = {
    "run": base.RunFacet,
    "job": base.JobFacet,
    "dataset": base.DatasetFacet,
    "input": base.InputDatasetFacet,
    "output": base.OutputDatasetFacet,
}


class NotInForm(AssertionError):
    """An event is not of the form that its schema asks for."""


def check_event(event: Mapping[str, Any]) -> event_v2.RunEvent:
    """The event, read strictly into the classes of the project.

    Raises:
        NotInForm: a part is missing, unknown, of another type, at a place where the schema has no such facet, or says
            that it follows another schema.
    """
    said = dict(event)
    run, job = (_with_facets(said[name], name) for name in ("run", "job"))
    inputs, outputs = (
        [_with_facets(_with_facets(item, "dataset"), kind, f"{kind}Facets") for item in said[f"{kind}s"]]
        for kind in ("input", "output")
    )
    made = _made(event_v2.RunEvent, {**said, "run": run, "job": job, "inputs": inputs, "outputs": outputs}, "event")
    _is_url(said["producer"], "event.producer")
    if said["schemaURL"] != SCHEMA:
        raise NotInForm(f"event.schemaURL is {said['schemaURL']}")
    if datetime.fromisoformat(said["eventTime"]).tzinfo is None:
        raise NotInForm("event.eventTime has no zone")
    assert isinstance(made, event_v2.RunEvent)
    return made


def _with_facets(part: Mapping[str, Any], place: str, key: str = "facets") -> dict[str, Any]:
    """The part with its facets as objects."""
    found = {}
    for name, said in part.get(key, {}).items():
        if (place, name) not in FACETS:
            raise NotInForm(f"a {place} has no facet {name}")
        kind, where = FACETS[place, name], f"{place}.{name}"
        schema = kind._get_schema()
        assert issubclass(kind, _BASES[place]), where
        _is_url(said.get("_producer", ""), f"{where}._producer")
        title = kind.__name__
        wanted = rf"https://openlineage\.io/spec/facets/\d+-\d+-\d+/{title}\.json#/\$defs/{title}"
        if said.get("_schemaURL") != schema or not re.fullmatch(wanted, said["_schemaURL"]):
            raise NotInForm(f"{where}._schemaURL is {said.get('_schemaURL')}")
        found[name] = _made(kind, said, where)
    return {**part, key: found}


def _made(kind: type[Any], said: Mapping[str, Any], where: str) -> Any:
    """An object of an attrs class, from JSON data of exactly its fields; the class verifies what it verifies."""
    if not isinstance(said, Mapping):
        raise NotInForm(f"{where} is no object")
    # What a class finds out by itself (its schema) it is not given.
    fields = {item.name: item for item in attrs.fields(kind)}
    unknown = [name for name in said if name not in fields]
    missing = [name for name, item in fields.items() if item.default is attrs.NOTHING and name not in said]
    if unknown or missing:
        raise NotInForm(f"{where}: unknown {unknown}, missing {missing}")
    hints = get_type_hints(kind)
    values = {name: _value(hints[name], value, f"{where}.{name}") for name, value in said.items()}
    try:
        return kind(**{fields[name].alias: value for name, value in values.items() if fields[name].init})
    except (TypeError, ValueError) as error:
        raise NotInForm(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """A value of the type that the class declares."""
    origin, given = get_origin(hint), get_args(hint)
    if hint is Any or (isinstance(hint, type) and attrs.has(hint) and isinstance(value, hint)):
        return value
    if origin in (Union, UnionType):
        (wanted,) = [item for item in given if item is not type(None)]
        return _value(wanted, value, where)
    if origin is list and isinstance(value, list):
        return [_value(given[0], item, f"{where}[{place}]") for place, item in enumerate(value)]
    if origin is dict and isinstance(value, Mapping):
        return {name: _value(given[1], item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(hint, type) and attrs.has(hint):
        return _made(hint, value, where)
    if isinstance(hint, type) and issubclass(hint, Enum) and value in [item.value for item in hint]:
        return hint(value)
    # A JSON true is no number here, and a number no text.
    if hint is float and type(value) is int:
        return value
    if type(value) is not hint:
        raise NotInForm(f"{where} is {value!r}, not {hint}")
    return value


def _is_url(text: str, where: str) -> None:
    """A URI, as the schema's ``format: uri`` asks: with a scheme, and no sign that none may have."""
    if not urlparse(text).scheme or not re.fullmatch(r"[!-~]+", text):
        raise NotInForm(f"{where} is {text!r}, no URI")
