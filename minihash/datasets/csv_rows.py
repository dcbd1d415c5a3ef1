"""CSV files of numbers, read in chunks by NumPy's parser, and turned into stores."""

from __future__ import annotations

import codecs
import collections
import contextlib
import gzip
import os
import re
import time
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np

from minihash import checks
from minihash.datasets.idx import GZIP
from minihash.datasets.store import StoreWriter
from minihash.files import check_not_read, naming, replacing

CHUNK_BYTES = 2**20  # of lines that are parsed together: of the shortest lines they are half a million
FIRST_LINES = 100  # that say how many numbers a line has
MAX_LINE = 2**26  # bytes
#: Byte order marks, in this order: that of UTF-32 begins with that of UTF-16.
OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
#: Words that stand for numbers: they make no header.
MISSING = ("na", "n/a", "nan", "nil", "null", "none", "missing", "inf", "infinity")


@dataclass
class Progress:
    """How far a file has been read: rows, lines that were skipped, and seconds; the names in its header."""

    rows: int = 0
    skipped: int = 0
    seconds: float = 0.0
    names: tuple[str, ...] = ()


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    header: bool = False,
    label_column: int = 0,
    weight_column: int | None = None,
    skip_bad: int = 0,
    report: Callable[[Progress], Any] = lambda progress: None,
) -> Progress:
    """Turn a CSV file of numbers into a store, in bounded memory; all of it or nothing.

    source : comma-separated, every line with as many numbers, none of them NaN or infinite; .gz or not, a
        pipe too. Empty lines are passed over.
    target : the store.
    header : leave out the first line.
    label_column : which number of a line is the target, from 0; −1 is the last.
    weight_column : which is the row's weight, or None.
    skip_bad : lines that may be wrong; they are left out.
    report : called after every chunk.

    Raises ValueError with the file and the line of what is wrong, or the column whose spread float32 would
    lose, or if there are no rows; OSError if a file cannot be read or written.
    """
    progress, start = Progress(), time.perf_counter()
    check_not_read(target, source)
    with replacing(target) as file:
        writer = None
        chunks = read_chunks(source, progress, header=header, skip_bad=skip_bad, weight_column=weight_column)
        for rows in chunks:
            if writer is None:
                order = _order(source, rows.shape[1], label_column, weight_column)
                weighted = weight_column is not None
                writer = StoreWriter(file, len(order) - 1 - weighted, weighted)
            writer.append(rows[:, order])
            progress.rows, progress.seconds = progress.rows + len(rows), time.perf_counter() - start
            report(progress)
        if writer is None:
            raise ValueError(f"{os.fspath(source)}: has no rows, wanted one at least")
        try:
            writer.finish([_name(progress, column) for column in order])
        except ValueError as error:
            raise ValueError(f"{os.fspath(source)}: {error}") from None
    return progress


def _name(progress: Progress, column: int) -> str:
    """Return what a message calls a column: its number, counted from 0, and its name if there is one."""
    name = progress.names[column] if column < len(progress.names) else ""
    return f"column {column} ({name})" if name else f"column {column}"


def _order(
    source: str | os.PathLike[str], width: int, label_column: int, weight_column: int | None
) -> list[int]:
    """Return the columns of a file in a store's order: target, weight, features."""
    first = [checks.integer("label_column", label_column, -width, width) % width]
    if weight_column is not None:
        first.append(checks.integer("weight_column", weight_column, -width, width) % width)
    features = [column for column in range(width) if column not in first]
    if len(set(first)) < len(first) or not features:
        held = f"has {width} number{'s' * (width > 1)} in a line"
        wanted = f"a target{' and a weight' * (len(first) - 1)} and features"
        raise ValueError(f"{os.fspath(source)}: {held}, wanted {wanted}")
    return first + features


def read_chunks(
    path: str | os.PathLike[str],
    progress: Progress,
    *,
    header: bool = False,
    skip_bad: int = 0,
    weight_column: int | None = None,
) -> Iterator[np.ndarray]:
    """Yield the rows of a CSV file, (n, numbers in a line) float64; count what is skipped in `progress`.

    A line with a negative weight is a bad one, and one with a number that is infinite in float32.
    """
    number, width = 1, None  # of the next line; of all lines
    with contextlib.closing(line_chunks(path)) as chunks:
        for lines in chunks:
            if header and number == 1:
                progress.names = tuple(_fields(lines[0]))
                lines, number = lines[1:], 2
            width = width or _usual_width(lines)
            rows = parse(lines, width, weight_column)
            if rows is None:
                allowed_now = skip_bad - progress.skipped
                good, bad = _sort_out(lines, number, width, weight_column, allowed_now)
                progress.skipped += len(bad)
                if progress.skipped > skip_bad:
                    line, what = bad[skip_bad - progress.skipped]
                    allowed = f"; {skip_bad} bad lines were skipped before" if skip_bad else ""
                    is_header = line == number == 1 and _is_header(lines[0])
                    hint = " (--header, header=True: leave it out)" if is_header else ""
                    raise ValueError(f"{os.fspath(path)}: line {line} {what}{hint}{allowed}")
                rows = parse(good, width)
            number += len(lines)
            if rows is not None and len(rows):
                yield rows


