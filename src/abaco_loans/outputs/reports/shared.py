"""Sections that several reports have, word for word."""

from __future__ import annotations

from abaco_loans.outputs.layout import Section
from abaco_loans.outputs.reports import parts
from abaco_loans.outputs.reports.alert_parts import alert_parts
from abaco_loans.outputs.reports.words import Facts


def numbers(facts: Facts) -> Section:
    """The KPIs of both releases."""
    return Section(
        name="kpis", title="The numbers", lead="Both releases on the same tape.", parts=[*parts.kpi_parts(facts)]
    )


def no_loss(facts: Facts) -> Section:
    """What became of every tape."""
    return Section(
        name="no-loss",
        title="Is anything lost?",
        lead="What the records say of every tape that was acknowledged.",
        parts=[*parts.no_loss_parts(facts)],
    )


def alerts(facts: Facts) -> Section:
    """What fired."""
    return Section(
        name="alerts", title="Alerts", lead="What fired since the cutover began.", parts=[*alert_parts(facts)]
    )
