"""The rules of the house that a machine can check: each a function from a parsed file to its breaches.

``test_house_rules.py`` runs them over the repository, and over planted sources that break or keep them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SOURCE = "src/abaco_loans/"
PURE_ROOMS = ("tape", "kpi", "sample", "releases", "portfolio", "watch")
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 450


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One Python file: its path from the repository's root, its text, its tree."""

    path: str
    text: str
    tree: ast.Module

    def inside(self, *rooms: str) -> bool:
        """Whether the file lies in one of these rooms of the package (``cli/``, ``clock.py``)."""
        return self.path.startswith(tuple(f"{SOURCE}{room}" for room in rooms))

    @property
    def pure(self) -> bool:
        """Whether the file lies in a room that does no I/O and knows no clock."""
        return self.inside(*(f"{room}/" for room in PURE_ROOMS))


Breach = tuple[int, str]
Rule = Callable[[Source], Iterator[Breach]]


def parsed(path: str, text: str) -> Source:
    """A source from its text."""
    return Source(path=path, text=text, tree=ast.parse(text, filename=path))


# --- small readers of trees ---------------------------------------------------------------------------------


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or an attribute chain; what is not a name becomes ``?``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


def calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    """Every call, with the dotted name of what is called."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield node, dotted(node.func)


def imported(source: Source) -> Iterator[tuple[int, str]]:
    """Every imported name in full: ``import os`` gives ``os``, ``from os import path`` gives ``os.path``."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module or ''}.{alias.name}") for alias in node.names)


def under(name: str, modules: frozenset[str]) -> bool:
    """Whether a dotted name is one of the modules or inside one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


# --- the rules ----------------------------------------------------------------------------------------------

NOW = re.compile(
    r"(?:^|\.)(?:(?:datetime|date)\.(?:now|utcnow|today)|time\.(?:time|time_ns|localtime|gmtime|strftime))$"
)
STOPWATCH = re.compile(r"(?:^|\.)time\.(?:perf_counter|monotonic|process_time)(?:_ns)?$")


def time_is_passed_in(source: Source) -> Iterator[Breach]:
    """Only clock.py asks what time it is; operations/ hold a stopwatch, records/ a deadline for locks."""
    for line, name in imported(source):
        if re.fullmatch(r"time\.\w+", name):
            yield line, f"`from time import {name[5:]}` hides what it is: `import time`, if it must be"
    if source.inside("clock.py"):
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Attribute):
            continue
        name = dotted(node)
        if NOW.search(name):
            yield node.lineno, f"{name}: take a Clock or a date as an argument"
        elif STOPWATCH.search(name) and not (
            source.inside("operations/") or (source.inside("records/") and name.endswith(".monotonic"))
        ):
            yield node.lineno, f"{name}: only operations/ (and bench/) measure time"
    for call, name in calls(source):
        if name.endswith(".now") and (call.args or call.keywords) and not NOW.search(name):
            yield (
                call.lineno,
                f"{name}(...) with a zone is datetime's, whatever it is called here: take a Clock",
            )


SQL = re.compile(
    r"\A\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|COPY|WITH|SET|PRAGMA|ATTACH|VACUUM|DESCRIBE)\s"
    r"|\b(?:WHERE|GROUP BY|ORDER BY|FROM|JOIN|CASE WHEN|UNION ALL)\s"
    r"|\b(?:CAST|TRY_CAST|COALESCE|SUM|COUNT|NULLIF|READ_CSV)\("
    r"|(?i:\bselect\b.+\bfrom\b|\binsert into\b|\bdelete from\b"
    r"|\b(?:create|drop|alter) (?:table|view|schema)\b|\bupdate \w+ set\b|\bread_(?:csv|parquet)\()",
    re.DOTALL,
)


def sql_is_a_tree(source: Source) -> Iterator[Breach]:
    """No SQL from f-strings, ``%``, ``.format``, ``.replace`` or ``+``."""
    advice = "SQL put together from text: build it as a sqlglot tree, or bind a parameter"
    for node in ast.walk(source.tree):
        match node:
            case ast.JoinedStr(values=values) if any(isinstance(value, ast.FormattedValue) for value in values):
                text = "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in values)
            case ast.BinOp(op=ast.Mod() | ast.Add(), left=ast.Constant(value=str(text))):
                pass
            case ast.BinOp(op=ast.Add(), right=ast.Constant(value=str(text))):
                pass
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format" | "replace")):
                pass
            case _:
                continue
        if SQL.search(text):
            yield node.lineno, advice


def dataclasses_are_values(source: Source) -> Iterator[Breach]:
    """Every dataclass is frozen, slotted and keyword-only."""
    wanted = {"frozen", "slots", "kw_only"}
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            if dotted(call.func if call else decorator).split(".")[-1] != "dataclass":
                continue
            given = {
                keyword.arg
                for keyword in (call.keywords if call else [])
                if isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            }
            if not wanted <= given:
                yield node.lineno, f"dataclass {node.name} lacks {', '.join(sorted(wanted - given))} = True"


def functions_are_short(source: Source) -> Iterator[Breach]:
    """A function has at most sixty lines."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > FUNCTION_LINES_MAX:
                yield node.lineno, f"{node.name} has {size} lines: branches stay, leaves become functions"


