"""Plain text for the terminal: lists, tables, numbers of things, what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def counted(number: int, name: str) -> str:
    """Return a number with what it counts: 1 row, 2,000 rows."""
    return f"{number:,} {name}{'s' * (number != 1)}"


def listed(values: Sequence[object], most: int = 10) -> str:
    """Return values as text, of many the first ones."""
    more = f", … ({len(values)})" if len(values) > most else ""
    return ", ".join(map(repr, values[:most])) + more


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return rows of cells as aligned text under a header and a rule; the first `left` columns start left."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths))
        )
        return "  ".join(aligned).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([line(header), rule, *map(line, rows)])


def meant(word: str, known: Iterable[str]) -> str:
    """Return which known word was probably meant, as the end of an error's line; "" if none is near."""
    import difflib

    near = difflib.get_close_matches(word, known, 1)
    return f", did you mean {near[0] if near[0].startswith('-') else repr(near[0])}?" if near else ""
