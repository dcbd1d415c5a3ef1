"""Products with a virtual matrix of tiles, computed once for all rows that drew a tile.

    multiply:    arrange -> a';   P = tiles @ a';   gather -> z           of one row all in multiply_row
    gradients:   δ transposed;   scatter -> Q;   ∂L/∂tiles = Q @ a'ᵀ;   ∂L/∂a' = tilesᵀ @ Q;   arrange_back

A batch is cut into blocks whose arrays fit the L2 cache together. A block is a task of its own going
forward; going backward each shard of blocks sums the gradient of the tiles into a copy of its own. Blocks
and shards depend on the sizes alone, so the number of threads changes no bit. On a GPU blocks follow each
other, and are as many times larger as its panels are.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from minihash.kernels.devices import CPU, Device
from minihash.kernels.panels import Block

BLOCK_BYTES = 3 * 2**19  # of a block's arrays: P, a' and z
BLOCK_ROWS = 64  # of a batch, at most: two threads share 128 rows
LEAST_ROWS = 8


def multiply(
    inputs: np.ndarray, weight: np.ndarray, map: Any, outputs: np.ndarray, device: Device = CPU
) -> list[np.ndarray]:
    """Fill `outputs` (batch, rows) with `inputs @ Vᵀ`, eq. 8; return the arranged inputs, block by block.

    Parameters
    ----------
    inputs : (batch, features); a bias is fed by 1.
    weight : (num_buckets,), of the dtype of the inputs, or codes.
    map : a `BucketMap` of tiles, best with fewer of them than rows.
    outputs : (batch, rows).
    device : that all arrays are on.
    """
    step = _Step(weight, map, outputs, device)
    if len(inputs) == 1 and device is CPU:  # six calls of some microseconds each are as long as the work
        own = np.empty((map.segments, map.tile), outputs.dtype)
        row = inputs[0], map.places, map.signs, step.tiles, step.slots, own, outputs[0]
        device.kernels.multiply_row(*row)
        return [own.T]
    widths = [map.segments * (stop - start) for start, stop in step.blocks]
    arranged = [device.xp.empty((map.tile, width), outputs.dtype) for width in widths]
    device.run(
        functools.partial(step.multiply, inputs[start:stop], own, outputs[start:stop])
        for (start, stop), own in zip(step.blocks, arranged)
    )
    return arranged


def gradients(
    arranged: list[np.ndarray],
    weight: np.ndarray,
    map: Any,
    grad_outputs: np.ndarray,
    grad_weight: np.ndarray,
    grad_inputs: np.ndarray | None,
    device: Device = CPU,
) -> None:
    """Fill `grad_weight` (eq. 12), and `grad_inputs` (batch, features) unless it is None.

    Parameters
    ----------
    arranged : what `multiply` returned.
    weight, map, device : as there; weights are floats.
    grad_outputs : (batch, rows).
    """
    step = _Step(weight, map, grad_outputs, device)
    shards = max(1, min(device.shards, len(step.blocks)))
    copies = [device.xp.zeros(step.tiles.shape, weight.dtype) for _ in range(shards)]
    task = functools.partial(step.gradients, grad_outputs, grad_inputs)
    device.run_shards(task, list(zip(step.blocks, arranged)), copies)
    grad_tiles = copies[0]
    last = (map.tiles - 1) * map.tile
    grad_weight[:last] = grad_tiles[:-1].reshape(-1)
    grad_weight[last:] = 0
    grad_weight[map.num_buckets - map.tile :] += grad_tiles[-1]  # it may overlap the one before


class _Step:
    """What products and gradients need of a layer: tiles (T, B), slots (rows, G), blocks of the batch."""

    def __init__(self, weight: np.ndarray, map: Any, outputs: np.ndarray, device: Device) -> None:
        self.map, self.device, (batch, rows) = map, device, outputs.shape
        self.tiles = _tiles(weight, map, outputs.dtype, device)
        self.slots = device.xp.empty((rows, map.segments), np.uint32)
        device.kernels_of(map).locate(map.key, (0, 0), self.slots)
        self.columns = device.resident(map.places), device.resident(map.signs), map.tile
        self.blocks = _blocks(batch, rows, map, outputs.dtype.itemsize, device)

    def multiply(self, inputs: np.ndarray, arranged: np.ndarray, outputs: np.ndarray) -> None:
        """Do one block."""
        device, map, (batch, rows) = self.device, self.map, outputs.shape
        device.kernels.arrange(inputs, *self.columns, arranged)
        products = device.buffer("products", (map.tiles, arranged.shape[1]), outputs.dtype)
        device.xp.matmul(self.tiles, arranged, out=products)
        transposed = device.buffer("outputs", (rows, batch), outputs.dtype)
        device.kernels.gather(products.reshape(map.tiles, map.segments, batch), self.slots, transposed)
        device.kernels.transpose(transposed, outputs)

    def gradients(
        self,
        grad_outputs: np.ndarray,
        grad_inputs: np.ndarray | None,
        blocks: list[tuple[Block, np.ndarray]],
        grad_tiles: np.ndarray,
    ) -> None:
        """Do one shard of blocks, and add to its copy of the tiles' gradient."""
        device, map, dtype = self.device, self.map, grad_tiles.dtype
        for (start, stop), arranged in blocks:
            rows, batch = grad_outputs.shape[1], stop - start
            transposed = device.buffer("outputs", (rows, batch), dtype)
            device.kernels.transpose(grad_outputs[start:stop], transposed)
            grad_products = device.buffer("products", (map.tiles, arranged.shape[1]), dtype)
            of_segments = grad_products.reshape(map.tiles, map.segments, batch)
            device.kernels.scatter(transposed, self.slots, of_segments)
            product = device.buffer("grad_tiles", grad_tiles.shape, dtype)
            device.xp.matmul(grad_products, arranged.T, out=product)
            grad_tiles += product
            if grad_inputs is not None:
                grad_arranged = device.buffer("arranged", arranged.shape, dtype)
                device.xp.matmul(self.tiles.T, grad_products, out=grad_arranged)
                device.kernels.arrange_back(grad_arranged, *self.columns, grad_inputs[start:stop])


def _tiles(weight: np.ndarray, map: Any, dtype: np.dtype, device: Device) -> np.ndarray:
    """Return the tiles (T, B): the weights themselves where T · B of them are all, else a copy."""
    if map.tiles * map.tile == map.num_buckets and weight.dtype == dtype:
        return weight.reshape(map.tiles, map.tile)
    each = device.xp.arange(map.tiles, dtype=np.uint32)[:, None]  # as if a row drew one tile after the other
    tiles = device.xp.empty((map.tiles, map.tile), dtype)
    device.kernels_of(map).expand(weight, each, (map.tile, 0), tiles)
    return tiles


def _blocks(batch: int, rows: int, map: Any, itemsize: int, device: Device) -> list[Block]:
    """Cut a batch into blocks of nearly equal numbers of rows, in eights."""
    room = device.panels * BLOCK_BYTES // (itemsize * (map.segments * (map.tile + map.tiles) + rows))
    most = max(LEAST_ROWS, min(device.panels * BLOCK_ROWS, room))
    count = max(1, -(-batch // most))
    ends = [round(batch * block / count / LEAST_ROWS) * LEAST_ROWS for block in range(1, count)]
    return list(itertools.pairwise(sorted({0, *ends, batch})))
