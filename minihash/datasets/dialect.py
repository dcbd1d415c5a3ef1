"""How a text file separates its cells: recognised from its first rows, with the standard library's csv."""

from __future__ import annotations

import collections
import csv
import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from minihash.datasets.csv_rows import MAX_LINE, first_bytes, without_mark
from minihash.encoding import TRUTH, is_empty

SAMPLE_BYTES = 2**16
SAMPLE_ROWS = 100
#: What may separate cells, and how it is called.
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
COMMA_NUMBER = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Dialect:
    """How a text file is written.

    separator, decimal : characters.
    width : cells in its first line.
    names : of its columns, in its first line; () if that has none.
    plain : whether its cells seem to be numbers with commas between, as NumPy's parser reads them.
    """

    separator: str
    decimal: str
    width: int
    names: tuple[str, ...]
    plain: bool

    def describe(self) -> str:
        """Return it in words."""
        decimal = ", decimal commas" if self.decimal == "," else ""
        header = f"a header of {len(self.names)} names" if self.names else "no header"
        return f"{SEPARATORS[self.separator]} between cells{decimal}, {header}"


def rows_of(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    """Yield the cells of lines; an empty line is an empty list."""
    return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=False)


def recognise(path: str | os.PathLike[str], header: bool | None = None) -> Dialect:
    """Return how a text file is written.

    Parameters
    ----------
    path : of the file, packed by gzip or not.
    header : whether the first line has names; None: where it looks like that, a line of words above others.

    Raises
    ------
    ValueError with the file's name if it is not in UTF-8, or two columns have one name; OSError if it cannot
    be read.
    """
    start = first_bytes(path, SAMPLE_BYTES)
    if b"\n" not in start and len(start) == SAMPLE_BYTES:
        start = first_bytes(path, MAX_LINE)
    start = without_mark(path, start)
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4 or len(start) < SAMPLE_BYTES - 4:
            line = start[: error.start].count(b"\n") + 1
            wrong = f"line {line} has the byte {start[error.start]:#04x}"
            raise ValueError(f"{os.fspath(path)}: {wrong}, wanted UTF-8: save it as that") from None
        text = start[: error.start].decode("utf-8")  # a character that the sample cuts in two
    if len(start) >= SAMPLE_BYTES - 4 and "\n" in text:
        text = text[: text.rindex("\n") + 1]  # whole lines
    separator, rows = max((_try(text, separator) for separator in SEPARATORS), key=_score)
    decimal = "," if separator != "," and _has_decimal_commas(rows) else "."
    named = bool(rows) and (_is_header(rows, decimal) if header is None else header)
    names = tuple(name.strip() for name in rows[0]) if named else ()
    if twice := [name for name, count in collections.Counter(names).items() if name and count > 1]:
        raise ValueError(f"{os.fspath(path)}: {names.count(twice[0])} columns are called {twice[0]!r}")
    numbers = all(NUMBER.fullmatch(cell.strip()) for row in rows[named:] for cell in row)
    lines = '"' not in text and "\r" not in text.replace("\r\n", "")  # each is a row
    plain = separator == "," and numbers and lines and "" not in names
    return Dialect(separator, decimal, len(rows[0]) if rows else 0, names, plain)


def _try(text: str, separator: str) -> tuple[str, list[list[str]]]:
    try:
        rows = [row for row, _ in zip(rows_of(io.StringIO(text, newline=""), separator), range(SAMPLE_ROWS))]
    except csv.Error:
        rows = []
    return separator, [row for row in rows if row]


def _score(tried: tuple[str, list[list[str]]]) -> tuple[bool, float, float, int]:
    """Return how likely a separator is: rows of one width, then cells that are numbers, then many cells."""
    _, rows = tried
    if not rows:
        return False, 0, 0, 0
    (width, count), *_ = collections.Counter(map(len, rows)).most_common(1)
    cells = [cell.strip() for row in rows for cell in row]
    numbers = sum(1 for cell in cells if NUMBER.fullmatch(cell) or COMMA_NUMBER.fullmatch(cell))
    return width > 1, count / len(rows), numbers / len(cells), width


def _has_decimal_commas(rows: list[list[str]]) -> bool:
    cells = [cell.strip() for row in rows for cell in row]
    points = sum(1 for cell in cells if NUMBER.fullmatch(cell) and "." in cell)
    return sum(1 for cell in cells if COMMA_NUMBER.fullmatch(cell)) >= max(1, points)


def _is_header(rows: list[list[str]], decimal: str) -> bool:
    """Tell whether the first row has names: words, but for an empty one above an index, and others below.

    A row of numbers with a damaged cell is no header: who leaves it out loses it. A row of words is one where
    a column has numbers below, or none of its words comes again in its column.
    """
    first, below = rows[0], rows[1:]
    names = first[1:] if len(first) > 1 and not first[0].strip() else first
    pattern = COMMA_NUMBER if decimal == "," else NUMBER
    if not all(re.match(r"[^\W\d]", name.strip()) for name in names):
        return False
    if any(name.strip().lower() in TRUTH or is_empty(name) for name in names):
        return False
    columns = list(zip(*(row for row in below if len(row) == len(first))))
    cells = (cell.strip() for column in columns for cell in column)
    numbers = any(NUMBER.fullmatch(cell) or pattern.fullmatch(cell) for cell in cells)
    return numbers or not any(name in column for name, column in zip(first, columns))
