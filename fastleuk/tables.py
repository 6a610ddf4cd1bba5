"""Tables of plain text and of Markdown: columns aligned to the left or to the right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def text_lines(
    rows: Sequence[Sequence[object]],
    *,
    align: str = "lr",
    indent: str = "",
    least: Sequence[int] = (),
    rule: bool = False,
) -> list[str]:
    """Lay rows out for a terminal, two blanks between columns and none at the ends of lines.

    Args:
        rows: Cells, as many in each row; the first row is the head.
        align: ``l`` or ``r`` for each column; the last letter is that of all further columns.
        indent: What every line begins with.
        least: The least widths of the first columns.
        rule: Put a line of dashes under the head.

    >>> text_lines([("name", "n"), ("a", 10)])
    ['name   n', 'a     10']
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    widths = [max(pair) for pair in zip(widths, [*least, *widths[len(least) :]], strict=True)]
    lines = [(indent + "  ".join(_padded(row, widths, align))).rstrip() for row in cells]
    if rule:
        lines.insert(1, indent + "-" * (max(map(len, lines)) - len(indent)))
    return lines


def text_table(
    rows: Sequence[Sequence[object]],
    *,
    align: str = "lr",
    indent: str = "",
    least: Sequence[int] = (),
    rule: bool = False,
) -> str:
    """Return :func:`text_lines` as one text."""
    return "\n".join(text_lines(rows, align=align, indent=indent, least=least, rule=rule))


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, align: str = "lr") -> str:
    """Lay rows out as a table of Markdown.

    Args:
        head: Names of the columns.
        rows: Cells, as many in each row.
        align: As for :func:`text_lines`.

    >>> print(markdown_table(["name", "n"], [["a", "10"]]))
    | name | n |
    | --- | ---: |
    | a | 10 |
    """
    rules = ["---:" if side == "r" else "---" for side in _sides(align, len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *rows))


def markdown_records(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out records with equal keys in Markdown; numbers with as many digits as they deserve."""

    def cell(value: object) -> str:
        if not isinstance(value, float):
            return str(value)
        return f"{value:.5f}" if 0 < abs(value) < 0.05 else f"{value:.2f}"

    head = list(rows[0])
    return markdown_table(head, [[cell(row.get(name, "")) for name in head] for row in rows])


def _padded(row: Sequence[str], widths: Sequence[int], align: str) -> Iterator[str]:
    for cell, width, side in zip(row, widths, _sides(align, len(row)), strict=True):
        yield cell.rjust(width) if side == "r" else cell.ljust(width)


def _sides(align: str, count: int) -> str:
    return align.ljust(count, align[-1])[:count]
