"""What follows a tick: a line in the log of the watch, and alerts."""

from __future__ import annotations

from collections.abc import Callable

from abaco_loans.clock import Clock
from abaco_loans.errors import ConfigError
from abaco_loans.operations.alert_production import AlertTools, alert_production, policy_of
from abaco_loans.operations.watch_document import tick_document
from abaco_loans.operations.watch_log import write_watch_log
from abaco_loans.operations.watch_production import TickOutcome
from abaco_loans.operations.workspace import Workspace
from abaco_loans.watch.alert_policy import AlertPolicy


def follow_tick(
    workspace: Workspace,
    outcome: TickOutcome,
    clock: Clock,
    tell: Callable[[str], None],
    alerting: Callable[[AlertPolicy], AlertTools],
    policy: AlertPolicy | None = None,
) -> None:
    """Log what a tick did, raise alerts and send them.

    A broken ``alerts.yml`` keeps nobody from being told: then the built-in policy holds, and what is wrong is raised
    at the end.

    Args:
        policy: who hears of alerts; None: as ``alerts.yml`` says.

    Raises:
        ConfigError: what is wrong in ``alerts.yml``.
        WorldError: ``OUT-1xx`` the log cannot be written; the records failed.
    """
    write_watch_log(workspace, tick_document(outcome), clock.now().isoformat())
    broken: ConfigError | None = None
    try:
        chosen = policy or policy_of(workspace)
    except ConfigError as error:
        tell(f"ALERTS GO TO THE CONSOLE ONLY: {error.what} ({error.code}, {error.where})")
        chosen, broken = AlertPolicy(), error
    alert_production(alerting(chosen), outcome)
    if broken:
        raise broken
