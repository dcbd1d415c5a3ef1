"""Networks of the same stored size."""

from __future__ import annotations

from collections.abc import Sequence

from minihash import checks


def dense_size(sizes: Sequence[int]) -> int:
    """Return the stored numbers of a dense network with biases: Σ (in + 1) · out."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in zip(sizes, sizes[1:]))


def dense_sizes(sizes: Sequence[int], budget: int) -> list[int]:
    """Return the layer sizes of the dense network whose stored size is nearest to a budget.

    All hidden layers shrink at the same rate (the paper's NN): if the first has u of its h₁ units,
    layer k has `max(1, round(h_k · u / h₁))`. Of all u in 1 … h₁ the one with the nearest size is
    taken, the smaller of two equally near.

    Parameters
    ----------
    sizes : units of the full network, inputs and outputs included, with at least one hidden layer.
    budget : stored numbers to come near to.

    Raises
    ------
    ValueError if there is no hidden layer to shrink.
    """
    inputs, *hidden, outputs = sizes
    if not hidden:
        raise ValueError(f"sizes is {list(sizes)}, wanted a hidden layer to shrink")
    budget = checks.integer("budget", budget, 1, 2**63)
    candidates = (
        [inputs, *(max(1, round(units * first / hidden[0])) for units in hidden), outputs]
        for first in range(1, hidden[0] + 1)
    )
    return min(candidates, key=lambda candidate: abs(dense_size(candidate) - budget))
