"""The one algorithm: products with a virtual matrix V (rows, columns) that is never whole.

V is made a *panel* (a block that fits the cache) at a time by `expand`, multiplied by BLAS, and
forgotten; the gradient of a panel is made by BLAS and summed into its buckets by `aggregate`.

    multiply:   for each panel:   locate, expand -> V_panel;   z[:, rows] += a[:, columns] @ V_panelᵀ
    gradients:  for each panel:   locate, expand -> V_panel;   grad_a[:, columns] += δ[:, rows] @ V_panel
                                  grad_V = δ[:, rows]ᵀ @ a[:, columns];   aggregate -> grad_weight

Where the batch, or the whole product, is small, a panel is not worth its while: the kernels `multiply`
and `gradients` do a block in one call, without BLAS.

Blocks are grouped into tasks so that each task owns its part of the result: rows of V going forward,
columns of V going backward. Only the gradient of the weights is shared, and every *shard* of tasks
sums into its own copy; the number of shards depends on the layer alone. So neither the number of
threads nor their timing changes a bit of any result. On a GPU tasks follow each other, and each fills it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from minihash.kernels import Origin, Span
from minihash.kernels.devices import CPU, Device

PANEL_SIZE = 2**18  # numbers in V's panel: 1 MiB, as its gradient's and its slots, for the CPU's L2 cache
PANEL_SUMMED = 1024  # of a panel, along the dimension summed over by the product
LINE, ALIGNED = 16, 64  # numbers in a cache line; blocks longer than ALIGNED are whole lines
SMALL_BATCH = 1  # rows of a batch up to which panels are not worth their while,
SMALL_WORK = 2**18  # and multiplications of a product,
SMALL_BLOCK = 2**18  # which then is done in blocks of so many weights at least;
SMALL_BLOCKS = 16  # going backward, of so many blocks at most
DTYPES = ("float32", "float64", "complex128", "int8")  # of weights

Block = tuple[int, int]


class Part(NamedTuple):
    """Some columns of V, from `column` on, with what they are multiplied by."""

    column: int
    inputs: np.ndarray  # (batch, width)
    grad_inputs: np.ndarray | None = None  # to be filled going backward, unless None

    def cut(self, start: int, stop: int) -> Part:
        """Return columns start … stop − 1 of the part."""
        grad_inputs = None if self.grad_inputs is None else self.grad_inputs[:, start:stop]
        return Part(self.column + start, self.inputs[:, start:stop], grad_inputs)


class _Matrix:
    """V as the kernels see it: the weights, what says where in them to look, and where all that is."""

    def __init__(self, weight: np.ndarray, map: Any, dtype: np.dtype, device: Device) -> None:
        self.weight, self.dtype, self.device = weight, dtype, device
        self.kernels = device.kernels_of(map)
        if weight.dtype not in DTYPES:
            raise ValueError(f"weight has dtype {weight.dtype}, wanted one of {', '.join(DTYPES)}")
        self.key, self.tile = map.key, map.tile

    def place(self, row: int, part: Part) -> tuple[Origin, Span]:
        """Return where a block starts that has its first row and its columns."""
        segment, offset = divmod(part.column, self.tile)
        return (row, segment), (self.tile, offset)

    def locate(self, rows: Block, part: Part) -> np.ndarray:
        """Return this thread's slots of a block."""
        origin, (tile, offset) = self.place(rows[0], part)
        segments = -(-(offset + part.inputs.shape[1]) // tile)
        slots = self.device.buffer("slots", (rows[1] - rows[0], segments), np.dtype(np.uint32))
        self.kernels.locate(self.key, origin, slots)
        return slots

    def expand(self, slots: np.ndarray, part: Part) -> np.ndarray:
        """Return this thread's panel of V, a row for each of the slots."""
        panel = self.device.buffer("panel", (len(slots), part.inputs.shape[1]), self.dtype)
        _, span = self.place(0, part)
        self.kernels.expand(self.weight, slots, span, panel)
        return panel

    def accumulate(self, left: np.ndarray, right: np.ndarray, target: np.ndarray, first: bool) -> None:
        """Set (first) or add to `target` the product `left @ right`."""
        if first:
            self.device.xp.matmul(left, right, out=target)
        else:
            product = self.device.buffer("product", target.shape, target.dtype)
            self.device.xp.matmul(left, right, out=product)
            target += product


def locate(map: Any, rows: int, device: Device) -> np.ndarray:
    """Return the slots (rows, G) of whole rows of V."""
    slots = device.xp.empty((rows, map.segments), np.uint32)
    device.kernels_of(map).locate(map.key, (0, 0), slots)
    return slots


def expand(
    weight: np.ndarray, map: Any, slots: np.ndarray, columns: int, dtype: np.dtype, device: Device
) -> np.ndarray:
    """Return the rows (len(slots), columns) that slots stand for, of weights or codes."""
    panel = device.xp.empty((len(slots), columns), dtype)
    _Matrix(weight, map, dtype, device).kernels.expand(weight, slots, (map.tile, 0), panel)
    return panel


def multiply(
    parts: Sequence[Part], weight: np.ndarray, map: Any, outputs: np.ndarray, device: Device = CPU
) -> None:
    """Fill `outputs` (batch, rows) with `inputs @ Vᵀ` (eq. 8), the inputs given in parts, all on `device`.

    Weights are of the outputs' dtype, or quantised: then V is made of whole numbers.
    """
    rows, columns = outputs.shape[1], _count_columns(parts)
    matrix = _Matrix(weight, map, outputs.dtype, device)
    if is_small(len(outputs), rows, columns) and weight.dtype == outputs.dtype:
        # A row's product is the same in any block, so there are no more blocks than tasks at a time.
        blocks = _blocks(rows, max(SMALL_BLOCK // columns, -(-rows // device.num_tasks())))
        if len(blocks) == 1:
            _multiply_small(matrix, parts, outputs, (0, rows))
        else:
            task = functools.partial(_multiply_small, matrix, parts, outputs)
            device.run(functools.partial(task, block) for block in blocks)
        return
    height, width = _panel_shape(columns, device.panels)
    # BLAS is 1.3 times faster where neither of its matrices is transposed in memory: panel @ inputsᵀ.
    panels = [Part(column, device.xp.asfortranarray(inputs)) for column, inputs, _ in _cut(parts, width)]
    device.run(
        functools.partial(_multiply_rows, matrix, panels, outputs, block) for block in _blocks(rows, height)
    )


def _multiply_small(matrix: _Matrix, parts: Sequence[Part], outputs: np.ndarray, rows: Block) -> None:
    target = outputs[:, rows[0] : rows[1]]
    target[...] = 0
    for part in parts:
        matrix.kernels.multiply(matrix.weight, matrix.key, *matrix.place(rows[0], part), part.inputs, target)


def _multiply_rows(matrix: _Matrix, parts: Sequence[Part], outputs: np.ndarray, rows: Block) -> None:
    """Fill the outputs of one block of rows; every part is a panel."""
    transposed = matrix.device.buffer("outputs", (rows[1] - rows[0], len(outputs)), outputs.dtype)
    for number, part in enumerate(parts):
        panel = matrix.expand(matrix.locate(rows, part), part)
        matrix.accumulate(panel, part.inputs.T, transposed, first=number == 0)
    outputs[:, rows[0] : rows[1]] = transposed.T


def gradients(
    parts: Sequence[Part],
    weight: np.ndarray,
    map: Any,
    grad_outputs: np.ndarray,
    grad_weight: np.ndarray,
    device: Device = CPU,
) -> None:
    """Fill `grad_weight` (eq. 12), and the parts' `grad_inputs` with `grad_outputs @ V`.

    Parameters
    ----------
    parts : the inputs as they were in `multiply`, and `grad_inputs` where somebody needs them.
    weight : (num_buckets,).
    map : of the layer.
    grad_outputs : (batch, rows).
    grad_weight : (num_buckets,), to be filled.
    device : that all arrays are on.
    """
    rows, columns = grad_outputs.shape[1], _count_columns(parts)
    matrix = _Matrix(weight, map, grad_outputs.dtype, device)
    grad_weight.fill(0)
    small = is_small(len(grad_outputs), rows, columns)
    if small and rows * columns <= SMALL_BLOCK:
        _gradients_small(matrix, grad_outputs, parts, grad_weight)
        return
    small = small and device.small_blocks
    width, height = _panel_shape(rows, device.panels)
    if small:
        width, height = max(SMALL_BLOCK // rows, columns // SMALL_BLOCKS, 1), rows
    blocks = list(_cut(parts, width, device.shards))
    shards = count_shards(rows * columns, weight.size, min(device.shards, len(blocks)))
    copies = [grad_weight, *(device.xp.zeros_like(grad_weight) for _ in range(1, shards))]
    task = _gradients_small if small else functools.partial(_gradients_of_columns, height=height)
    device.run_shards(functools.partial(task, matrix, grad_outputs), blocks, copies)


def _gradients_small(
    matrix: _Matrix, grad_outputs: np.ndarray, parts: Sequence[Part], grad_weight: np.ndarray
) -> None:
    for part in parts:
        grad_inputs = part.inputs[:0] if part.grad_inputs is None else part.grad_inputs
        grad_inputs[...] = 0
        where = matrix.key, *matrix.place(0, part)
        matrix.kernels.gradients(
            matrix.weight, *where, part.inputs, grad_outputs, grad_inputs, grad_weight
        )


def _gradients_of_columns(
    matrix: _Matrix,
    grad_outputs: np.ndarray,
    parts: Sequence[Part],
    grad_weight: np.ndarray,
    height: int,
) -> None:
    """Do one shard: its blocks of columns, each over all rows, a panel at a time."""
    for part in parts:
        width = part.inputs.shape[1]
        for rows in _blocks(grad_outputs.shape[1], height):
            grad_rows = grad_outputs[:, rows[0] : rows[1]]
            slots = matrix.locate(rows, part)
            if part.grad_inputs is not None:
                panel = matrix.expand(slots, part)
                matrix.accumulate(grad_rows, panel, part.grad_inputs, first=rows[0] == 0)
            grad_panel = matrix.device.buffer("grad_panel", (len(slots), width), grad_weight.dtype)
            matrix.device.xp.matmul(grad_rows.T, part.inputs, out=grad_panel)
            matrix.kernels.aggregate(grad_panel, slots, matrix.place(0, part)[1], grad_weight)


def _count_columns(parts: Sequence[Part]) -> int:
    return sum(part.inputs.shape[1] for part in parts)


def _cut(parts: Sequence[Part], width: int, multiple: int = 1) -> Iterator[Part]:
    """Cut the parts into blocks of about `width` columns."""
    for part in parts:
        yield from (part.cut(*block) for block in _blocks(part.inputs.shape[1], width, multiple))


def is_small(batch: int, rows: int, columns: int) -> bool:
    """Tell whether a product is done without panels."""
    return batch <= SMALL_BATCH or batch * rows * columns <= SMALL_WORK


def count_shards(virtual: int, num_buckets: int, most: int) -> int:
    """Return how many copies of the weights' gradient to keep: together at most half the size of V."""
    return min(most, max(1, virtual // (2 * num_buckets)))


def _panel_shape(summed: int, times: int = 1) -> tuple[int, int]:
    """Return a panel's extent, more or less, along the dimension the product keeps and that it sums over."""
    return times * PANEL_SIZE // min(summed, PANEL_SUMMED), PANEL_SUMMED


def _blocks(length: int, about: int, multiple: int = 1) -> list[Block]:
    """Cut range(length) into blocks of nearly equal lengths, about so long, a multiple in number.

    Long ones start at multiples of a cache line: BLAS takes longer for odd lengths.
    """
    count = max(1, round(length / about))
    if length >= ALIGNED * multiple:
        count = -(-count // multiple) * multiple
    line = LINE if length >= ALIGNED * count else 1
    ends = [round(length * block / count / line) * line for block in range(1, count)]
    return list(itertools.pairwise(sorted({0, *ends, length})))
