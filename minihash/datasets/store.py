"""Stores: rows of numbers in a file that may be larger than memory, written once and read in blocks.

    "minihash" (8 bytes), version (uint32), numbers in a row (uint32)
    the rows: float32, one after the other: the target, the row's weight if there is one, the features
    the index: JSON; its length (uint64), its CRC-32 (uint32), "minihash"

The index says how many rows there are, the CRC-32 of every block of rows, mean and standard deviation of
every feature, and the range of the targets. All numbers are little-endian. What describes the rows comes
last, as it is known last: a store is written in one pass. docs/store.md tells it for other readers.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from minihash import checks
from minihash.datasets.blocks import NUMBER, BlockRows
from minihash.datasets.rows import Statistics, first_not_finite
from minihash.files import naming

MAGIC = b"minihash"
VERSION = 1
HEAD = struct.Struct("<8sII")
TAIL = struct.Struct("<QI8s")
BLOCK_ROWS, BLOCK_BYTES = 8192, 2**22  # of a block, at most
MAX_INDEX = 2**28  # bytes


class StoreWriter:
    """Writes rows to an empty binary file that is open for writing; `finish` makes a store of it.

    features : numbers in a row, the target and the weight not counted.
    weighted : whether each row has a weight.

    The index tells mean and standard deviation in float64, from before the numbers are rounded to float32.
    """

    def __init__(self, file: BinaryIO, features: int, weighted: bool = False) -> None:
        self._file = file
        self.features = checks.integer("features", features, 1, 2**24)
        self.weighted = checks.boolean("weighted", weighted)
        self._columns = 1 + self.weighted + self.features
        self._block_rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // (self._columns * NUMBER.itemsize)))
        self._pending = np.empty((self._block_rows, self._columns))  # float64: statistics are not rounded
        self._count = 0
        self._checksums: list[int] = []
        self._statistics, self._targets = Statistics(self.features), Statistics(1)
        file.write(HEAD.pack(MAGIC, VERSION, self._columns))

    @property
    def rows(self) -> int:
        """Rows so far."""
        return self._statistics.rows + self._count

    def append(self, rows: np.ndarray) -> None:
        """Add rows (n, 1 + features), the target first, or (n, 2 + features) with the weight second.

        Raises ValueError for another width, masked entries, NaN or infinity, or a negative weight.
        """
        rows = checks.array("rows", rows)
        if rows.ndim != 2 or rows.shape[1] != self._columns:
            raise ValueError(f"rows has shape {rows.shape}, wanted (rows, {self._columns})")
        if (bad := first_not_finite(rows)) is not None:
            raise ValueError(f"row {self.rows + bad} has NaN or infinity, wanted finite float32 numbers")
        if self.weighted and rows[:, 1].min(initial=0) < 0:
            bad = int(np.argmax(rows[:, 1] < 0))
            raise ValueError(f"row {self.rows + bad} has the weight {rows[bad, 1]:g}, wanted one >= 0")
        while len(rows):
            taken = rows[: self._block_rows - self._count]
            self._pending[self._count : self._count + len(taken)] = taken
            self._count += len(taken)
            rows = rows[len(taken) :]
            if self._count == self._block_rows:
                self._flush()

    def finish(self, names: Sequence[str] | None = None) -> None:
        """Write what is left, and the index; `names` are those of the columns, in messages.

        Raises ValueError for a target or a feature whose spread float32 has lost.
        """
        if self._count:
            self._flush()
        names = names or [f"column {column}" for column in range(self._columns)]
        self._targets.check_rounding(names[:1])
        of_features = self._statistics
        of_features.check_rounding(names[1 + self.weighted :])
        targets = {name: getattr(of_features, name) for name in ("low", "high", "whole")}
        index = {
            "rows": of_features.rows,
            "features": self.features,
            "weighted": self.weighted,
            "block_rows": self._block_rows,
            "checksums": self._checksums,
            "mean": of_features.mean.tolist(),
            "std": of_features.std.tolist(),
            "targets": targets if of_features.rows else None,
        }
        content = json.dumps(index, allow_nan=False).encode()
        self._file.write(content + TAIL.pack(len(content), zlib.crc32(content), MAGIC))

    def _flush(self) -> None:
        block = self._pending[: self._count]
        rounded = block.astype(NUMBER)
        content = rounded.tobytes()
        self._file.write(content)
        self._checksums.append(zlib.crc32(content))
        targets = rounded[:, 0]  # as they will be read
        self._statistics.add(block[:, 1 + self.weighted :], targets)
        self._targets.add(block[:, :1], targets)
        self._count = 0


class Store(BlockRows):
    """The rows of a file that `StoreWriter` wrote.

    `rows`, `features`, `weighted` and `statistics` are known at once; rows are read when they are asked for.
    `folder`: what to keep as long as the store is used, such as a temporary folder. `column_names`: those in
    the header of the file that it was made of, the target's among them, if they are known.

    Raises OSError if the file cannot be read; ValueError with its name if it is no store or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.folder: object = None
        self.column_names: tuple[str, ...] = ()
        with naming(self.path), open(self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            columns, index, index_bytes = self._read_index(file, size)
        try:
            rows, features, block_rows = (int(index[name]) for name in ("rows", "features", "block_rows"))
            self._checksums = list(index["checksums"])
            statistics = _statistics(index)
            weighted = bool(index["weighted"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise self._damaged("its index lacks what describes the rows") from None
        held = rows * columns * NUMBER.itemsize
        if min(rows, block_rows) < 1 or HEAD.size + held + index_bytes != size:
            raise self._damaged(f"has {size} bytes, and its index tells of others")
        super().__init__(self.path, rows, features, weighted, block_rows)
        fits = statistics.mean.shape == (features,) and columns == self._columns
        if len(self._checksums) != self.num_blocks or not fits:
            raise self._damaged("its index does not fit its rows")
        self.statistics = statistics

    def _read_index(self, file: BinaryIO, size: int) -> tuple[int, dict[str, Any], int]:
        """Return the numbers in a row, the index, and the bytes that it takes."""
        head = file.read(HEAD.size)
        if size < HEAD.size + TAIL.size or head[:8] != MAGIC:
            raise self._damaged("is no store")
        _, version, columns = HEAD.unpack(head)
        if version != VERSION:
            raise self._damaged(f"has version {version}, wanted {VERSION}")
        file.seek(size - TAIL.size)
        length, checksum, magic = TAIL.unpack(file.read(TAIL.size))
        if magic != MAGIC or length > min(MAX_INDEX, size - HEAD.size - TAIL.size):
            raise self._damaged("ends early, or in something else")
        file.seek(size - TAIL.size - length)
        content = file.read(length)
        try:
            index = json.loads(content) if zlib.crc32(content) == checksum else None
        except (ValueError, RecursionError):
            index = None
        if not isinstance(index, dict):
            raise self._damaged("its index is damaged")
        return columns, index, length + TAIL.size

    def _damaged(self, what: str) -> ValueError:
        return ValueError(f"{self.path}: {what}, wanted a file of minihash data convert")

    def read_block(self, file: BinaryIO, block: int, target: np.ndarray) -> int:
        count = self._rows_of(block)
        file.seek(HEAD.size + block * self._block_rows * self._columns * NUMBER.itemsize)
        memory: Any = memoryview(cast(Any, target[:count])).cast("B")
        whole = cast(io.BufferedReader, file).readinto(memory) == len(memory)
        if not whole or zlib.crc32(memory) != self._checksums[block]:
            raise self._damaged(f"block {block} of {self.num_blocks} is damaged")
        return count


def _statistics(index: dict[str, Any]) -> Statistics:
    """Return the statistics that an index holds; KeyError, TypeError or ValueError if it does not."""
    mean, std = (np.array(index[name], np.float64) for name in ("mean", "std"))
    known, targets = Statistics(len(mean)), index["targets"]
    known.rows = int(index["rows"])
    with np.errstate(over="ignore"):  # of a damaged index, with a checksum that fits
        known.mean, known._squares = mean, np.square(std.reshape(mean.shape)) * known.rows
    known.low, known.high, known.whole = float(targets["low"]), float(targets["high"]), bool(targets["whole"])
    return known
