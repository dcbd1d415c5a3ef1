"""Rows of a file that may be larger than memory: read in blocks, shuffled, in two buffers."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minihash import checks
from minihash.datasets.rows import Batch, Batches, Rows
from minihash.files import naming

BLOCKS = 8  # of a buffer: rows are shuffled among so many blocks
NUMBER = np.dtype("<f4")
Buffers = Generator[np.ndarray, None, None]


class BlockRows(Rows):
    """Rows of a file, each the target, the weight if there is one, and the features.

    A subclass says how a block is read.

    Parameters
    ----------
    path : of the file.
    rows, features, weighted : as in `Rows`.
    block_rows : rows of a block.
    """

    def __init__(self, path: Path, rows: int, features: int, weighted: bool, block_rows: int) -> None:
        self.path, self.name = path, str(path)
        self.rows, self.features, self.weighted = rows, features, weighted
        self._block_rows, self._file_rows = block_rows, rows
        self._first, self._end = 0, rows  # rows of the file
        self._mask: np.ndarray | None = None  # (rows of the file,), where not all between them belong here
        self._labels: np.ndarray | None = None  # the targets of class 0, 1, …, where they are others
        self._bounds: tuple[float, float, bool] | None = None  # of the file

    @property
    def _columns(self) -> int:
        return 1 + self.weighted + self.features

    @property
    def num_blocks(self) -> int:
        """Blocks of the file."""
        return -(-self._file_rows // self._block_rows)

    @property
    def buffer_bytes(self) -> int:  # type: ignore[override]
        """Memory of the two buffers."""
        rows = min(BLOCKS * self._block_rows, self._file_rows)
        return (1 if rows == self._file_rows else 2) * rows * self._columns * NUMBER.itemsize

    def _rows_of(self, block: int) -> int:
        return min(self._block_rows, self._file_rows - block * self._block_rows)

    def read_block(self, file: BinaryIO, block: int, target: np.ndarray) -> int:
        """Read a block of the open file into the first rows of `target`; return how many rows it has.

        Raises ValueError if the block is damaged.
        """
        raise NotImplementedError

    @property
    def bounds(self) -> tuple[float, float, bool]:
        return self._bounds or super().bounds

    def part(self, start: int, stop: int) -> BlockRows:
        start = checks.integer("start", start, 0, self.rows + 1)
        stop = checks.integer("stop", stop, start, self.rows + 1)
        if self._mask is None:
            return self._between(self._first + start, self._first + stop, stop - start)
        own = self._first + np.flatnonzero(self._mask[self._first : self._end])[start:stop]
        return self._between(own[0], own[-1] + 1, len(own)) if len(own) else self._between(0, 0, 0)

    def chosen(self, mask: np.ndarray) -> BlockRows:
        first, end = int(mask.argmax()), len(mask) - int(mask[::-1].argmax())
        part = self._between(first, end, int(mask.sum())) if mask.any() else self._between(0, 0, 0)
        part._mask = mask if part.rows < part._end - part._first else None
        return part

    def labelled(self, labels: np.ndarray) -> BlockRows:
        rows = self._between(self._first, self._end, self.rows)
        rows._labels, rows._bounds = labels, (0.0, len(labels) - 1.0, True)
        return rows

    def _between(self, first: int, end: int, rows: int) -> BlockRows:
        """Return a part: some rows between two rows of the file."""
        part = copy.copy(self)
        known = part.__dict__.pop("statistics", None)  # of other rows, but all there is to know of targets
        if known is not None and part._bounds is None:
            part._bounds = known.low, known.high, known.whole
        part._first, part._end, part.rows = int(first), int(end), rows
        return part

    def batches(self, batch_size: int, rng: np.random.Generator | None = None) -> Batches:
        """Yield batches as `Rows` says; `rng` shuffles blocks, and the rows of those in memory together.

        Two buffers of BLOCKS blocks are all the memory: a thread fills one while the other is used up.
        """
        batch_size = checks.integer("batch_size", batch_size, 1, 2**31)
        batch = np.empty((min(batch_size, self.rows), self._columns), NUMBER)
        with contextlib.closing(self._buffers(rng)) as buffers:
            yield from self._cut(buffers, batch, rng)

    def _cut(self, buffers: Buffers, batch: np.ndarray, rng: np.random.Generator | None) -> Batches:
        """Yield the rows of buffers in batches, each in the same array."""
        filled = 0
        for rows in buffers:
            order = np.arange(len(rows)) if rng is None else rng.permutation(len(rows))
            while len(order):
                taken = order[: len(batch) - filled]
                np.take(rows, taken, axis=0, out=batch[filled : filled + len(taken)], mode="clip")
                order, filled = order[len(taken) :], filled + len(taken)
                if filled == len(batch):
                    yield self._batch(batch)
                    filled = 0
        if filled:
            yield self._batch(batch[:filled])

    def _batch(self, rows: np.ndarray) -> Batch:
        targets = rows[:, 0]
        if self._labels is not None:
            targets = np.searchsorted(self._labels, targets).astype(NUMBER)
        return Batch(rows[:, 1 + self.weighted :], targets, rows[:, 1] if self.weighted else None)

    def _buffers(self, rng: np.random.Generator | None) -> Buffers:
        """Yield the rows of some blocks after the other, while a thread reads the next."""
        if not self.rows:
            return
        first, last = self._first // self._block_rows, (self._end - 1) // self._block_rows
        order = np.arange(first, last + 1)
        if rng is not None:
            rng.shuffle(order)
        groups = [order[start : start + BLOCKS].tolist() for start in range(0, len(order), BLOCKS)]
        held = min(len(groups[0]) * self._block_rows, self._file_rows)
        buffers = [np.empty((held, self._columns), NUMBER) for _ in groups[:2]]
        with naming(self.path), open(self.path, "rb") as file, ThreadPoolExecutor(1) as reader:
            read = functools.partial(self._read_group, file)
            ahead: Future[np.ndarray] | None = None
            try:
                ahead = reader.submit(read, groups[0], buffers[0])
            except RuntimeError:  # no thread can be started: each is read when it is wanted
                pass
            for number, group in enumerate(groups):
                rows = read(group, buffers[0]) if ahead is None else ahead.result()
                if ahead is not None and number + 1 < len(groups):
                    ahead = reader.submit(read, groups[number + 1], buffers[(number + 1) % 2])
                yield rows

    def _read_group(self, file: BinaryIO, group: list[int], buffer: np.ndarray) -> np.ndarray:
        """Read some blocks, one after the other; return those of their rows that belong to this part."""
        count = 0
        for block in group:
            start = block * self._block_rows
            read = self.read_block(file, block, buffer[count:])
            low, high = max(0, self._first - start), min(read, self._end - start)
            if self._mask is not None:
                own = buffer[count + low : count + high][self._mask[start + low : start + high]]
                buffer[count : count + len(own)] = own
                count += len(own)
                continue
            if low:  # the part begins in the middle of the block
                buffer[count : count + high - low] = buffer[count + low : count + high]
            count += high - low
        return buffer[:count]
