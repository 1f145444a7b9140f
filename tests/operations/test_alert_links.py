"""What a message leads to: the page of the runbook and the dashboard that `alerts.yml` names, in every channel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from abaco_loans.operations.deliver_alerts import message_of
from abaco_loans.outputs.channels.base import Message
from abaco_loans.outputs.channels.email import mail_of
from abaco_loans.outputs.channels.pagerduty import pagerduty_event
from abaco_loans.outputs.channels.slack import slack_payload
from abaco_loans.outputs.channels.webhook import webhook_payload
from abaco_loans.watch.alert_policy import Places
from tests.operations.alert_desk import POLICY, AlertDesk

PAGE, BOARD = "https://wiki.example.com/abaco/operations", "https://grafana.example.com/d/abaco"


@pytest.fixture
def desk(tmp_path: Path) -> AlertDesk:
    return AlertDesk(folder=tmp_path)


def message(desk: AlertDesk, **places: str) -> Message:
    desk.queue(desk.raised("kpi_latency"), "team")
    with desk.records() as records:
        (delivery,) = records.alert_reader.deliveries()
        return message_of(delivery, records.alert_reader, replace(POLICY, links=Places(**places)))


def test_every_channel_leads_to_this_alert_s_page_and_to_the_dashboard(desk: AlertDesk) -> None:
    made = message(desk, runbook=PAGE, dashboard=BOARD)
    page = f"{PAGE}#kpi-latency"
    assert pagerduty_event(made, "key")["links"] == [
        {"href": BOARD, "text": "Dashboard"}, {"href": page, "text": "Runbook"},
    ]  # fmt: skip
    (context,) = [block for block in slack_payload(made)["blocks"] if block["type"] == "context"]
    assert context["elements"][0]["text"] == f"<{BOARD}|Dashboard> · <{page}|Runbook>"
    document = webhook_payload(made)
    assert document["commonAnnotations"]["runbook_url"] == page
    assert {document["externalURL"], document["alerts"][0]["generatorURL"]} == {BOARD}
    mail = mail_of(made, sender="a@b.c", to=("d@e.f",)).as_string()
    assert page in mail and BOARD in mail


def test_without_links_the_runbook_is_named(desk: AlertDesk) -> None:
    made = message(desk)
    assert made.links == ()
    assert made.alert.runbook == "docs/operations.md#kpi-latency"


def test_a_dashboard_alone(desk: AlertDesk) -> None:
    made = message(desk, dashboard=BOARD)
    assert [item.href for item in made.links] == [BOARD]
    assert made.alert.runbook == "docs/operations.md#kpi-latency"
