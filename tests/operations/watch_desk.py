"""A desk whose production is watched: v2 is active since noon, v1 was before, one tape was run and compared."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from abaco_loans.clock import FixedClock
from abaco_loans.operations.begin_watch import start_watch
from abaco_loans.operations.watch_checkpoint import WatchTools
from abaco_loans.operations.watch_production import TickOutcome, decide, tick
from abaco_loans.operations.watch_resources import Usage
from abaco_loans.operations.workspace import open_workspace
from abaco_loans.records.cutovers import NewCutover
from abaco_loans.records.ledger import canonical
from abaco_loans.records.watches import CheckpointRecord, DecisionRecord, WatchRecord
from abaco_loans.releases.plan import PlanFacts, cutover_plan
from abaco_loans.watch.check import Check, Report, Status, SubCheck
from abaco_loans.wiring import watch_tools
from tests.operations.desk import NOON
from tests.operations.queue_desk import QueueDesk
from tests.operations.shadow_desk import shadow, worked_tape

CALM: Mapping[str, Decimal | int | None] = {
    "kpi_latency_ms": Decimal("0.7"),
    "memory_mb": Decimal(105),
    "audit_trail_events": 8,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a validation and a look at the machine find: said here, so that a day passes in a second."""

    metrics: Mapping[str, Decimal | int | None]
    cpu_percent: Decimal | None = Decimal(3)
    status: Status = Status.PASS


class WatchDesk(QueueDesk):
    """One workspace, its queue and its watch."""

    machine = Machine(metrics=CALM)

    def begin(
        self, cutover_id: str = "c1", baseline_release: str = "v1", *, rehearsal: bool = True, **more: Any
    ) -> WatchRecord:
        """Record a cutover (planned by nobody), make v2 the active release, and begin to watch it."""
        facts = PlanFacts(
            from_release="v1",
            to_release="v2",
            from_meaning="",
            from_policy="",
            to_meaning="",
            to_policy="",
            planned_by="nobody",
            planned_at=self.clock.now(),
            pointer_epoch=1,
            workspace_id="w",
            rehearsal=rehearsal,
        )
        plan = cutover_plan(facts)
        with self.records() as records:
            records.production_writer.ensure("v2")
            records.cutover_writer.add(
                NewCutover(
                    cutover_id=cutover_id,
                    kind="cutover",
                    from_release="v1",
                    to_release="v2",
                    plan=canonical(plan.as_dict()).decode(),
                    plan_hash=plan.hash(),
                )
            )
        return start_watch(
            self.tools(),
            cutover_id,
            release="v2",
            baseline_release=baseline_release,
            cutover_at=self.clock.now(),
            **more,
        )

    def prepare(self, *, rehearsal: bool = True) -> None:
        """Begin, run a tape and compare it."""
        self.begin(rehearsal=rehearsal)
        tape = worked_tape(self)
        self.submit(tape)
        self.work()
        shadow(self, tape, "v2", "v1", repeats=1)

    def work(self) -> None:
        """End one job."""
        assert self.worker().work_once() is not None

    def tools(self) -> WatchTools:
        """Real tools; what takes seconds, or is this machine's mood, is said by `machine`. Nothing follows a tick."""
        made = watch_tools(self.workspace, self.environment, self.said.append, self.clock)
        return replace(
            made,
            open_records=self.records,
            validate=self._validate,
            usage=self._usage,
            follow=lambda outcome: None,
            archive=lambda cutover_id: None,
        )

    def at(self, hours: float) -> TickOutcome:
        """Tick so many hours after the cutover."""
        self.clock.move_to(NOON + timedelta(hours=hours))
        return tick(self.tools())

    def walk(self, begin: float, end: float, step: float = 0.5) -> None:
        """Tick again and again, from the step after ``begin`` to ``end``."""
        for number in range(1, round((end - begin) / step) + 1):
            self.at(begin + number * step)

    def decide(self, hour: str, choice: str, reason: str = "all is calm") -> DecisionRecord:
        """Decide at a point."""
        return decide(self.tools(), hour, choice, reason)

    def checkpoints(self) -> tuple[CheckpointRecord, ...]:
        """What was recorded; the ledger and every row of the records are verified."""
        with self.records() as records:
            assert records.verify().ok
            assert records.faults() == ()
            return records.watch_reader.checkpoints("c1")

    def decisions(self) -> dict[str, DecisionRecord]:
        """Decisions by hour."""
        with self.records() as records:
            return {item.point: item for item in records.watch_reader.decisions("c1")}

    def watch(self) -> WatchRecord:
        """The watch."""
        with self.records() as records:
            found = records.watch_reader.get("c1")
        assert found is not None
        return found

    def copied(self, folder: Path) -> WatchDesk:
        """The same desk in another folder."""
        desk = copy.copy(self)
        shutil.copytree(self.workspace.root, folder, symlinks=True)
        desk.workspace = open_workspace(folder, desk.environment)
        desk.clock, desk.said = FixedClock(self.clock.now()), []
        return desk

    def _validate(self, release: str, baseline: Mapping[str, Decimal]) -> Report:
        found = self.machine

        def check(name: str, *metrics: str) -> Check:
            said = {metric: found.metrics.get(metric) for metric in metrics}
            return Check(
                name=name, subchecks=(SubCheck(name="looked", status=found.status, words="as told", metrics=said),)
            )

        checks = (check("performance", "kpi_latency_ms", "memory_mb"), check("audit_trail", "audit_trail_events"))
        return Report(at=self.clock.now(), release=release, checks=checks)

    def _usage(self, owners: Sequence[str]) -> Usage:
        return Usage(memory_mb=None, cpu_percent=self.machine.cpu_percent)
