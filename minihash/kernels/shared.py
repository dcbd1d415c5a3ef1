"""Products with a virtual matrix of tiles, computed once for all rows that drew a tile.

    multiply:    arrange -> a';   P = tiles @ a';   gather -> z           of one row all in multiply_row
    gradients:   δ transposed;   scatter -> Q;   ∂L/∂tiles = Q @ a'ᵀ;   ∂L/∂a' = tilesᵀ @ Q;   arrange_back

A batch is cut into blocks whose arrays fit the L2 cache together. A block is a task of its own going
forward; going backward each shard of blocks sums the gradient of the tiles into a copy of its own. Blocks
and shards depend on the sizes alone, so the number of threads changes no bit.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from minihash.kernels.devices import CPU
from minihash.kernels.panels import Block

BLOCK_BYTES = 3 * 2**19  # of a block's arrays: P, a' and z
BLOCK_ROWS = 64  # of a batch, at most: two threads share 128 rows
LEAST_ROWS = 8
SHARDS = 4


def multiply(inputs: np.ndarray, weight: np.ndarray, map: Any, outputs: np.ndarray) -> list[np.ndarray]:
    """Fill `outputs` (batch, rows) with `inputs @ Vᵀ`, eq. 8; return the arranged inputs, block by block.

    Parameters
    ----------
    inputs : (batch, features); a bias is fed by 1.
    weight : (num_buckets,), of the dtype of the inputs.
    map : a `BucketMap` of tiles, best with fewer of them than rows.
    outputs : (batch, rows).
    """
    tiles, slots = _tiles(weight, map), _slots(map, outputs.shape[1])
    if len(inputs) == 1:  # six calls of some microseconds each are as long as the work
        own = np.empty((map.segments, map.tile), weight.dtype)
        CPU.kernels.multiply_row(inputs[0], map.places, map.signs, tiles, slots, own, outputs[0])
        return [own.T]
    blocks = _blocks(len(outputs), outputs.shape[1], map, weight.itemsize)
    shape = map.tile, map.segments
    arranged = [np.empty((shape[0], shape[1] * (stop - start)), weight.dtype) for start, stop in blocks]
    task = functools.partial(_multiply_block, map, tiles, slots)
    CPU.run(
        functools.partial(task, inputs[start:stop], own, outputs[start:stop])
        for (start, stop), own in zip(blocks, arranged)
    )
    return arranged


def _multiply_block(
    map: Any,
    tiles: np.ndarray,
    slots: np.ndarray,
    inputs: np.ndarray,
    arranged: np.ndarray,
    outputs: np.ndarray,
) -> None:
    batch, rows = outputs.shape
    CPU.kernels.arrange(inputs, map.places, map.signs, map.tile, arranged)
    products = CPU.buffer("products", (map.tiles, arranged.shape[1]), tiles.dtype)
    np.matmul(tiles, arranged, out=products)
    transposed = CPU.buffer("outputs", (rows, batch), tiles.dtype)
    CPU.kernels.gather(products.reshape(map.tiles, map.segments, batch), slots, transposed)
    CPU.kernels.transpose(transposed, outputs)


def gradients(
    arranged: list[np.ndarray],
    weight: np.ndarray,
    map: Any,
    grad_outputs: np.ndarray,
    grad_weight: np.ndarray,
    grad_inputs: np.ndarray | None,
) -> None:
    """Fill `grad_weight` (eq. 12), and `grad_inputs` (batch, features) unless it is None.

    Parameters
    ----------
    arranged : what `multiply` returned.
    weight, map : as there.
    grad_outputs : (batch, rows).
    """
    tiles, slots = _tiles(weight, map), _slots(map, grad_outputs.shape[1])
    blocks = _blocks(len(grad_outputs), grad_outputs.shape[1], map, weight.itemsize)
    shards = max(1, min(SHARDS, len(blocks)))
    copies = np.zeros((shards, *tiles.shape), weight.dtype)
    cuts = itertools.pairwise(len(blocks) * n // shards for n in range(shards + 1))
    task = functools.partial(_gradients_of_blocks, map, tiles, slots, grad_outputs, grad_inputs)
    CPU.run(
        functools.partial(task, blocks[start:stop], arranged[start:stop], copy)
        for (start, stop), copy in zip(cuts, copies)
    )
    for copy in copies[1:]:
        copies[0] += copy
    last = (map.tiles - 1) * map.tile
    grad_weight[:last] = copies[0, :-1].reshape(-1)
    grad_weight[last:] = 0
    grad_weight[map.num_buckets - map.tile :] += copies[0, -1]  # it may overlap the one before


def _gradients_of_blocks(
    map: Any,
    tiles: np.ndarray,
    slots: np.ndarray,
    grad_outputs: np.ndarray,
    grad_inputs: np.ndarray | None,
    blocks: list[Block],
    arranged: list[np.ndarray],
    grad_tiles: np.ndarray,
) -> None:
    """Do one shard of blocks, and add to its copy of the tiles' gradient."""
    for (start, stop), own in zip(blocks, arranged):
        rows, batch = grad_outputs.shape[1], stop - start
        transposed = CPU.buffer("outputs", (rows, batch), tiles.dtype)
        CPU.kernels.transpose(grad_outputs[start:stop], transposed)
        grad_products = CPU.buffer("products", (map.tiles, own.shape[1]), tiles.dtype)
        CPU.kernels.scatter(transposed, slots, grad_products.reshape(map.tiles, map.segments, batch))
        product = CPU.buffer("grad_tiles", grad_tiles.shape, tiles.dtype)
        np.matmul(grad_products, own.T, out=product)
        grad_tiles += product
        if grad_inputs is not None:
            grad_arranged = CPU.buffer("arranged", own.shape, tiles.dtype)
            np.matmul(tiles.T, grad_products, out=grad_arranged)
            back = grad_inputs[start:stop]
            CPU.kernels.arrange_back(grad_arranged, map.places, map.signs, map.tile, back)


def _tiles(weight: np.ndarray, map: Any) -> np.ndarray:
    """Return the tiles (T, B): the weights themselves where T · B of them are all, else a copy."""
    if map.tiles * map.tile == map.num_buckets:
        return weight.reshape(map.tiles, map.tile)
    tiles = np.empty((map.tiles, map.tile), weight.dtype)
    tiles[:-1] = weight[: (map.tiles - 1) * map.tile].reshape(-1, map.tile)
    tiles[-1] = weight[map.num_buckets - map.tile :]
    return tiles


def _slots(map: Any, rows: int) -> np.ndarray:
    """Return tile and sign of every row and segment, (rows, G)."""
    slots = np.empty((rows, map.segments), np.uint32)
    CPU.kernels_of(map).locate(map.key, (0, 0), slots)
    return slots


def _blocks(batch: int, rows: int, map: Any, itemsize: int) -> list[Block]:
    """Cut a batch into blocks of nearly equal numbers of rows, in eights."""
    room = BLOCK_BYTES // (itemsize * (map.segments * (map.tile + map.tiles) + rows))
    most = max(LEAST_ROWS, min(BLOCK_ROWS, room))
    count = max(1, -(-batch // most))
    if batch >= 4 * LEAST_ROWS:  # enough for two threads
        count = max(count, 2)
    ends = [round(batch * block / count / LEAST_ROWS) * LEAST_ROWS for block in range(1, count)]
    return list(itertools.pairwise(sorted({0, *ends, batch})))
