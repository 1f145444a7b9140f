"""OpenLineage events of a run: built from what is recorded and published, appended to a file or sent over HTTP.

Invariant: an event speaks of columns, counts, digests and codes; never of a cell, a loan, a person, a file's name or
a path of this machine. The tape is known by its SHA-256 alone.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from abaco_loans import __version__
from abaco_loans.errors import WorldError
from abaco_loans.outputs.publish import world

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent
    from openlineage.client.facet_v2 import InputDatasetFacet, RunFacet, column_lineage_dataset

NAMESPACE = "abaco"
PRODUCER = f"urn:abaco-loans:{__version__}"
_RUNS = uuid.UUID("5b0b7f0e-6c1e-5a52-9d0a-7f3a0f6a2f11")

RunState = Literal["START", "COMPLETE", "FAIL"]
Send = Callable[["RunEvent"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageColumn:
    """A column of a clean tape: the source's column that it was made of, its type, and whether it was masked."""

    table: str
    name: str
    source: str
    kind: str
    masked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageCheck:
    """A rule of the contract, and how many rows it refused (or warned of); ``column`` is '' for a whole row."""

    table: str
    code: str
    column: str
    description: str
    rows: int
    refuses: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageKpi:
    """What a KPI is computed from: columns of the clean tape, each its table and its name.

    Attributes:
        columns: those that its value is computed from.
        picked_by: others, by which the rows are picked that it is computed over.
        grouped_by: those that rows are put together by first.
    """

    columns: tuple[tuple[str, str], ...] = ()
    picked_by: tuple[tuple[str, str], ...] = ()
    grouped_by: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageFile:
    """A file that was published."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageRun:
    """What is said of a run. What is not known yet is empty.

    Attributes:
        at: when it came to this state.
        kpis: by KPI, what it is computed from.
        error: the code of the failure; '' when there was none.
    """

    run_id: str
    attempt: int
    state: RunState
    at: datetime
    as_of: str
    release: str
    release_digest: str
    tape_sha256: str
    rows_in: int | None = None
    columns: tuple[LineageColumn, ...] = ()
    checks: tuple[LineageCheck, ...] = ()
    kpis: Mapping[str, LineageKpi] = field(default_factory=dict)
    files: tuple[LineageFile, ...] = ()
    error: str = ""


def lineage_id(run_id: str, attempt: int) -> str:
    """The UUID of an attempt of a run: always the same."""
    return str(uuid.uuid5(_RUNS, f"{run_id}/{attempt}"))


def lineage_event(said: LineageRun) -> RunEvent:
    """The event."""
    from openlineage.client.event_v2 import RunEvent, RunState

    return RunEvent(
        eventTime=said.at.isoformat(),
        eventType=RunState[said.state],
        run=_run(said),
        job=_job(said),
        inputs=_inputs(said),
        outputs=_outputs(said),
        producer=PRODUCER,
    )


def file_sender(path: Path) -> Send:
    """Appends each event as a line to a file that its owner alone may read."""
    from openlineage.client.serde import Serde

    def send(event: RunEvent) -> None:
        line = Serde.to_json(event).encode() + b"\n"
        with world(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)

    return send


def http_sender(environment: Mapping[str, str]) -> Send:
    """Sends each event to where the variables of OpenLineage say (``OPENLINEAGE_URL`` and the others).

    Raises:
        WorldError: ``OUT-112`` they say nothing.
    """
    if not any(name.startswith("OPENLINEAGE_") for name in environment):
        raise WorldError(
            "lineage is to be sent, and nothing says where to",
            code="OUT-112",
            where="lineage: http",
            hint="set OPENLINEAGE_URL, or lineage: file in abaco.yml",
        )
    from openlineage.client import OpenLineageClient

    client = OpenLineageClient()

    def send(event: RunEvent) -> None:
        # Not `client.emit`, which adds what it finds of this machine: variables, the git checkout.
        if client.filter_event(event) is not None:
            client.transport.emit(event)

    return send


# --- the parts of an event ---


def _run(said: LineageRun) -> Run:
    from openlineage.client.event_v2 import Run
    from openlineage.client.facet_v2 import error_message_run, nominal_time_run, processing_engine_run

    facets: dict[str, RunFacet] = {
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            version=__version__, name="abaco", producer=PRODUCER
        ),
        "nominalTime": nominal_time_run.NominalTimeRunFacet(
            nominalStartTime=f"{said.as_of}T00:00:00+00:00", producer=PRODUCER
        ),
    }
    if said.state == "FAIL":
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=said.error or "unknown", programmingLanguage="PYTHON", producer=PRODUCER
        )
    return Run(runId=lineage_id(said.run_id, said.attempt), facets=facets)


def _job(said: LineageRun) -> Job:
    from openlineage.client.event_v2 import Job
    from openlineage.client.facet_v2 import job_type_job

    kind = job_type_job.JobTypeJobFacet(processingType="BATCH", integration="ABACO", jobType="JOB", producer=PRODUCER)
    return Job(namespace=NAMESPACE, name=f"run.{said.release}", facets={"jobType": kind})


def _tables(said: LineageRun) -> list[str]:
    names = [item.table for item in said.columns] + [item.table for item in said.checks]
    return list(dict.fromkeys(names)) or ["tape"]


def _input_name(said: LineageRun, table: str) -> str:
    return f"tapes/{said.tape_sha256}" + ("" if table == "tape" else f"/{table}")


def _inputs(said: LineageRun) -> list[InputDataset]:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import dataset_version_dataset, input_statistics_input_dataset

    found = []
    for table in _tables(said):
        of_table = [item for item in said.columns if item.table == table]
        facets: dict[str, Any] = {
            "version": dataset_version_dataset.DatasetVersionDatasetFacet(said.tape_sha256, producer=PRODUCER)
        }
        if of_table:
            facets["schema"] = _schema((item.source, item.kind) for item in of_table)
        inputs: dict[str, InputDatasetFacet] = {}
        if said.rows_in is not None and len(_tables(said)) == 1:
            inputs["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
                rowCount=said.rows_in, producer=PRODUCER
            )
        checks = [item for item in said.checks if item.table == table]
        if checks:
            inputs["dataQualityAssertions"] = _assertions(said, checks)
        found.append(
            InputDataset(namespace=NAMESPACE, name=_input_name(said, table), facets=facets, inputFacets=inputs)
        )
    return found


def _assertions(said: LineageRun, checks: Iterable[LineageCheck]) -> InputDatasetFacet:
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality

    sources = {(item.table, item.name): item.source for item in said.columns}
    return quality.DataQualityAssertionsDatasetFacet(
        assertions=[
            quality.Assertion(
                assertion=item.code,
                name=item.code,
                success=item.rows == 0,
                column=sources.get((item.table, item.column), item.column) or None,
                severity="error" if item.refuses else "warn",
                description=item.description or None,
                expected="0",
                actual=str(item.rows),
            )
            for item in checks
        ],
        producer=PRODUCER,
    )


def _outputs(said: LineageRun) -> list[OutputDataset]:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import dataset_version_dataset, output_statistics_output_dataset

    found = []
    for file in said.files:
        facets: dict[str, Any] = {
            "version": dataset_version_dataset.DatasetVersionDatasetFacet(file.sha256, producer=PRODUCER)
        }
        facets |= _columns_of(said, file.name)
        size = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            size=file.size_bytes, producer=PRODUCER
        )
        name = f"outputs/{said.release}/{file.name}"
        found.append(
            OutputDataset(namespace=NAMESPACE, name=name, facets=facets, outputFacets={"outputStatistics": size})
        )
    return found


def _columns_of(said: LineageRun, name: str) -> dict[str, Any]:
    """Schema and column lineage of a clean tape, and of the KPIs; of other files, none."""
    from openlineage.client.facet_v2 import column_lineage_dataset as lineage

    stem = name.partition(".")[0]
    table = "tape" if stem == "clean" else stem.removeprefix("clean_")
    if stem.startswith("clean"):
        columns = [item for item in said.columns if item.table == table]
        schema = _schema((item.name, item.kind) for item in columns)
        fields = {item.name: _made_of(said, item) for item in columns}
    elif name == "kpis.json":
        schema = _schema((kpi_id, "decimal") for kpi_id in said.kpis)
        fields = {kpi_id: _computed_of(said, kpi) for kpi_id, kpi in said.kpis.items()}
    else:
        return {}
    if not fields:
        return {}
    return {"schema": schema, "columnLineage": lineage.ColumnLineageDatasetFacet(fields=fields, producer=PRODUCER)}


def _made_of(said: LineageRun, column: LineageColumn) -> column_lineage_dataset.Fields:
    from openlineage.client.facet_v2 import column_lineage_dataset as lineage

    words = "HMAC-SHA-256 with a secret key" if column.masked else f"typed as {column.kind}"
    step = lineage.Transformation(type="DIRECT", subtype="TRANSFORMATION", description=words, masking=column.masked)
    source = lineage.InputField(
        namespace=NAMESPACE, name=_input_name(said, column.table), field=column.source, transformations=[step]
    )
    return lineage.Fields(
        inputFields=[source],
        transformationDescription=words,
        transformationType="MASKED" if column.masked else "IDENTITY",
    )


def _computed_of(said: LineageRun, kpi: LineageKpi) -> column_lineage_dataset.Fields:
    from openlineage.client.facet_v2 import column_lineage_dataset as lineage

    steps = (
        (kpi.columns, "DIRECT", "AGGREGATION"),
        (kpi.picked_by, "INDIRECT", "FILTER"),
        (kpi.grouped_by, "INDIRECT", "GROUP_BY"),
    )
    return lineage.Fields(
        inputFields=[
            lineage.InputField(
                namespace=NAMESPACE,
                name=_input_name(said, item.table),
                field=item.source,
                transformations=[lineage.Transformation(type=kind, subtype=subtype, masking=item.masked)],
            )
            for columns, kind, subtype in steps
            for item in said.columns
            if (item.table, item.name) in columns
        ]
    )


def _schema(columns: Iterable[tuple[str, str]]) -> Any:
    from openlineage.client.facet_v2 import schema_dataset

    fields = [
        schema_dataset.SchemaDatasetFacetFields(name=name, type=kind, ordinal_position=number)
        for number, (name, kind) in enumerate(columns, 1)
    ]
    return schema_dataset.SchemaDatasetFacet(fields=fields, producer=PRODUCER)
