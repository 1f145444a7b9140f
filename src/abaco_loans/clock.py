"""The only place that asks what time it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Gives the present moment; passed in wherever time matters."""

    def now(self) -> datetime:
        """The present moment, timezone-aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present moment in UTC, to the microsecond."""
        return datetime.now(UTC)


class FixedClock:
    """A clock that stands still until it is moved: for tests, rehearsals and replays."""

    def __init__(self, at: datetime) -> None:
        if at.tzinfo is None:
            raise ValueError("a clock needs a timezone-aware time")
        self._at = at

    def now(self) -> datetime:
        """The moment at which the clock was set."""
        return self._at

    def move_to(self, at: datetime) -> None:
        """Set the clock to another moment, forwards or backwards."""
        self._at = at


class ShiftedClock:
    """The machine's clock, set forward by hand: for rehearsals, in which a day passes in seconds."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        """The present moment in UTC, so far ahead as the clock was set."""
        return datetime.now(UTC) + self._ahead

    def move_to(self, at: datetime) -> None:
        """Set the clock forward to a moment; one that has passed changes nothing."""
        self._ahead += max(at - self.now(), timedelta(0))
