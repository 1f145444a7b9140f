"""Record a run: its start, its results or its refusal, each with its events."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from abaco_loans.engines.base import Engine
from abaco_loans.errors import InputError, WorldError
from abaco_loans.kpi.result import KpiResult, text_of
from abaco_loans.operations.calculate import Calculated
from abaco_loans.operations.read_tape import ReadTape
from abaco_loans.operations.tools import Records, Tools
from abaco_loans.operations.write_outputs import write_quarantine
from abaco_loans.outputs.publish import Publication, set_aside, world
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.runs import KpiRow, QuarantineCount, RowCounts, RunFinish, RunRecord, RunStart
from abaco_loans.releases.release import Release
from abaco_loans.tape.definition import Definition


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """What every run has, whatever made its numbers."""

    run_id: str
    as_of: date
    tools: Tools
    records: Records

    def event(self, action: str, payload: Mapping[str, object]) -> NewEvent:
        """An event of this run."""
        return NewEvent(action=action, subject=self.run_id, payload=dict(payload))

    def told(self, record: RunRecord) -> RunRecord:
        """The run as it was recorded just now, after whoever follows runs has heard of it."""
        self.tools.follow(record)
        return record

    def repaired(self, finished: RunRecord, publication: Publication) -> RunRecord:
        """The outputs of a finished run were lost, and have been made again as they were.

        Raises:
            WorldError: ``RUN-110`` they are not as they were, and have been moved away.
        """
        if publication.manifest_sha256 != finished.manifest_sha256:
            place = set_aside(self.tools.workspace.outputs, publication.folder)
            raise WorldError(
                "the outputs cannot be made again as they were: engine, key, policy or options have changed since",
                code="RUN-110",
                where=f"outputs/{place}",
                hint="restore the folder from a backup; if the run was made with --csv, give it again",
            )
        self.records.append([self.event("outputs.repaired", {"folder": publication.folder})])
        return finished


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecorder(Recorder):
    """Writes down what becomes of one run of a catalogue release."""

    tape: ReadTape
    release: Release
    definition: Definition

    def start(self) -> RunRecord:
        """The run is at work; an attempt that died before is taken over."""
        release, tape = self.release, self.tape
        role = self.tools.workspace.role(release.name)
        self.records.writer.ensure_release(
            release.name,
            kind=release.kind,
            role=role,
            meaning_digest=release.core_digest,
            policy_digest=release.policy_digest,
        )
        digest = release.mapping_digests.get(tape.mapping.name)
        if digest:  # a mapping that has run is frozen like the release; a new one is an amendment
            self.records.writer.ensure_release(
                f"{release.name}/mappings/{tape.mapping.name}",
                kind="mapping",
                role=role,
                meaning_digest=digest,
                policy_digest=release.policy_digest,
            )
        files = {report.name: report.sha256 for report in tape.files}
        started = self.records.writer.start(
            RunStart(
                run_id=self.run_id,
                release=release.name,
                release_digest=release.core_digest,
                tape_sha256=tape.sha256,
                tape_path=Path(tape.path).name,
                layout=tape.layout,
                as_of=self.as_of,
                definition=self.definition.name,
            ),
            [self.event("tape.fingerprinted", {"files": files, "sha256": tape.sha256})],
        )
        return self.told(started)

    def refuse(self, refusal: InputError, engine: Engine, scratch: Path) -> None:
        """The tape is not good enough; its quarantine is published so that a person can see every row.

        A run that finished before (tolerant, now strict) stays as it is.
        """
        earlier = self.records.reader.get(self.run_id)
        if earlier is not None and earlier.status == "finished":
            return
        started = self.start()
        staging = scratch / "refused"
        with world(staging):
            staging.mkdir()
            write_quarantine(staging / "quarantine.csv", self.tape, engine)
            target = self.tools.workspace.outputs / "refused" / self.run_id
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            staging.rename(target)
        refused = self.records.writer.refuse(
            self.run_id, refusal.as_dict(), self._counts(), self._rows(), attempt=started.attempt
        )
        self.told(refused)
        self.tools.anchor()

    def finish(
        self, calculated: Calculated, publication: Publication, timings: Mapping[str, float], attempt: int
    ) -> RunRecord:
        """The run is done: its values, counts and events, in one transaction."""
        finish = RunFinish(
            rows=self._rows(),
            output_folder=publication.folder,
            manifest_sha256=publication.manifest_sha256,
            timings=timings,
            warnings=[item.as_dict() for item in (*self.tape.warnings, *calculated.warnings)],
        )
        now = self.tools.clock.now()
        evaluation = calculated.evaluation
        values = [self.kpi_row(result, self.as_of, now) for result in (*evaluation.overall, *evaluation.segments)]
        events = self._events(calculated, publication)
        return self.told(
            self.records.writer.finish(self.run_id, finish, values, self._counts(), events, attempt=attempt)
        )

    def facts(self, started: RunRecord) -> dict[str, object]:
        """What the manifest says of the run: the same whenever the outputs of this attempt are made again."""
        release, tape = self.release, self.tape
        return {
            "run_id": self.run_id,
            "as_of": self.as_of.isoformat(),
            "definition": self.definition.as_dict(),
            "release": {"name": release.name, "meaning": release.meaning_digest, "policy": release.policy_digest},
            "tape": {
                "name": Path(tape.path).name,
                "sha256": tape.sha256,
                "layout": tape.layout,
                "mapping": tape.mapping.name,
                "files": {report.name: report.sha256 for report in tape.files},
            },
            "rows": tape.row_counts,
            "masking_key": self.tools.key.version,
            "engine": self.tools.engine_version,
            "created_at": started.started_at.isoformat(),
        }

    def _events(self, calculated: Calculated, publication: Publication) -> list[NewEvent]:
        said = {
            result.kpi.id: text_of(result.value_exact) or result.status.value
            for result in calculated.evaluation.overall
        }
        columns = list(calculated.compiled.calculation.columns)
        place = {"folder": publication.folder, "manifest_sha256": publication.manifest_sha256}
        tape = {"layout": self.tape.layout, "mapping": self.tape.mapping.name}
        return [
            self.event("ingestion.finished", {**tape, **self.tape.row_counts}),
            self.event("transformation.finished", {"columns": columns, "definition": self.definition.as_dict()}),
            self.event("calculation.finished", dict(said)),
            self.event("outputs.published", dict(place)),
        ]

    def finish_panel(
        self,
        values: Sequence[KpiRow],
        publication: Publication,
        facts: Mapping[str, object],
        warnings: Sequence[Mapping[str, object]],
        timings: Mapping[str, float],
        attempt: int,
    ) -> RunRecord:
        """The panel is done: the values of all its dates and its events, in one transaction."""
        finish = RunFinish(
            rows=self._rows(),
            output_folder=publication.folder,
            manifest_sha256=publication.manifest_sha256,
            timings=timings,
            warnings=warnings,
        )
        place = {"folder": publication.folder, "manifest_sha256": publication.manifest_sha256}
        events = [
            self.event("ingestion.finished", {"layout": self.tape.layout, **self.tape.row_counts}),
            self.event("panel.built", {**facts, "definition": self.definition.as_dict()}),
            self.event("outputs.published", dict(place)),
        ]
        return self.told(
            self.records.writer.finish(self.run_id, finish, values, self._counts(), events, attempt=attempt)
        )

    def kpi_row(self, result: KpiResult, as_of: date, now: datetime) -> KpiRow:
        """A result as it is recorded."""
        return KpiRow(
            run_id=self.run_id,
            kpi_id=result.kpi.id,
            segment=result.segment,
            segment_value=result.segment_value,
            as_of=as_of,
            recorded_at=now,
            definition=self.definition.name,
            release=self.release.name,
            value=result.value,
            value_exact=result.value_exact,
            unit=result.kpi.unit,
            status=result.status.value,
            reason=result.reason,
            low=result.low,
            high=result.high,
            components={name: text for name, value in result.components.items() if (text := text_of(value))},
        )

    def _counts(self) -> list[QuarantineCount]:
        return [
            QuarantineCount(file=item.file, column=item.column, code=item.code, rows=item.rows)
            for report in self.tape.files
            for item in report.refusals
        ]

    def _rows(self) -> RowCounts:
        rows_in, accepted, quarantined, duplicates = self.tape.totals
        return RowCounts(rows_in=rows_in, accepted=accepted, quarantined=quarantined, duplicate=duplicates)
