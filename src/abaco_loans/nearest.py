"""The nearest known name to one that is not known, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 12
# Ratios of difflib: a name worth asking about, and one that can hardly be another.
_LIKE = 0.6
_SLIP = 0.9


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like it, whatever the case; None when none is."""
    return _closest(name, known, _LIKE)


def meant(name: str, known: Iterable[str]) -> str | None:
    """The known name that it is a slip of the pen for; None when there is none that it must be."""
    return _closest(name, known, _SLIP)


def _closest(name: str, known: Iterable[str], likeness: float) -> str | None:
    folded = {candidate.casefold(): candidate for candidate in known}
    found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=likeness)
    return folded[found[0]] if found else None


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: ``did you mean 'x'?``, or the list of what is known."""
    names = list(known)
    found = closest(name, names)
    if found is not None:
        return f"did you mean {found!r}?"
    return f"known are {', '.join(names[:_LISTED])}{' ...' if len(names) > _LISTED else ''}"
