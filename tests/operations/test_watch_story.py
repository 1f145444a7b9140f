"""A day and four weeks after a cutover, with faults at chosen hours: who is told what, when, and when it is over.

Time is injected; tapes, runs, records, checkpoints, alerts and deliveries are real, and so is the receiver.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from abaco_loans.errors import WorldError
from abaco_loans.operations.alert_production import AlertTools, alert_production
from abaco_loans.operations.watch_checkpoint import WatchTools
from abaco_loans.operations.watch_production import TickOutcome, sign_off, tick
from abaco_loans.records.production import NewJob
from abaco_loans.watch.alert import Alert
from abaco_loans.watch.alert_policy import AlertPolicy, Step, WebhookTarget
from abaco_loans.watch.schedule import FIRST_DAY, text_of
from abaco_loans.wiring import alert_tools
from tests.operations.desk import NOON, worked_example, write_csv
from tests.operations.shadow_desk import program, shadow
from tests.operations.watch_desk import CALM, Machine, WatchDesk
from tests.outputs.receivers import HOST, Receiver, receiver

LEAD, DATA, VP, ALL = "engineering_lead", "data_operations", "vp_engineering", "all_hands"
MINUTES = {LEAD: (0, 0), DATA: (30, 5), VP: (None, 10), ALL: (None, 15)}
# Everybody of the chain is told through a channel of their own.
POLICY = AlertPolicy(
    channels={**AlertPolicy().channels, **{who: WebhookTarget(url_env=f"{who.upper()}_URL") for who in MINUTES}},
    allowed_hosts=frozenset({f"http://{HOST}"}),
    chain=tuple(
        Step(
            who=who,
            channels=(who,),
            warning_after=None if warning is None else timedelta(minutes=warning),
            critical_after=timedelta(minutes=critical),
        )
        for who, (warning, critical) in MINUTES.items()
    ),
    tape_every=None,
)


@dataclass(kw_only=True)
class Office:
    """A watched production, and the people who are called."""

    desk: WatchDesk
    receivers: Mapping[str, Receiver]
    policy: AlertPolicy = POLICY

    def tools(self) -> WatchTools:
        """As `wiring` makes them, with the people's channels."""
        addresses = {f"{who.upper()}_URL": found.url(f"/{who}") for who, found in self.receivers.items()}
        given = alert_tools(self.desk.workspace, addresses, self.desk.said.append, self.desk.clock, self.policy)
        given = replace(given, open_records=self.desk.records)
        return replace(self.desk.tools(), follow=lambda outcome: told(given, outcome))

    def at(self, hours: float) -> TickOutcome:
        """Tick so many hours after the cutover."""
        self.desk.clock.move_to(NOON + timedelta(hours=hours))
        return tick(self.tools())

    def until(self, begin: float, end: float, step: float = 0.5) -> None:
        """Tick from the step after ``begin`` to ``end``."""
        for number in range(1, round((end - begin) / step) + 1):
            self.at(begin + number * step)

    def alerts(self) -> list[Alert]:
        """All alerts, the first one first."""
        with self.desk.records() as records:
            return sorted(records.alert_reader.list(1000), key=lambda item: item.event_seq)

    def told(self) -> dict[str, list[tuple[str, str, str]]]:
        """What each person was told: rule, status and severity, in order."""
        return {
            who: [
                (said["labels"]["alertname"], said["status"], said["labels"]["severity"])
                for request in found.received
                for said in request.document["alerts"]
            ]
            for who, found in self.receivers.items()
            if found.received
        }


def told(given: AlertTools, outcome: TickOutcome) -> None:
    alert_production(given, outcome)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> WatchDesk:
    desk = WatchDesk(tmp_path_factory.mktemp("made") / "workspace")
    desk.prepare()
    return desk


@pytest.fixture(scope="module")
def receivers() -> Iterator[dict[str, Receiver]]:
    with receiver() as lead, receiver() as data, receiver() as vp, receiver() as everybody:
        yield dict(zip(MINUTES, (lead, data, vp, everybody), strict=True))


@pytest.fixture
def office(made: WatchDesk, tmp_path: Path, receivers: dict[str, Receiver]) -> Office:
    for found in receivers.values():
        found.received.clear()
        found.answer(200)
    return Office(desk=made.copied(tmp_path / "workspace"), receivers=receivers)


# --- all is calm ---


def test_a_day_and_the_four_weeks_after_it(office: Office) -> None:
    office.until(0, 8)
    assert office.desk.decide("8", "keep").decision == "keep"
    office.until(8, 24)
    assert [item.hour for item in office.desk.checkpoints()] == [text_of(hour) for hour in FIRST_DAY]
    signed = sign_off(office.tools(), "all is calm")
    assert (signed.point, signed.decision) == ("24", "sign_off")
    office.until(24, 28 * 24, 24)
    found = office.desk.checkpoints()
    assert [item.hour for item in found[16:]] == [str(24 * day) for day in range(2, 29)]
    assert {(item.status, item.judged["status"]) for item in found} == {("done", "PASS")}
    assert office.desk.watch().status == "ended"
    assert (office.alerts(), office.told()) == ([], {})
    office.until(28 * 24, 29 * 24, 6)
    assert (office.alerts(), office.told()) == ([], {}), "and the days after it"


