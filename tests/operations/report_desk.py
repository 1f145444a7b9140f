"""Production some hours after a real cutover: v2 took over from v1, is compared with it, and was watched since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from abaco_loans.operations.alert_facts import ReportTools
from abaco_loans.operations.cut_over import start_cutover
from abaco_loans.operations.cutover_facts import cutover_facts
from abaco_loans.operations.watch_checkpoint import WatchTools
from abaco_loans.operations.watch_production import TickOutcome, tick
from abaco_loans.operations.watch_resources import Usage
from abaco_loans.watch.check import Check, Report, Status, SubCheck
from abaco_loans.wiring import report_tools, watch_tools
from tests.operations.cutover_desk import CutoverDesk
from tests.operations.shadow_desk import shadow

CALM: Mapping[str, Decimal | int | None] = {
    "kpi_latency_ms": Decimal("0.7"),
    "memory_mb": Decimal(105),
    "audit_trail_events": 8,
}


class ReportDesk(CutoverDesk):
    """A cutover and its watch; the clock begins so many hours before now."""

    metrics = CALM
    status = Status.PASS

    def __init__(self, folder: Path, *, hours_ago: float = 9) -> None:
        super().__init__(folder)
        self.clock.move_to(datetime.now(UTC) - timedelta(hours=hours_ago))

    def planned(self) -> str:
        """v1 has served a tape, both were compared, the rollback is drilled, v2 is planned; the plan's id."""
        self.arrive(1)
        self.work()
        assert shadow(self, self.book(1))["verdict"] == "pass"
        assert self.drill()["passed"]
        return self.plan().cutover_id

    def cut_over(self) -> str:
        """Approved and carried out, with light checks; a tape waits meanwhile."""
        cutover_id = self.planned()
        self.approve(cutover_id)
        self.arrive(2)
        record = start_cutover(cutover_id, self.given())
        assert record.status == "completed", self.told[-3:]
        self.settle()
        return cutover_id

    def settle(self) -> None:
        """A tape ran under the release that took over, and was compared with the old one."""
        self.since = self.clock.now()
        self.arrive(3)
        self.work()
        shadow(self, self.book(3), "v2", "v1", repeats=1)

    def watch_tools(self) -> WatchTools:
        """Real ones; what takes seconds, or is this machine's mood, is said by the desk."""
        made = watch_tools(self.workspace, self.environment, self.said.append, self.clock)
        return replace(
            made,
            validate=self._validate,
            usage=lambda owners: Usage(memory_mb=None, cpu_percent=Decimal(3)),
            follow=lambda outcome: None,
        )

    def walk(self, hours: float, *, step: float = 0.5) -> TickOutcome:
        """Tick again and again, up to so many hours after the cutover; the last tick."""
        found = None
        while self.clock.now() < self.since + timedelta(hours=hours):
            self.later(hours=step)
            found = tick(self.watch_tools())
        assert found is not None
        return found

    def report_tools(self) -> ReportTools:
        """What reports are made with."""
        return replace(report_tools(self.workspace, self.environment, self.clock), watch=self.watch_tools())

    def facts(self, cutover_id: str | None = None) -> dict[str, Any]:
        """What is recorded."""
        return cutover_facts(self.report_tools(), cutover_id)

    def _validate(self, release: str, baseline: Mapping[str, Decimal]) -> Report:
        def check(name: str, *metrics: str) -> Check:
            said = {metric: self.metrics.get(metric) for metric in metrics}
            part = SubCheck(name="looked", status=self.status, words="as told", metrics=said)
            return Check(name=name, subchecks=(part,))

        checks = (check("performance", "kpi_latency_ms", "memory_mb"), check("audit_trail", "audit_trail_events"))
        return Report(at=self.clock.now(), release=release, checks=checks)
