"""The book: it says what the document says, everything it shows stands in a table, and markup stays text."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.errors import WorldError
from abaco_loans.outputs.book import write_book
from abaco_loans.outputs.charts import Line, ceiling, clipped, spaced, spread, trend
from abaco_loans.outputs.drawing import readable
from abaco_loans.outputs.numbers import amount, compact, grouped, percent
from tests.outputs.book_document import BALANCES, MONTHS, document, hostile, month_ends

CHARTS = ("par", "ageing", "waterfall", "vintages", "concentration", "collections")
TILES = 7  # of the eight, one has no values
PARTS = ("tiles", *CHARTS, "roll_rates", "checks", "quality", "definition", "definitions")
DRAW = vl_convert.vegalite_to_svg


class Reader(HTMLParser):
    """What the tests look at: tags with their attributes, the rows of tables by caption, all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.texts: list[str] = []
        self._caption = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "circle", "line", "rect"):
            self._open.append(tag)
        if tag == "caption":
            self._caption = ""
        if tag == "tr":
            self.tables.setdefault(self._caption, []).append([])
        if tag in ("td", "th"):
            self.tables[self._caption][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "caption" in self._open:
            self._caption += data
        if self._open and ("td" in self._open or "th" in self._open) and "small" not in self._open:
            self.tables[self._caption][-1][-1] += data.strip()

    def having(self, attribute: str) -> list[str]:
        """Every value of an attribute."""
        return [value or "" for _, attributes in self.tags for name, value in attributes.items() if name == attribute]


def written(given: dict[str, Any], folder: Path) -> str:
    path = folder / "book.html"
    write_book(given, path)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def each_chart_drawn_once() -> Iterator[None]:
    """Half of the time that a book takes is Vega-Lite's, and nearly every book here has the same charts."""
    known: dict[str, str] = {}

    def once(spec: dict[str, Any], **options: Any) -> str:
        key = repr((spec, options))
        if key not in known:
            known[key] = DRAW(spec, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vl_convert, "vegalite_to_svg", once)
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(document(), tmp_path_factory.mktemp("book"))


@pytest.fixture(scope="module")
def book(text: str) -> Reader:
    return Reader(text)


def test_the_same_document_gives_the_same_bytes_and_stays_as_it_is(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vl_convert, "vegalite_to_svg", DRAW)
    given = document()
    assert written(given, tmp_path) == text
    assert given == document()


def test_the_book_needs_nothing_but_itself(book: Reader) -> None:
    tags = {tag for tag, _ in book.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use", "image", "a:href"}
    assert all(target.startswith("#") for target in book.having("href"))
    assert not book.having("src")
    assert "://" not in "".join(book.texts), "the sample names no address"
    policy = next(a["content"] for tag, a in book.tags if tag == "meta" and "http-equiv" in a)
    assert policy and policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


def test_ids_are_unique_and_what_points_to_one_finds_it(book: Reader) -> None:
    ids = book.having("id")
    assert len(ids) == len(set(ids))
    wanted = {name for value in book.having("aria-labelledby") for name in value.split()}
    wanted |= {target[1:] for target in book.having("href")}
    assert wanted <= set(ids)
    assert [tag for tag, _ in book.tags].count("h1") == 1


def test_tables_hold_every_value_of_the_charts(book: Reader) -> None:
    given = document()
    par = given["par"]
    assert book.tables["PAR by date"][1:] == [
        [day, *(percent(par[f"par_{k}"][index]) for k in (7, 30, 60, 90))]
        for index, day in reversed(list(enumerate(par["dates"])))
    ]
    assert [row[2] for row in book.tables["Ageing at 2025-12-31"][1:-1]] == [amount(value) for value in BALANCES]
    assert book.tables["Ageing at 2025-12-31"][-1][:3] == ["Total", "3,956", "12,158,628.75"]
    assert [row[1:] for row in book.tables["Collections by month"][:0:-1]] == [
        [amount(item["due"]), amount(item["received"]), percent(item["rate"])] for item in given["collections"]
    ]
    shown: dict[str, list[str]] = {}
    for caption in ("months on book 0 to 8", "months on book 9 to 17"):
        for row in book.tables[f"Ever 90 or more days past due, percent of disbursed, {caption}"][1:]:
            shown.setdefault(row[0], []).extend(row[2:])
    for cohort in given["vintages"][1]["cohorts"]:
        expected = ["" if value is None else grouped(value, 2) for _, value in cohort["points"]]
        assert shown[cohort["cohort"]] == expected[: len(shown[cohort["cohort"]])]
        assert not any(expected[len(shown[cohort["cohort"]]) :])
    history = book.tables["Key figures by date"]
    assert len(history) == MONTHS + 1
    assert history[1][:3] == [month_ends()[-1], "6.32", "2.71"]


def test_the_roll_forward_shows_its_break(book: Reader) -> None:
    rows = dict(book.tables["Roll-forward, 2024-12-31 to 2025-12-31"][1:])
    assert rows["Principal paid"] == "−13,104,208.33"
    assert rows["Break: does not close"] == "+0.07"
    steps = [Decimal(value.replace(",", "").replace("−", "-")) for name, value in rows.items() if name != "Closing"]
    assert sum(steps) == Decimal(rows["Closing"].replace(",", ""))


def test_a_roll_forward_that_closes_has_no_break(tmp_path: Path) -> None:
    given = document()
    given["waterfall"]["other"] = "0.0700"
    assert "Break" not in written(given, tmp_path)


def test_tiles_say_status_limits_and_change_in_words(book: Reader) -> None:
    said = "|".join(part.strip() for part in book.texts)
    for words in (
        "Warning at 5\u202f%, critical at 8\u202f% or more",
        "Warning at 95\u202f%, critical at 90\u202f% or less",
        "−0.01 points in a month, better",
        "−1.52 points in a month, worse",
        "+31 in a month",
        "Not computable",
        "Out of range",
        "needs the column cash_available_usd",
    ):
        assert words in said, words
    unjudged = sum(item["status"] == "ok" and not item["thresholds"] for item in document()["tiles"])
    assert said.count("Not judged") == unjudged == 2


def test_roll_rates_are_graded_by_what_they_mean(text: str) -> None:
    rows = re.findall(r'<tr>\s*<th scope="row">([^<]+)</th>(.*?)</tr>', text, re.DOTALL)
    cells = {name: re.findall(r'<td class="num ?([^"]*)">([0-9.]*)', row) for name, row in rows if "worse" in row}
    assert cells["current"][:2] == [("same-6", "71.0"), ("worse-1", "6.0")]
    assert cells["1-6"][:3] == [("better-2", "17.0"), ("same-6", "63.0"), ("worse-2", "13.0")]
    assert cells["90+"][6] == ("worse-4", "41.0")
    assert "68.9 (61.1–83.1)" in text, "the interval stands beside the rate that it is of"
    assert [mark for mark, _ in cells["90+"][7:]] == ["better-2", "same-1"], "repaid is better, missing is neither"


@pytest.mark.parametrize("part", ["tiles", "roll_rates", *CHARTS])
def test_what_is_missing_is_said_with_its_reason(part: str, tmp_path: Path) -> None:
    book = Reader(written({**document(), part: None, "absent": {part: "the tape has one date only"}}, tmp_path))
    assert "not computable. the tape has one date only" in " ".join("".join(book.texts).split())
    charts = 2 * (len(CHARTS) + 1)  # there are two vintage curves, and each chart is drawn twice
    lost = {"tiles": TILES, "vintages": 4}.get(part, 2 * (part in CHARTS))
    assert drawings(book) == charts + TILES - lost


def test_a_book_of_nothing_says_so_everywhere(tmp_path: Path) -> None:
    full = document()
    gone = {name: value for name, value in full.items() if name not in (*PARTS, "absent", "tape", "dates", "notes")}
    for nothing in (gone, {**full, **dict.fromkeys(PARTS, ())}):
        book = Reader(written(nothing, tmp_path))
        assert "".join(book.texts).count("no values were recorded, and no reason either") == len(PARTS)
        assert drawings(book) == 0


def drawings(book: Reader) -> int:
    return sum(tag == "svg" and attributes.get("role") == "img" for tag, attributes in book.tags)


@pytest.mark.parametrize(
    ("part", "empty"),
    [
        ("par", {"dates": month_ends(), "par_30": [None] * MONTHS, "par_90": [None] * MONTHS}),
        ("ageing", {"as_of": "2025-12-31", "states": []}),
        ("roll_rates", {"window": "", "interval": "", "states": ["current"], "rows": []}),
        ("vintages", [{"k": 30, "cohorts": [{"cohort": "2025-12", "disbursed": "1", "points": [[0, None]]}]}]),
        ("collections", [{"month": "2025-12-31", "due": None, "received": None, "rate": None}]),
        ("quality", {"files": [], "warnings": []}),
    ],
)
def test_a_part_without_values_is_no_empty_chart(part: str, empty: Any, tmp_path: Path) -> None:
    assert "no values were recorded, and no reason either" in written({**document(), part: empty}, tmp_path)


def test_one_date_one_loan_is_a_book_too(tmp_path: Path) -> None:
    given = document()
    given["par"] = {"dates": ["2025-12-31"], "par_30": ["0"], "par_90": ["0.0000"]}
    given["ageing"]["states"] = [{"state": "current", "loans": 1, "outstanding": "0", "share": None}]
    given["waterfall"] = dict.fromkeys(given["waterfall"], "0") | {"start": "2025-12-31", "end": "2025-12-31"}
    given["collections"] = [{"month": "2025-12-31", "due": "0", "received": "0", "rate": None}]
    given["vintages"] = [{"k": 30, "cohorts": [{"cohort": "2025-12", "disbursed": "1", "points": [[0, "0"]]}]}]
    assert "NaN" not in written(given, tmp_path)


def test_markup_in_any_text_leaves_the_page_as_it_was(book: Reader, tmp_path: Path) -> None:
    planted = Reader(written(hostile(document()), tmp_path))

    def shapes(reader: Reader) -> set[tuple[str, frozenset[str]]]:
        return {(tag, frozenset(attributes)) for tag, attributes in reader.tags}

    assert shapes(planted) <= shapes(book)
    assert len(planted.tags) < 1.1 * len(book.tags)
    assert sum("<script>" in text for text in planted.texts) > 100, "it stands there as text"


def test_what_no_page_may_hold_is_made_visible() -> None:
    assert readable("a\x00b\x1bc\ud800d\u202ee\tf\ng") == "a\ufffdb\ufffdc\ufffdd\ufffde f g"
    assert readable({"k\x00": ["plain", 1, None, "ä 漢 🙂"]}) == {"k\ufffd": ["plain", 1, None, "ä 漢 🙂"]}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(WorldError, match="OUT-110"):
        write_book(document(), tmp_path / "book.html")
    assert not (tmp_path / "book.html").exists()


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: grouped("-1234.505", 2), "−1,234.50"),
        (lambda: grouped("0.005", 2, signed=True), "0.00"),
        (lambda: grouped("7", signed=True), "+7"),
        (lambda: grouped(None), "–"),
        (lambda: percent("4.825"), "4.82\u202f%"),
        (lambda: percent("100", 0), "100\u202f%"),
        (lambda: compact("2512345.67"), "2.5\u202fM"),
        (lambda: compact("-980000", signed=True), "−980\u202fk"),
        (lambda: compact("999999"), "1.0\u202fM"),
        (lambda: compact("0.07", signed=True), "+0.07"),
        (lambda: compact("12000000000"), "12.0\u202fbn"),
        (lambda: clipped("a long name", 7), "a long…"),
    ],
)
def test_numbers_as_text(made: Callable[[], str], expected: str) -> None:
    assert made() == expected