def files_are_short(source: Source) -> Iterator[Breach]:
    """A file has at most 450 lines."""
    size = len(source.text.splitlines())
    if size > FILE_LINES_MAX:
        yield size, f"{size} lines: the file has more than one subject"


def only_the_command_line_prints(source: Source) -> Iterator[Breach]:
    """No ``print`` outside cli/."""
    if not source.inside("cli/"):
        yield from (
            (call.lineno, "print: give the value back, cli/ shows it")
            for call, name in calls(source)
            if name == "print"
        )


def no_blind_except(source: Source) -> Iterator[Breach]:
    """No bare ``except`` and no ``except Exception``, unless it ends by raising again."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        blind = any(kind is None or dotted(kind).split(".")[-1] in {"Exception", "BaseException"} for kind in caught)
        if blind and not isinstance(node.body[-1], ast.Raise):
            yield node.lineno, "blind except: name what can happen here"


LATER = re.compile(r"\b(?:T[O]DO|F[I]XME|X[X]X|H[A]CK)\b")
LOOSE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[[a-z-]+)|#\s*noqa(?!:\s*[A-Z]+\d)")


def nothing_is_left_for_later(source: Source) -> Iterator[Breach]:
    """No marks of unfinished work, and an ignore names what it ignores."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if LATER.search(line):
            yield number, "left for later: do it, or write it in an issue"
        if LOOSE_IGNORE.search(line):
            yield number, "an ignore without a code: `# type: ignore[code]`, `# noqa: X123`"


def money_is_no_float(source: Source) -> Iterator[Breach]:
    """tape/ and kpi/ make no float."""
    if not source.inside("tape/", "kpi/"):
        return
    for call, name in calls(source):
        if name == "float":
            yield call.lineno, "float(...): money and ratios are Decimal"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield node.lineno, f"{node.value}: write Decimal('{node.value}')"


IMPURE_MODULES = frozenset(
    {
        "glob",
        "http",
        "importlib.resources",
        "multiprocessing",
        "os",
        "pathlib.Path",
        "pkgutil",
        "secrets",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "urllib.request",
        "uuid",
        "zipfile",
    }
)
IMPURE_METHODS = frozenset({"read_bytes", "read_text", "write_bytes", "write_text"})
IMPURE_RANDOM = re.compile(r"^random\.(?!Random$)\w+$")


def pure_rooms_touch_nothing(source: Source) -> Iterator[Breach]:
    """tape, kpi, sample, releases, portfolio and watch do no I/O and draw no chance of their own."""
    if not source.pure:
        return
    for line, name in imported(source):
        if under(name, IMPURE_MODULES):
            yield line, f"{name} in a pure room: operations/ reads and writes, this room gets text and values"
        if IMPURE_RANDOM.match(name):
            yield line, f"{name}: take a random.Random as an argument"
    for call, name in calls(source):
        if name in {"open", "io.open", "input", "exec", "eval", "__import__"} or name.split(".")[-1] in IMPURE_METHODS:
            yield call.lineno, f"{name}(...) in a pure room"
        if IMPURE_RANDOM.match(name):
            yield call.lineno, f"{name}(...): take a random.Random as an argument"


def everything_public_is_explained(source: Source) -> Iterator[Breach]:
    """Every module, and every public class, function and method, has a docstring."""
    if not ast.get_docstring(source.tree):
        yield 1, "the module has no docstring"
    yield from _unexplained(source.tree)


def _unexplained(parent: ast.Module | ast.ClassDef) -> Iterator[Breach]:
    for node in parent.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        derived = {dotted(decorator).split(".")[-1] for decorator in node.decorator_list} & {
            "overload",
            "setter",
        }
        if not ast.get_docstring(node) and not derived:
            yield node.lineno, f"{node.name} has no docstring"
        if isinstance(node, ast.ClassDef):
            yield from _unexplained(node)


def commands_and_options_have_help(source: Source) -> Iterator[Breach]:
    """In cli/, every command has a docstring or help, and every option a help text."""
    if not source.inside("cli/"):
        return
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if not isinstance(decorator, ast.Call):
                continue
            kind = dotted(decorator.func).split(".")[-1]
            helped = any(keyword.arg in {"help", "hidden"} for keyword in decorator.keywords)
            if kind in {"command", "group"} and not (helped or ast.get_docstring(node)):
                yield node.lineno, f"the command {node.name} says nothing in its help"
    for call, name in calls(source):
        if name == "click.option" and not any(keyword.arg in {"help", "hidden"} for keyword in call.keywords):
            yield call.lineno, "an option without help"


def nothing_is_mocked(source: Source) -> Iterator[Breach]:
    """No mocks, and nothing of ours is replaced in place."""
    ours: set[str] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                if (module or alias.name).split(".")[0] == "abaco_loans":
                    ours.add((alias.asname or alias.name).split(".")[0])
    for line, name in imported(source):
        if under(name, frozenset({"unittest.mock", "mock", "pytest_mock"})):
            yield line, f"{name}: run the real thing, or pass in a small real one"
    for call, name in calls(source):
        if name.split(".")[-1] not in {"setattr", "setitem"} or not call.args or name == "setattr":
            continue
        target = call.args[0]
        text = target.value if isinstance(target, ast.Constant) else dotted(target)
        if isinstance(text, str) and (text.split(".")[0] in ours or text.startswith("abaco_loans")):
            yield call.lineno, f"{text} is ours: pass in another one instead of replacing it"
