"""Plain text for the terminal: tables, numbers of things."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, name: str) -> str:
    """Return a number with what it counts: 1 row, 2,000 rows."""
    return f"{number:,} {name}{'s' * (number != 1)}"


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