def _usual_width(lines: list[bytes]) -> int | None:
    """Return how many numbers most of the first lines have, None if all are empty."""
    widths = collections.Counter(line.count(b",") + 1 for line in lines[:FIRST_LINES] if line.strip())
    return widths.most_common(1)[0][0] if widths else None


@contextlib.contextmanager
def open_packed(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to read, unpacked where gzip packed it."""
    with naming(path), open(path, "rb") as file:  # once: what has been read of a pipe is gone
        if file.peek(2)[:2] == GZIP:
            with gzip.open(file) as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            yield file


def first_bytes(path: str | os.PathLike[str], count: int) -> bytes:
    """Return how a file starts, what is packed in a gz file unpacked; b"" if it is damaged."""
    with open_packed(path) as file:
        try:
            return file.read(count)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return b""


def without_mark(path: str | os.PathLike[str], start: bytes) -> bytes:
    """Return the first bytes of a text file without the byte order mark of UTF-8, as Excel writes it.

    Raises ValueError with the file's name if the mark says that it is UTF-16 or UTF-32.
    """
    for mark, encoding in OTHER_MARKS.items():
        if start.startswith(mark):
            raise ValueError(f"{os.fspath(path)}: is in {encoding}, wanted UTF-8: save it as that")
    return start.removeprefix(codecs.BOM_UTF8)


def line_chunks(path: str | os.PathLike[str]) -> Generator[list[bytes], None, None]:
    """Yield the lines of a file, some at a time."""
    rest, start = b"", True
    with open_packed(path) as file:
        while True:
            try:
                content = file.read(CHUNK_BYTES)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise ValueError(f"{os.fspath(path)}: is damaged ({error}), wanted a whole gz file") from None
            if start:
                content, start = without_mark(path, content), False
            lines = (rest + content).split(b"\n")
            rest = lines.pop() if content else b""
            if len(rest) > MAX_LINE:
                raise ValueError(f"{os.fspath(path)}: has a line of over {MAX_LINE} bytes, wanted a CSV file")
            if lines:
                yield lines
            if not content:
                return


def parse(lines: list[bytes], width: int | None, weight_column: int | None = None) -> np.ndarray | None:
    """Return the numbers of lines, or None if one of them is wrong."""
    lines = [line for line in lines if line.strip()]
    if not lines:
        return np.empty((0, width or 0))
    try:
        rows = np.loadtxt(lines, np.float64, comments=None, delimiter=",", ndmin=2)
    except ValueError:
        return None
    with np.errstate(over="ignore"):
        good = np.isfinite(rows.astype(np.float32)).all()
    if rows.shape[1] != (width or rows.shape[1]) or not good:
        return None
    return None if _has_negative_weight(rows, weight_column) else rows


def _has_negative_weight(rows: np.ndarray, weight_column: int | None) -> bool:
    fits = weight_column is not None and -rows.shape[1] <= weight_column < rows.shape[1]
    return fits and bool((rows[:, weight_column] < 0).any())


def _sort_out(
    lines: list[bytes], number: int, width: int | None, weight_column: int | None, allowed: int
) -> tuple[list[bytes], list[tuple[int, str]]]:
    """Return the lines that are right, and of the others the number and what is wrong with them.

    Where more are wrong than allowed, the rest is not looked at: line by line takes long.
    """
    good: list[bytes] = []
    bad: list[tuple[int, str]] = []
    for place, line in enumerate(lines, number):
        if len(bad) > allowed:
            break
        if not line.strip():
            continue
        fields = line.count(b",") + 1
        rows = parse([line], None)
        if rows is None:
            bad.append((place, f"has {_wrong_field(line)}, wanted finite numbers"))
        elif width is not None and fields != width:
            bad.append((place, f"has {fields} fields, wanted {width}"))
        elif _has_negative_weight(rows, weight_column):
            bad.append((place, f"has the weight {rows[0, weight_column]:g}, wanted one >= 0"))
        else:
            good.append(line)
    return good, bad


def _wrong_field(line: bytes) -> str:
    for field in line.strip().split(b","):
        if parse([field], None) is None or not field.strip():
            return ascii(field[:30].decode("latin-1"))
    return "no numbers"


def _fields(line: bytes) -> list[str]:
    return [field.strip(" \t\r\"'") for field in line.decode("utf-8", "replace").split(",")]


def _is_header(line: bytes) -> bool:
    """Tell whether a line is one of names: all fields words, but for the first, which is empty over an index.

    A row of numbers with a damaged field is no header: who leaves it out loses it.
    """
    fields = _fields(line)
    names = fields[1:] if len(fields) > 1 and not fields[0] else fields
    return all(re.match(r"[^\W\d]", name) and name.lower() not in MISSING for name in names)
