"""The one algorithm: products with a virtual matrix V (rows, columns) that is never whole.

V is made a *panel* (a block that fits the cache) at a time by `expand`, multiplied by BLAS, and
forgotten; the gradient of a panel is made by BLAS and summed into its buckets by `aggregate`.

    multiply:   for each panel:   expand -> V_panel;   z[:, rows]    += a[:, columns] @ V_panelᵀ
    gradients:  for each panel:   expand -> V_panel;   grad_a[:, columns] += δ[:, rows] @ V_panel
                                  grad_V = δ[:, rows]ᵀ @ a[:, columns];  aggregate -> grad_table

Panels are grouped into tasks so that each task owns its part of the result: rows of V going forward,
columns of V going backward. Only the gradient of the table is shared, and every *shard* of tasks
sums into its own copy; the number of shards depends on the layer alone. So neither the number of
threads nor their timing changes a bit of any result.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator

import numpy as np

from minihash import kernels
from minihash.kernels import threads

PANEL_BYTES = 256 * 1024  # V's panel and its gradient's fit a 512 KiB L2 cache together
SUMMED_LENGTH = 1024  # of a panel, along the dimension summed over by the product
SHARDS = 4  # copies of the table's gradient, at most: enough for four threads, few enough to stay small

Block = tuple[int, int]


def multiply(inputs: np.ndarray, table: np.ndarray, seed: int, outputs: np.ndarray) -> None:
    """Fill `outputs` (batch, rows) with `inputs @ Vᵀ` (eq. 8), `inputs` (batch, columns), in panels."""
    rows, columns = outputs.shape[1], inputs.shape[1]
    height, width = _panel_shape(rows, columns, table.itemsize)
    threads.run(
        functools.partial(_multiply_rows, inputs, table, seed, outputs, block, width)
        for block in _blocks(rows, height)
    )


def _multiply_rows(
    inputs: np.ndarray, table: np.ndarray, seed: int, outputs: np.ndarray, rows: Block, width: int
) -> None:
    """Fill the outputs of one block of rows."""
    expand = kernels.get().expand
    target = outputs[:, rows[0] : rows[1]]
    for columns in _blocks(inputs.shape[1], width):
        panel = _buffer("panel", (rows[1] - rows[0], columns[1] - columns[0]), table.dtype)
        expand(table, np.uint32(seed), rows[0], columns[0], panel)
        _accumulate(inputs[:, columns[0] : columns[1]], panel.T, target, first=columns[0] == 0)


def gradients(
    inputs: np.ndarray,
    table: np.ndarray,
    seed: int,
    grad_outputs: np.ndarray,
    grad_inputs: np.ndarray | None,
) -> np.ndarray:
    """Return the table's gradient (eq. 12) and fill `grad_inputs` with `grad_outputs @ V`, in panels.

    Parameters
    ----------
    inputs : (batch, columns), as they were in `multiply`.
    table : the vector that the hash indexes.
    seed : of the layer.
    grad_outputs : (batch, rows).
    grad_inputs : (batch, columns) to be filled, or None where nobody needs it.

    Returns
    -------
    array like `table`.
    """
    rows, columns = grad_outputs.shape[1], inputs.shape[1]
    width, height = _panel_shape(columns, rows, table.itemsize)
    blocks = list(_blocks(columns, width))
    shards = _count_shards(rows * columns, table.size, len(blocks))
    grad_tables = np.zeros((shards, table.size), table.dtype)
    threads.run(
        functools.partial(
            _gradients_of_columns,
            *(inputs, table, seed, grad_outputs, grad_inputs, grad_tables[shard]),
            blocks[len(blocks) * shard // shards : len(blocks) * (shard + 1) // shards],
            height,
        )
        for shard in range(shards)
    )
    for shard in range(1, shards):
        grad_tables[0] += grad_tables[shard]
    return grad_tables[0]


def _gradients_of_columns(
    inputs: np.ndarray,
    table: np.ndarray,
    seed: int,
    grad_outputs: np.ndarray,
    grad_inputs: np.ndarray | None,
    grad_table: np.ndarray,
    blocks: list[Block],
    height: int,
) -> None:
    """Do one shard: its blocks of columns, each over all rows."""
    kernel = kernels.get()
    for start, stop in blocks:
        for rows in _blocks(grad_outputs.shape[1], height):
            shape = (rows[1] - rows[0], stop - start)
            grad_rows = grad_outputs[:, rows[0] : rows[1]]
            if grad_inputs is not None:
                panel = _buffer("panel", shape, table.dtype)
                kernel.expand(table, np.uint32(seed), rows[0], start, panel)
                _accumulate(grad_rows, panel, grad_inputs[:, start:stop], first=rows[0] == 0)
            grad_panel = _buffer("grad_panel", shape, table.dtype)
            np.matmul(grad_rows.T, inputs[:, start:stop], out=grad_panel)
            kernel.aggregate(grad_panel, np.uint32(seed), rows[0], start, grad_table)


def expand_column(table: np.ndarray, seed: int, rows: int, column: int) -> np.ndarray:
    """Return one column of V, (rows,): the hashed bias."""
    panel = np.empty((rows, 1), table.dtype)
    kernels.get().expand(table, np.uint32(seed), 0, column, panel)
    return panel[:, 0]


def aggregate_column(
    grad_column: np.ndarray, seed: int, column: int, grad_table: np.ndarray
) -> None:
    """Add the gradient (rows,) of one column of V to its buckets."""
    panel = np.ascontiguousarray(grad_column)[:, None]
    kernels.get().aggregate(panel, np.uint32(seed), 0, column, grad_table)


def _count_shards(virtual: int, table_size: int, blocks: int) -> int:
    """Return how many copies of the table's gradient to keep: together at most half the size of V."""
    return min(SHARDS, blocks, max(1, virtual // (2 * table_size)))


def _panel_shape(kept: int, summed: int, itemsize: int) -> tuple[int, int]:
    """Return a panel's extent along the dimension that the product keeps and the one it sums over."""
    size = PANEL_BYTES // itemsize
    along_kept = min(kept, max(1, size // min(summed, SUMMED_LENGTH)))
    return along_kept, min(summed, size // along_kept)


def _blocks(length: int, longest: int) -> Iterator[Block]:
    """Cut range(length) into the fewest blocks of at most `longest`, of nearly equal lengths."""
    count = -(-length // longest)
    for block in range(count):
        yield length * block // count, length * (block + 1) // count


def _accumulate(left: np.ndarray, right: np.ndarray, target: np.ndarray, first: bool) -> None:
    """Set (first) or add to `target` the product `left @ right`."""
    if first:
        np.matmul(left, right, out=target)
    else:
        product = _buffer("product", target.shape, target.dtype)
        np.matmul(left, right, out=product)
        target += product


_local = threading.local()


def _buffer(name: str, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Return this thread's scratch array of that name, contiguous; its contents are undefined."""
    size = shape[0] * shape[1] * dtype.itemsize
    memory = getattr(_local, name, None)
    if memory is None or memory.size < size:
        memory = np.empty(size, np.uint8)
        setattr(_local, name, memory)
    return memory[:size].view(dtype).reshape(shape)
