"""A table in a text file: its cells, some rows at a time."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from gzip import BadGzipFile
from typing import Any, cast

from minihash.datasets.csv_rows import line_chunks, open_packed, parse
from minihash.datasets.dialect import Dialect, recognise, rows_of
from minihash.encoding import Cells

CHUNK_ROWS = 4096


@dataclass(frozen=True)
class TextTable:
    """A text file of cells.

    path, dialect : of the file.
    """

    path: str
    dialect: Dialect

    @property
    def width(self) -> int:
        """Cells in a line."""
        return self.dialect.width

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns; () if there are none."""
        return self.dialect.names

    @property
    def decimal(self) -> str:
        """The decimal sign."""
        return self.dialect.decimal

    def chunks(self) -> Iterator[tuple[Sequence[int], Sequence[Cells]]]:
        """Yield the numbers of some lines, and the cells of each column in them. Empty lines are passed over.

        Raises
        ------
        ValueError with the file, and the line that has more or fewer cells than the first, or that is not in
        UTF-8, or if the file is damaged; OSError if it cannot be read.
        """
        if self.dialect.plain:
            yield from self._numbers()
            return
        rows = self._rows()
        while some := list(itertools.islice(rows, CHUNK_ROWS)):
            lines, cells = zip(*some)
            yield lines, list(zip(*cells))

    def _numbers(self) -> Iterator[tuple[Sequence[int], Sequence[Cells]]]:
        """Yield the same from a file of lines with commas, by NumPy's parser as long as they are numbers."""
        number, header = 1, bool(self.names)
        with contextlib.closing(line_chunks(self.path)) as chunks:
            for lines in chunks:
                if header and any(line.strip() for line in lines):
                    above = next(place for place, line in enumerate(lines) if line.strip()) + 1
                    lines, number, header = lines[above:], number + above, False
                numbers: Sequence[int] = range(number, number + len(lines))
                number += len(lines)
                rows = parse(lines, self.width)
                if rows is None or len(rows) < len(lines):
                    kept = [(place, line) for place, line in zip(numbers, lines) if line.strip()]
                    numbers, lines = [place for place, _ in kept], [line for _, line in kept]
                if rows is not None:
                    if len(rows):
                        yield numbers, cast(Any, rows.T)
                    continue
                texts = list(rows_of((line.decode("utf-8", "surrogateescape") for line in lines), ","))
                for place, row in zip(numbers, texts):
                    self._check(place, row)
                yield numbers, list(zip(*texts))

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of each line that has cells, and they; the header's is passed over."""
        with open_packed(self.path) as binary:
            # An error in the middle of a character is told by its line.
            text = io.TextIOWrapper(binary, "utf-8-sig", errors="surrogateescape", newline="")
            reader = rows_of(text, self.dialect.separator)
            line, header = 1, bool(self.names)
            try:
                for row in reader:
                    if row and not header:
                        self._check(line, row)
                        yield line, row
                    header = header and not row
                    line = reader.line_num + 1  # type: ignore[attr-defined]
            except (csv.Error, EOFError, zlib.error, BadGzipFile) as error:
                raise ValueError(f"{self.path}: line {line}: {error}, wanted a CSV file, all of it") from None
            finally:
                text.detach()

    def _check(self, line: int, row: list[str]) -> None:
        if len(row) != self.width:
            cells = f"{len(row)} cell{'s' * (len(row) != 1)}"
            raise ValueError(f"{self.path}: line {line} has {cells}, wanted {self.width}")
        if any("\udc80" <= character <= "\udcff" for cell in row if not cell.isascii() for character in cell):
            raise ValueError(f"{self.path}: line {line} is not in UTF-8: save the file as that")


def open_text(path: str | os.PathLike[str], header: bool | None = None) -> TextTable:
    """Return the table in a text file: as `recognise`, and a ValueError if it has no rows."""
    dialect = recognise(path, header)
    if not dialect.width:
        with contextlib.closing(line_chunks(path)) as chunks:
            next(chunks, None)  # which says what is damaged
        raise ValueError(f"{os.fspath(path)}: has no rows, wanted one at least")
    return TextTable(os.fspath(path), dialect)