# --- figures beyond their limits ---


def measuring(**metrics: Any) -> Machine:
    return Machine(metrics={**CALM, **metrics})


FIGURES = [
    ("kpi_latency", measuring(kpi_latency_ms=Decimal(120)), "warning"),
    ("kpi_latency", measuring(kpi_latency_ms=Decimal(600)), "critical"),
    ("memory", measuring(memory_mb=Decimal(240)), "warning"),
    ("memory", measuring(memory_mb=Decimal(510)), "critical"),
    ("cpu", Machine(metrics=CALM, cpu_percent=Decimal(60)), "warning"),
    ("kpi_latency", measuring(kpi_latency_ms=None), "warning"),
]


@pytest.mark.parametrize(("rule", "machine", "severity"), FIGURES)
def test_a_figure_beyond_its_limit(office: Office, rule: str, machine: Machine, severity: str) -> None:
    """One alert of one cause, told in the order of the chain, and over at the first checkpoint without the fault."""
    office.until(0, 4)
    assert office.told() == {}
    office.desk.machine = machine
    office.until(4, 5)
    office.until(5, 5.75, 1 / 12)
    heard = {
        who: (rule, "firing", severity) for who, after in MINUTES.items() if after[severity == "critical"] is not None
    }
    assert office.told() == {who: [said] for who, said in heard.items()}
    office.desk.machine = Machine(metrics=CALM)
    office.at(6)
    assert office.told() == {who: [said, (rule, "resolved", severity)] for who, said in heard.items()}
    office.until(6, 7.5)
    (alert,) = office.alerts()
    assert (alert.rule, alert.severity.value, alert.is_open) == (rule, severity, False)


def test_memory_that_grows_by_a_quarter_an_hour(office: Office) -> None:
    for hour in FIRST_DAY[:4]:  # 1, 2, 2.5, 3
        office.desk.machine = measuring(memory_mb=Decimal(105) * (1 + (hour - 1) / 4))
        assert office.alerts() == []
        office.at(float(hour))
    (alert,) = office.alerts()
    assert (alert.rule, alert.severity.value) == ("memory", "critical")
    assert "growing by 25" in alert.words
    office.desk.machine = Machine(metrics=CALM)
    office.until(3, 7)
    (alert,) = office.alerts()
    assert not alert.is_open


# --- tapes that fail ---


@pytest.mark.parametrize(("failed", "ended"), [(1, 500), (6, 100)])
def test_tapes_that_fail(office: Office, failed: int, ended: int) -> None:
    """0.2 % is a warning; 6 % for five minutes calls for a rollback, and is told as that alone."""
    office.until(0, 3)
    office.desk.clock.move_to(NOON + timedelta(hours=3, minutes=20))
    finish(office.desk, ended, failed)
    office.at(3.5)
    rule, severity = ("error_rate", "warning") if failed == 1 else ("rollback_proposed", "critical")
    assert office.told() == {LEAD: [(rule, "firing", severity)]}
    open_ = {alert.rule for alert in office.alerts()}
    assert open_ == ({"error_rate"} if failed == 1 else {"rollback_proposed", "error_rate", "error_budget"})
    office.desk.clock.move_to(NOON + timedelta(hours=3, minutes=31))
    finish(office.desk, 30, 0)
    office.until(3.5, 5)
    assert not any(alert.is_open for alert in office.alerts())
    assert office.told()[LEAD] == [(rule, "firing", severity), (rule, "resolved", severity)]


def finish(desk: WatchDesk, ended: int, failed: int) -> None:
    """Jobs end, the first ones badly; nothing runs, as only the records are asked."""
    with desk.records() as records:
        writer = records.production_writer
        for number in range(ended):
            digest = f"{number:04x}{int(desk.clock.now().timestamp()):060x}"
            writer.submit(NewJob(tape_sha256=digest, tape_name="t.csv", as_of=None, spool=f"queue/{digest}.csv"))
            taken = writer.take("w", lease_s=60)
            assert taken is not None
            if number >= ended - failed:
                writer.fail(taken.job.job_id, taken.fence, {"code": "TAPE-1"}, again=False)
            else:
                writer.finish(
                    taken.job.job_id, taken.fence, epoch=taken.epoch, release=taken.release, run_id=f"r{number}"
                )


# --- KPIs that drift ---

PROGRAM = """\
import json, pathlib, sys
rows = len(pathlib.Path(sys.argv[1]).read_text().splitlines())
print('{"kpis": {"risk.par_30": ' + json.loads(pathlib.Path("said.json").read_text())[str(rows)] + '}}')
"""


