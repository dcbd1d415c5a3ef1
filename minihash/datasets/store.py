"""Stores: rows of numbers in a file that may be larger than memory, written once and read in blocks.

    "minihash" (8 bytes), version (uint32), numbers in a row (uint32)
    the rows: float32, one after the other, the target first and then the features
    the index: JSON; its length (uint64), its CRC-32 (uint32), "minihash"

The index says how many rows there are, the CRC-32 of every block of rows, and mean and standard deviation of
every feature. All numbers are little-endian. What describes the rows comes last, as it is known last: a store
is written in one pass.
"""

from __future__ import annotations

import io
import json
import os
import queue
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from minihash import checks

MAGIC = b"minihash"
VERSION = 1
HEAD = struct.Struct("<8sII")
TAIL = struct.Struct("<QI8s")
BLOCK_ROWS = 8192
BLOCKS = 8  # of a buffer: rows are shuffled among so many blocks
NUMBER = np.dtype("<f4")
MAX_INDEX = 2**28  # bytes


class StoreWriter:
    """Writes rows to a file that is open for writing; `finish` makes a store of it.

    Parameters
    ----------
    file : binary, empty.
    features : numbers in a row, the target not counted.
    """

    def __init__(self, file: BinaryIO, features: int) -> None:
        self._file = file
        self.features = checks.integer("features", features, 1, 2**24)
        self.rows = 0
        self._pending = np.empty((BLOCK_ROWS, 1 + self.features), NUMBER)
        self._count = 0
        self._checksums: list[int] = []
        self._mean = np.zeros(1 + self.features)
        self._squares = np.zeros(1 + self.features)  # summed, of the deviations from the mean
        file.write(HEAD.pack(MAGIC, VERSION, 1 + self.features))

    def append(self, rows: np.ndarray) -> None:
        """Add rows (n, 1 + features), the target first; ValueError for another width, NaN or infinity."""
        if rows.ndim != 2 or rows.shape[1] != 1 + self.features:
            raise ValueError(f"rows has shape {rows.shape}, wanted (rows, {1 + self.features})")
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
            bad = np.flatnonzero(~np.isfinite(rows.astype(NUMBER)).all(axis=1))
        if len(bad):
            raise ValueError(f"rows has NaN or infinity in row {bad[0]}, wanted finite float32 numbers")
        while len(rows):
            taken = rows[: BLOCK_ROWS - self._count]
            self._pending[self._count : self._count + len(taken)] = taken
            self._count += len(taken)
            rows = rows[len(taken) :]
            if self._count == BLOCK_ROWS:
                self._flush()

    def finish(self) -> None:
        """Write what is left, and the index."""
        if self._count:
            self._flush()
        index = {
            "rows": self.rows,
            "features": self.features,
            "block_rows": BLOCK_ROWS,
            "checksums": self._checksums,
            "mean": self._mean[1:].tolist(),
            "std": np.sqrt(self._squares[1:] / max(1, self.rows)).tolist(),
        }
        content = json.dumps(index).encode()
        self._file.write(content + TAIL.pack(len(content), zlib.crc32(content), MAGIC))

    def _flush(self) -> None:
        block = self._pending[: self._count]
        content = block.tobytes()
        self._file.write(content)
        self._checksums.append(zlib.crc32(content))
        # Chan, Golub, LeVeque 1979: moments of two sets from those of each, without cancellation.
        values = block.astype(np.float64)
        mean, rows = values.mean(axis=0), self.rows + len(values)
        apart, share = mean - self._mean, len(values) / rows
        self._squares += np.square(values - mean).sum(axis=0) + np.square(apart) * self.rows * share
        self._mean += apart * share
        self.rows, self._count = rows, 0


