"""How findings add up, and what a metric's value means."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import pytest

from abaco_loans.errors import InvariantError
from abaco_loans.watch.check import Check, Report, Status, SubCheck, added_up
from abaco_loans.watch.metric import (
    AUDIT_EVENTS,
    CPU,
    ERROR_RATE,
    KPI_LATENCY,
    KPI_VARIANCE,
    MEMORY,
    METRICS,
    Metric,
    judged,
    run_budget_s,
)

NOON = datetime(2025, 12, 1, 12, tzinfo=UTC)
P, W, F, U, N = Status.PASS, Status.WARN, Status.FAIL, Status.UNKNOWN, Status.NOT_APPLICABLE
# The worse of two, written out: a row a status, in the order P W F U N.
WORSE = {
    P: (P, W, F, U, P),
    W: (W, W, F, U, W),
    F: (F, F, F, F, F),
    U: (U, U, F, U, U),
    N: (P, W, F, U, N),
}


def part(status: Status, name: str = "part") -> SubCheck:
    return SubCheck(name=name, status=status, words=f"it is {status.value}")


def report(*statuses: Status) -> Report:
    checks = tuple(Check(name=f"check{i}", subchecks=(part(status),)) for i, status in enumerate(statuses))
    return Report(at=NOON, release="v2", checks=checks)


@pytest.mark.parametrize(("first", "second"), list(product(WORSE, WORSE)))
def test_every_pair_adds_up(first: Status, second: Status) -> None:
    wanted = WORSE[first][list(WORSE).index(second)]
    assert added_up([first, second]) is wanted
    assert Check(name="c", subchecks=(part(first, "a"), part(second, "b"))).status is wanted
    overall = report(first, second).status
    assert overall is (U if wanted is N else wanted)
    assert (overall is P) == ({first, second} <= {P, N} and {first, second} != {N})


def test_nothing_looked_at_is_no_pass() -> None:
    assert added_up([]) is N
    assert Check(name="c", subchecks=()).status is N
    assert report().status is U
    assert report(N, N).status is U


def test_a_name_stands_once() -> None:
    with pytest.raises(InvariantError):
        Check(name="c", subchecks=(part(P), part(F)))
    twice = [SubCheck(name=name, status=P, words="", metrics={"x_ms": 1}) for name in "ab"]
    with pytest.raises(InvariantError):
        Check(name="c", subchecks=tuple(twice))


def test_the_report_lists_what_is_not_applicable_and_calls_only_the_rest_issues() -> None:
    good = SubCheck(name="a", status=P, words="fine", metrics={"x_ms": Decimal("0.65"), "rows": 3}, evidence={"e": 1})
    checks = (Check(name="one", subchecks=(good, part(N, "b"))), Check(name="two", subchecks=(part(U), part(W, "w"))))
    found = Report(at=NOON, release="v2", checks=checks).as_dict()
    assert found["status"] == "UNKNOWN"
    assert found["timestamp"] == "2025-12-01T12:00:00+00:00"
    assert found["checks"]["one"] == {
        "status": "PASS",
        "metrics": {"x_ms": 0.65, "rows": 3},
        "evidence": {"a": {"e": 1}},
        "subchecks": [
            {"name": "a", "status": "PASS", "words": "fine"},
            {"name": "b", "status": "NOT_APPLICABLE", "words": "it is NOT_APPLICABLE"},
        ],
    }
    assert [(item["check"], item["subcheck"], item["status"]) for item in found["issues"]] == [
        ("two", "part", "UNKNOWN"),
        ("two", "w", "WARN"),
    ]


@pytest.mark.parametrize(
    ("metric", "value", "wanted"),
    [
        (KPI_LATENCY, "0.65", P),
        (KPI_LATENCY, "100", P),
        (KPI_LATENCY, "100.001", W),
        (KPI_LATENCY, "500", W),
        (KPI_LATENCY, "500.001", F),
        (ERROR_RATE, "0", P),
        (ERROR_RATE, "0.1", P),
        (ERROR_RATE, "0.2", W),
        (ERROR_RATE, "5", W),
        (ERROR_RATE, "6", F),
        (MEMORY, "105", P),
        (MEMORY, "200", P),
        (MEMORY, "200.1", W),
        (MEMORY, "500", W),
        (MEMORY, "500.1", F),
        (CPU, "49.9", P),
        (CPU, "50", W),
        (CPU, "80", W),
        (CPU, "99", W),
        (AUDIT_EVENTS, "7", P),
        (AUDIT_EVENTS, "6", P),
        (AUDIT_EVENTS, "5", P),
        (AUDIT_EVENTS, "1", P),
        (AUDIT_EVENTS, "0", F),
        (KPI_VARIANCE, "1", P),
        (KPI_VARIANCE, "2", W),
        (KPI_VARIANCE, "5", W),
        (KPI_VARIANCE, "5.1", F),
    ],
)
def test_the_limits_are_those_of_the_table(metric: Metric, value: str, wanted: Status) -> None:
    found = judged(metric, Decimal(value))
    assert found.status is wanted
    assert metric.text in found.words


def test_what_could_not_be_measured_is_unknown() -> None:
    for metric in METRICS.values():
        assert judged(metric, None, Decimal(1)).status is U


def test_only_lasting_load_is_critical() -> None:
    assert judged(CPU, Decimal(81), lasting=True).status is F
    assert judged(CPU, Decimal(80), lasting=True).status is W


def test_memory_is_held_against_its_baseline_and_its_growth() -> None:
    baseline = Decimal(100)
    assert judged(MEMORY, Decimal(105), baseline).status is P
    assert judged(MEMORY, Decimal("105.1"), baseline).status is W
    assert judged(MEMORY, Decimal(60), baseline).status is P
    assert judged(MEMORY, Decimal(60), growth_percent=Decimal(20)).status is P
    assert judged(MEMORY, Decimal(60), growth_percent=Decimal("20.1")).status is F
    # Only memory is judged so.
    assert judged(KPI_LATENCY, Decimal(90), baseline / 100, growth_percent=Decimal(900)).status is P


def test_a_run_has_ten_seconds_for_every_hundred_thousand_rows() -> None:
    assert [run_budget_s(rows) for rows in (0, 100_000, 250_000)] == [10, 10, 25]


def test_a_rise_is_judged_of_what_was_measured_like_the_baseline() -> None:
    """The checkpoint's memory may be a worker's, the baseline's is the run's own."""
    base = Decimal(100)
    assert judged(MEMORY, Decimal(160), base, compared=Decimal(104)).status is Status.PASS
    risen = judged(MEMORY, Decimal(160), base, compared=Decimal(106))
    assert (risen.status, "106 is more than 5 % over 100" in risen.words) == (Status.WARN, True)
    assert judged(MEMORY, Decimal(106), base).status is Status.WARN
    assert judged(MEMORY, Decimal(501), base, compared=base).status is Status.FAIL