@given(st.lists(st.decimals("0", "1e12", places=4), min_size=1))
def test_an_axis_holds_all_its_values_with_few_ticks(values: list[Decimal]) -> None:
    top, ticks = ceiling(values)
    assert ticks[0] == 0 and ticks[-1] == top >= max(values)
    assert 2 <= len(ticks) <= 6


@given(st.lists(st.decimals("0", "100", places=2), min_size=1, max_size=9))
def test_names_of_lines_do_not_touch_and_keep_their_order(ends: list[Decimal]) -> None:
    places = spread(dict(enumerate(ends)), Decimal(100), 280)
    order = sorted(range(len(ends)), key=lambda index: (ends[index], index))
    gap = 100 * 15 / 280
    assert all(places[b] - places[a] >= gap - 1e-6 for a, b in pairwise(order))
    assert max(places.values()) <= 100 + 1e-6


@given(st.lists(st.integers(), min_size=1), st.integers(1, 20))
def test_ticks_are_few_and_the_last_is_among_them(items: list[int], at_most: int) -> None:
    found = spaced(items, at_most)
    assert len(found) <= at_most and found[-1] == items[-1]


def test_a_line_is_not_drawn_over_a_gap() -> None:
    values = [Decimal(1), Decimal(2), None, Decimal(3), None, Decimal(4), Decimal(5)]
    figure = trend("t", "T", "t", month_ends(7), [Line(name="a", points=list(enumerate(values)))])
    lines = [
        path for path in re.findall(r'<path[^>]* stroke="#0072b2"[^>]*>', figure.wide) if "stroke-dasharray" in path
    ]
    assert len(lines) == 2, "two runs; the lone point between them is a dot"