class Store:
    """The rows of a file that `StoreWriter` wrote.

    Parameters
    ----------
    path : of the file.

    `rows`, `features`, `mean` and `std` (features,) are known at once; rows are read when they are asked for.

    Raises
    ------
    OSError if the file cannot be read; ValueError with its name if it is no store or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with open(self.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            index = self._read_index(file, size)
        try:
            self.rows, self.features = int(index["rows"]), int(index["features"])
            self._block_rows, self._checksums = int(index["block_rows"]), list(index["checksums"])
            self.mean, self.std = (np.array(index[name], np.float64) for name in ("mean", "std"))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise self._damaged("its index lacks what describes the rows") from None
        held = self.rows * self._row_bytes
        if min(self.rows, self._block_rows) < 1 or HEAD.size + held + self._index_bytes != size:
            raise self._damaged(f"has {size} bytes, and its index tells of others")
        blocks = -(-self.rows // self._block_rows)
        if len(self._checksums) != blocks or not self.mean.shape == self.std.shape == (self.features,):
            raise self._damaged("its index does not fit its rows")

    def _read_index(self, file: BinaryIO, size: int) -> dict[str, Any]:
        head = file.read(HEAD.size)
        if size < HEAD.size + TAIL.size or head[:8] != MAGIC:
            raise self._damaged("is no store")
        _, version, self._columns = HEAD.unpack(head)
        if version != VERSION:
            raise self._damaged(f"has version {version}, wanted {VERSION}")
        file.seek(size - TAIL.size)
        length, checksum, magic = TAIL.unpack(file.read(TAIL.size))
        if magic != MAGIC or length > min(MAX_INDEX, size - HEAD.size - TAIL.size):
            raise self._damaged("ends early, or in something else")
        file.seek(size - TAIL.size - length)
        content = file.read(length)
        if zlib.crc32(content) != checksum:
            raise self._damaged("its index is damaged")
        self._index_bytes = length + TAIL.size
        try:
            index = json.loads(content)
        except (ValueError, RecursionError):
            index = None
        if not isinstance(index, dict) or index.get("features") != self._columns - 1:
            raise self._damaged("its index is damaged")
        return index

    def _damaged(self, what: str) -> ValueError:
        return ValueError(f"{self.path}: {what}, wanted a file of minihash data convert")

    @property
    def _row_bytes(self) -> int:
        return self._columns * NUMBER.itemsize

    def __len__(self) -> int:
        return self.rows

    @property
    def num_blocks(self) -> int:
        """Blocks of rows, each of which is read as a whole."""
        return len(self._checksums)

    def read_block(self, file: BinaryIO, block: int, target: np.ndarray) -> int:
        """Read a block into the first rows of `target`; return how many rows it has.

        Raises
        ------
        ValueError if the block is damaged.
        """
        count = min(self._block_rows, self.rows - block * self._block_rows)
        file.seek(HEAD.size + block * self._block_rows * self._row_bytes)
        memory: Any = memoryview(cast(Any, target[:count])).cast("B")
        whole = cast(io.RawIOBase, file).readinto(memory) == len(memory)
        if not whole or zlib.crc32(memory) != self._checksums[block]:
            raise self._damaged(f"block {block} of {self.num_blocks} is damaged")
        return count

    def batches(
        self, batch_size: int, rng: np.random.Generator | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield batches of (inputs, targets), every row once; only the last batch is shorter.

        Parameters
        ----------
        batch_size : rows of a batch.
        rng : shuffles blocks, and the rows of BLOCKS of them that are in memory together; None keeps the
            order of the file.

        What is yielded is changed by the next batch. Two buffers of BLOCKS blocks are all the memory: a
        thread fills one while the other is used up.
        """
        batch_size = checks.integer("batch_size", batch_size, 1, 2**31)
        batch, filled = np.empty((min(batch_size, self.rows), self._columns), NUMBER), 0
        for rows in self._buffers(rng):
            order = np.arange(len(rows)) if rng is None else rng.permutation(len(rows))
            while len(order):
                taken = order[: len(batch) - filled]
                np.take(rows, taken, axis=0, out=batch[filled : filled + len(taken)], mode="clip")
                order, filled = order[len(taken) :], filled + len(taken)
                if filled == len(batch):
                    yield batch[:, 1:], batch[:, 0]
                    filled = 0
        if filled:
            yield batch[:filled, 1:], batch[:filled, 0]

    def _buffers(self, rng: np.random.Generator | None) -> Iterator[np.ndarray]:
        """Yield the rows of some blocks after the other, while a thread reads the next."""
        order = np.arange(self.num_blocks) if rng is None else rng.permutation(self.num_blocks)
        groups = [order[start : start + BLOCKS] for start in range(0, len(order), BLOCKS)]
        held = min(BLOCKS * self._block_rows, self.rows)
        free: queue.Queue[np.ndarray | None] = queue.Queue()
        full: queue.Queue[tuple[np.ndarray, int] | BaseException] = queue.Queue()
        for _ in range(min(2, len(groups))):
            free.put(np.empty((held, self._columns), NUMBER))
        reader = threading.Thread(target=self._fill, args=(groups, free, full), daemon=True)
        reader.start()
        try:
            for _ in groups:
                found = full.get()
                if isinstance(found, BaseException):
                    raise found
                yield found[0][: found[1]]
                free.put(found[0])
        finally:
            free.put(None)  # whoever stops early stops the reader too
            reader.join()

    def _fill(self, groups: list[np.ndarray], free: queue.Queue, full: queue.Queue) -> None:
        try:
            with open(self.path, "rb", buffering=0) as file:
                for group in groups:
                    buffer = free.get()
                    if buffer is None:
                        return
                    count = 0
                    for block in group.tolist():
                        count += self.read_block(file, block, buffer[count:])
                    full.put((buffer, count))
        except BaseException as error:  # raised where the rows are wanted
            full.put(error)
