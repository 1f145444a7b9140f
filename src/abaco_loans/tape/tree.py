"""SQL as trees that grow when somebody looks at them.

The library of the trees takes 0.15 s to import, as long as a small tape takes to run. So it is imported when a tree is
first needed, and a statement may be named (`later`) by the function that makes its tree and what it makes it from:
an engine that has rendered the same before needs no tree (see `memory`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from sqlglot import exp as exp
else:

    class _Trees:
        """``sqlglot.exp``, imported when a name of it is first asked for."""

        def __getattr__(self, name):
            from sqlglot import exp as library

            found = getattr(library, name)
            setattr(self, name, found)
            return found

    exp = _Trees()

Tree = TypeVar("Tree", bound="exp.Expr")


class Later:
    """A tree that is not made yet. Whoever asks it for anything that a tree has, gets it from the tree."""

    __slots__ = ("_given", "_made", "_make")

    def __init__(self, make: Callable[..., exp.Expr], given: tuple[object, ...]) -> None:
        self._make = make
        self._given = given
        self._made: exp.Expr | None = None

    @property
    def grown(self) -> exp.Expr:
        """The tree."""
        if self._made is None:
            self._made = self._make(*map(grown, self._given))
        return self._made

    def __repr__(self) -> str:
        """All that the tree depends on: what makes it and from what."""
        return f"{self._make.__module__}.{self._make.__qualname__}{self._given!r}"

    def __eq__(self, other: object) -> bool:
        return bool(self.grown == grown(other))

    def __hash__(self) -> int:
        return hash(self.grown)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.grown, name)


def later(make: Callable[..., Tree], *given: object) -> Tree:
    """The tree that ``make`` gives for ``given``, made when it is looked at.

    ``make`` must be a function of a module that depends on its arguments alone, and these must be values that say
    everything in their repr. A tree among them is one that `memory` must not keep (it may hold a secret): then the
    tree is made at once.
    """
    if any(is_tree(item) for item in given):
        return make(*map(grown, given))
    return cast("Tree", Later(make, given))


def is_tree(item: object) -> bool:
    """Whether it is a tree that has been made, and not by `later`."""
    return callable(getattr(type(item), "iter_expressions", None))


def grown(item: Any) -> Any:
    """The tree itself where the item is one to be made later; else the item."""
    return item.grown if isinstance(item, Later) else item


def created(name: str, kind: str, query: exp.Expr, replace: bool = False) -> exp.Create:
    """Make a table or view (``kind``) of a query."""
    return exp.Create(this=exp.to_table(name), kind=kind, expression=grown(query), replace=replace)


def counting(relation: str) -> exp.Select:
    """The number of rows."""
    return exp.select(exp.Count(this=exp.Star())).from_(relation)
