"""A page of HTML, taken apart for tests."""

import csv
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from fastleuk.report.run import report_run
from tests.makers.training_runs import quiet

VOID = {"meta", "link", "img", "input", "br", "hr"}


@dataclass
class Element:
    """An element with its text and what is in it."""

    tag: str
    attributes: dict
    parent: "Element | None" = None
    children: list = field(default_factory=list)
    pieces: list = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split())

    def all(self, tag=None, **attributes):
        """Return the elements within, in order; an attribute's value True means any."""
        found = []
        for child in self.children:
            wanted = {name.replace("_", "-"): value for name, value in attributes.items()}
            same = all(
                name in child.attributes and value in (True, child.attributes[name])
                for name, value in wanted.items()
            )
            if same and tag in (None, child.tag):
                found.append(child)
            found += child.all(tag, **attributes)
        return found


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = Element("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs}, self.open[-1])
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element.pieces.append(data)


def parse(html: str) -> Element:
    """Parse a page; an element that isn't closed fails."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert parser.open == [parser.root], f"not closed: {[e.tag for e in parser.open[1:]]}"
    return parser.root


def report_page(run: Path, **options) -> Element:
    """Write a run's page and parse it."""
    return parse(report_run(run, report=quiet, **options).read_text(encoding="utf-8"))


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a table that :func:`read_rows` gave."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def figures_of(page: Element) -> dict:
    """Return (value, low, high) by name, each stated alike wherever it stands."""
    found = {}
    for element in page.all(data_figure=True):
        ends = [element.attributes.get(f"data-{end}", "") for end in ("value", "low", "high")]
        told = tuple(float(text) if text else None for text in ends)
        assert found.setdefault(element.attributes["data-figure"], told) == told
    return found
