"""Hypothesis strategies for the baselines' layers: once imported, `testing.layers` draws them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from benchmarks.paper.low_rank_linear import LowRankLinear
from benchmarks.paper.sparse_linear import SparseLinear
from minihash.testing import ARGUMENTS, shapes


@ARGUMENTS.register(LowRankLinear)
@st.composite
def _low_rank_arguments(draw: st.DrawFn, max_features: int) -> dict[str, Any]:
    shape = draw(shapes(max_features))
    return {**shape, "rank": draw(st.integers(1, shape["in_features"]))}


@ARGUMENTS.register(SparseLinear)
@st.composite
def _sparse_arguments(draw: st.DrawFn, max_features: int) -> dict[str, Any]:
    shape = draw(shapes(max_features))
    most = shape["in_features"] * shape["out_features"]
    return {**shape, "num_weights": draw(st.integers(1, most))}
