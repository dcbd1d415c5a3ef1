"""How many multiplications with weights a row of inputs takes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.paper.low_rank_linear import LowRankLinear
from benchmarks.paper.sparse_linear import SparseLinear
from minihash import HashedLinear, Linear, Network, ReLU
from minihash.layers import Layer


def test_multiplications() -> None:
    assert HashedLinear(20, 5, num_buckets=50).multiplications == 100
    tiles = HashedLinear(784, 1000, compression=1 / 64, tile="auto")
    assert tiles.multiplications == 124 * 784  # of 1,000 rows, 124 tiles
    assert SparseLinear(20, 5, num_weights=13).multiplications == 13
    assert LowRankLinear(20, 5, rank=2).multiplications == 2 * 25
    assert Network([Linear(20, 5), ReLU(), Linear(5, 2)]).multiplications == 100 + 10


def test_multiplications_of_what_is_unknown_are_refused() -> None:
    class Other(Layer):
        params = {"weight": np.ones(3)}

    with pytest.raises(ValueError, match="^layer is a Other, wanted one that counts its multiplications$"):
        Other.__new__(Other).multiplications
