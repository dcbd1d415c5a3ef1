"""The six methods that the paper compares, each built to the same storage.

Storage is counted in free parameters, biases among them: what is in the model file. Buckets, kept edges and
fixed factors come from a seed and cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.paper.low_rank_linear import LowRankLinear
from benchmarks.paper.sparse_linear import SparseLinear
from minihash import checks
from minihash.builders import mlp, stack
from minihash.layers import Layer
from minihash.layers.hashed_linear import auto_tile
from minihash.network import Network
from minihash.size_matching import dense_size, dense_sizes

NAMES = ("RER", "LRD", "NN", "DK", "HashNet", "HashNet_DK")  # in the paper's order
DISTILLED = ("DK", "HashNet_DK")  # trained with a teacher: `build("NN", sizes, 1)`, and `losses.distillation`


def storage_budget(sizes: Sequence[int], compression: float) -> int:
    """Return the numbers that a network may store: a share of the dense network's, rounded.

    784-1000-10 has 795,010 (at 1/8: 99,376; at 1/64: 12,422), with three hidden layers of 1,000 units
    2,797,010 (349,626; 43,703).
    """
    compression = checks.number("compression", compression, 0, 1, open_low=True)
    return max(1, round(compression * dense_size(sizes)))


def build(method: str, sizes: Sequence[int], compression: float, **arguments: Any) -> Network:
    """Build the network of a method that stores `storage_budget(sizes, compression)` numbers, or nearly so.

    All layers are compressed at the same rate: layer k, dense of size `n_k = (in + 1) · out`, gets the
    budget `b_k = max(1, round(compression · n_k))`. Only NN and DK have one budget for all layers.

    HashNet, HashNet_DK : `num_buckets = b_k`, the bias hashed too: as `mlp(sizes, compression=…)`.
    RER : `num_weights = b_k − out` edges, at least one, as all biases are kept.
    LRD : `rank = round(b_k / out) − 1`, at least 1, as a unit stores its row of U and its bias.
    NN, DK : dense, all hidden layers narrower at the same rate, of the size nearest to the whole
        budget (`dense_sizes`).

    What a budget is missed by is `network.num_parameters − storage_budget(…)`: for HashNet and RER the
    rounding of the layers' budgets (and biases, where they exceed it), for LRD about half a rank a layer,
    for NN about half a unit.

    Parameters
    ----------
    method : one of `NAMES`. The `DISTILLED` ones are built as those without a teacher.
    sizes : units of the full network, inputs and outputs included, such as [784, 1000, 10].
    compression : stored / virtual numbers, in (0, 1].
    tile, signed : of HashNet's layers, as in `mlp`.
    segments : instead of `tile`, of how many tiles their rows are made.
    arguments : activation, dropout, seed, initializer, input_scale, input_shift, class_names, dtype: as
        in `mlp`.

    Raises
    ------
    ValueError for a wrong argument, or for tiles or a sign of a method without hashed layers.

    Source: Chen et al., Compressing Neural Networks with the Hashing Trick, ICML 2015, section 6.
    """
    budget = storage_budget(sizes, compression)
    budgets = [max(1, round(compression * size)) for size in _layer_sizes(sizes)]
    return _build(method, sizes, budgets, budget, **arguments)


def build_expanded(method: str, sizes: Sequence[int], expansion: int, **arguments: Any) -> Network:
    """Build the network of a method with wider hidden layers and the storage it had before (figure 4).

    All hidden layers of `sizes` become `expansion` times as wide, and layer k keeps the budget
    `b_k = (in + 1) · out` of the layer it was: the paper's 784-50-10 stores 39,250 and 510 numbers at every
    width, and with three hidden layers 39,250, 2,550, 2,550 and 510. The paper leaves the mapping for several
    hidden layers open; this one is ours. What a method makes of b_k is said in `build`; NN stays as it was.

    Biases alone outgrow a budget in time: 64 · 50 = 3,200 units of a layer that stores 2,550 numbers are
    650 too many for RER, which keeps one edge then, and LRD's rank 1 needs 6,400.

    Parameters
    ----------
    method, arguments : as in `build`.
    sizes : units of the dense network whose storage is kept, such as [784, 50, 10].
    expansion : how many times as wide; 1, 2, 4 … 64 in the paper.

    Raises
    ------
    ValueError for a wrong argument.
    """
    expansion = checks.integer("expansion", expansion, 1, 2**31)
    inner = range(1, len(sizes) - 1)
    wide = [units * expansion if place in inner else units for place, units in enumerate(sizes)]
    return _build(method, wide, _layer_sizes(sizes), dense_size(sizes), **arguments)


def _layer_sizes(sizes: Sequence[int]) -> list[int]:
    """Return the stored numbers of each layer of a dense network."""
    return [dense_size(pair) for pair in zip(sizes, sizes[1:])]


def _build(
    method: str,
    sizes: Sequence[int],
    budgets: list[int],
    budget: int,
    *,
    tile: int | str = 1,
    segments: int | None = None,
    signed: bool = True,
    **arguments: Any,
) -> Network:
    """Build a network of these sizes from a budget for each layer, or for a dense one from that of all."""
    checks.choice("method", method, NAMES)
    if method in ("HashNet", "HashNet_DK"):
        tiles = tile if segments is None else _tile_lengths(sizes, budgets, segments)
        return mlp(sizes, num_buckets=budgets, tile=tiles, signed=signed, **arguments)
    if (tile, segments, signed) != (1, None, True):
        given = f"tile is {tile!r}, segments {segments!r} and signed {signed!r}"
        raise ValueError(f"{given}, wanted none of them: {method} has no hashed layers")
    if method in ("NN", "DK"):
        return mlp(dense_sizes(sizes, budget), **arguments)
    make = {"RER": _sparse, "LRD": _low_rank}[method]

    def make_layer(position: int, fan_in: int, fan_out: int, **common: Any) -> Layer:
        return make(budgets[position], fan_in, fan_out, **common)

    return stack(sizes, make_layer, **arguments)


def _tile_lengths(sizes: Sequence[int], budgets: list[int], segments: int) -> list[int]:
    """Return the length of the tiles of each layer, biases hashed."""
    pairs = zip(sizes, sizes[1:])
    return [auto_tile(out, fan_in + 1, own, segments) for (fan_in, out), own in zip(pairs, budgets)]


def _sparse(budget: int, fan_in: int, fan_out: int, **common: Any) -> Layer:
    return SparseLinear(fan_in, fan_out, num_weights=max(1, budget - fan_out), **common)


def _low_rank(budget: int, fan_in: int, fan_out: int, **common: Any) -> Layer:
    return LowRankLinear(fan_in, fan_out, rank=max(1, round(budget / fan_out) - 1), **common)