@pytest.mark.parametrize(("percent", "severity"), [(2, "warning"), (6, "critical")])
def test_kpis_that_drift(
    made: WatchDesk, receivers: dict[str, Receiver], tmp_path: Path, percent: int, severity: str
) -> None:
    """The old release says something else of one tape; of the next one both say the same."""
    rows = worked_example()
    drifts, calm = (
        write_csv(tmp_path / f"{name}.csv", book) for name, book in (("drifts", rows[:-1]), ("calm", rows[:-2]))
    )
    said = {str(len(path.read_text().splitlines())): f"{par_30(made, path, tmp_path):f}" for path in (drifts, calm)}
    first = next(iter(said))
    said[first] = f"{Decimal(said[first]) / (1 + Decimal(percent) / 100):.20f}"
    desk = WatchDesk(tmp_path / "drift" / "workspace")
    program(desk, "v0", PROGRAM, {"said.json": json.dumps(said)})
    desk.begin(baseline_release="v0")
    for found in receivers.values():
        found.received.clear()
    office = Office(desk=desk, receivers=receivers)
    arrives(office, drifts)
    office.at(1)
    rule = "kpi_variance" if severity == "warning" else "rollback_proposed"
    assert office.told()[LEAD] == [(rule, "firing", severity)]
    assert {item.rule for item in office.alerts() if item.is_open} >= {"kpi_variance"}
    arrives(office, calm)
    office.at(2)
    assert office.told()[LEAD] == [(rule, "firing", severity), (rule, "resolved", severity)]
    assert not any(item.is_open for item in office.alerts())


def par_30(made: WatchDesk, tape: Path, folder: Path) -> Decimal:
    """What v2 says of a tape."""
    desk = made.copied(folder / tape.stem / "workspace")
    desk.submit(tape)
    desk.work()
    with desk.records() as records:
        last = records.reader.latest_finished()
        assert last is not None
        (found,) = [
            item for item in records.reader.kpi_values(last.run_id) if item.kpi_id == "risk.par_30" and not item.segment
        ]
    assert found.value is not None
    return found.value


def arrives(office: Office, tape: Path) -> None:
    """A tape arrives, runs, and is compared with the old release."""
    office.desk.submit(tape)
    office.desk.work()
    shadow(office.desk, tape, "v2", "v0", repeats=1)


# --- no tape, no answer, no channel, no ledger ---


def test_no_tape_for_longer_than_expected(office: Office) -> None:
    office.policy = replace(POLICY, tape_every=timedelta(hours=5))
    office.until(0, 5)
    assert office.told() == {}
    office.until(5, 6.5)
    assert office.told() == {who: [("no_tape", "firing", "warning")] for who in (LEAD, DATA)}
    office.desk.submit(office.desk.tape(amount=7))
    office.desk.work()
    office.at(7)
    assert office.told()[LEAD][-1] == ("no_tape", "resolved", "warning")


def test_nobody_answers_for_an_hour_and_then_somebody_does(office: Office) -> None:
    office.until(0, 1)
    office.desk.machine = measuring(kpi_latency_ms=Decimal(600))
    heard: dict[str, int] = {}
    for minute in range(61):
        office.at(2 + minute / 60)
        for who in office.told():
            heard.setdefault(who, minute)
    assert heard == {LEAD: 0, DATA: 5, VP: 10, ALL: 15}
    assert {who: len(said) for who, said in office.told().items()} == dict.fromkeys(MINUTES, 1)


def test_an_answer_in_time_asks_nobody_else(office: Office) -> None:
    office.until(0, 1)
    office.desk.machine = measuring(kpi_latency_ms=Decimal(600))
    office.at(2)
    with office.desk.records() as records:
        (alert,) = records.alert_reader.open()
        records.alert_writer.acknowledge(alert.alert_id, "looking at it")
    office.until(2, 3, 1 / 12)
    assert office.told() == {LEAD: [("kpi_latency", "firing", "critical")] * 2}, "asked, and told of the answer"


def test_a_channel_that_is_down_keeps_nobody_else_from_being_told(office: Office) -> None:
    office.receivers[LEAD].answer(500)
    office.until(0, 1)
    office.desk.machine = measuring(kpi_latency_ms=Decimal(600))
    office.until(1, 3, 1 / 12)
    told = office.told()
    assert ("kpi_latency", "firing", "critical") in told[DATA]
    assert [said for said in told[DATA] if said[0] == "channel_down"] == [("channel_down", "firing", "warning")]
    office.receivers[LEAD].received.clear()
    office.receivers[LEAD].answer(200)
    office.until(3, 4, 1 / 12)
    assert ("kpi_latency", "firing", "critical") in office.told()[LEAD], "it waited, and was not lost"
    assert office.told()[DATA][-1] == ("channel_down", "resolved", "warning")


def test_an_event_is_taken_out_of_the_ledger(office: Office) -> None:
    office.until(0, 1)
    with office.desk.records() as records, records._database.write() as connection:
        connection.rows("DELETE FROM events WHERE seq = 5")
    with suppress(WorldError):
        office.at(2)
    assert office.told().get(LEAD) == [("rollback_proposed", "firing", "critical")], office.desk.said
