"""What functions gave, by function and arguments: plain data that need not be worked out twice.

The key of an entry is everything that it depends on, so that no entry is ever out of date; the code itself stands in
the key under which a memory is kept (`operations.private_cache`). Without a memory in use everything is worked out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar, cast

Found = TypeVar("Found")
ENTRIES_MAX = 1_000


class Memory:
    """Entries that were kept before, and those that were asked for since."""

    def __init__(self, kept: Mapping[str, object]) -> None:
        self._kept = dict(kept)
        self._asked: dict[str, object] = {}

    def get(self, key: str, make: Callable[[], Found]) -> Found:
        """The entry; made when it is not there."""
        if key not in self._asked:
            self._asked[key] = self._kept[key] if key in self._kept else make()
        return cast("Found", self._asked[key])

    @property
    def has_new(self) -> bool:
        """Whether anything was asked for that was not kept before."""
        return not self._asked.keys() <= self._kept.keys()

    def entries(self) -> dict[str, object]:
        """What is worth keeping, the latest last: not more than `ENTRIES_MAX`."""
        rest = {key: value for key, value in self._kept.items() if key not in self._asked}
        return dict(list({**rest, **self._asked}.items())[-ENTRIES_MAX:])


_in_use: ContextVar[Memory | None] = ContextVar("memory", default=None)


@contextmanager
def using(memory: Memory) -> Iterator[None]:
    """Use a memory for the length of the block."""
    token = _in_use.set(memory)
    try:
        yield
    finally:
        _in_use.reset(token)


def has_memory() -> bool:
    """Whether what is worked out now is remembered."""
    return _in_use.get() is not None


def remembered(make: Callable[..., Found], *given: object) -> Found:
    """What ``make`` gives for ``given``: JSON data (lists, no tuples) that nobody may change.

    ``make`` must be a function of a module that depends on its arguments alone, and these must be values that say
    everything in their repr; an argument that has a place in memory instead is never remembered.
    """
    memory = _in_use.get()
    if memory is None:
        return make(*given)
    said = f"{make.__module__}.{make.__qualname__}{given!r}"
    if " at 0x" in said or "<lambda>" in said or "<locals>" in said:
        return make(*given)
    key = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
    return memory.get(key, lambda: make(*given))
