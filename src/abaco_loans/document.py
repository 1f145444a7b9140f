"""What a configuration file says: plain data, and the line on which each part of it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed file: its data (dict, list, str, int, bool, None) and the line on which each path starts."""

    name: str
    data: Any
    lines: dict[tuple[str | int, ...], int] = field(default_factory=dict)

    def where(self, *path: str | int) -> str:
        """``file:line`` of the nearest known ancestor of ``path``."""
        for length in range(len(path), -1, -1):
            line = self.lines.get(tuple(path[:length]))
            if line is not None:
                return f"{self.name}:{line}"
        return self.name
