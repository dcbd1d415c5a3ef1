"""A table of what layers store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minihash import text

HEADER = ("layer", "shape", "virtual", "stored", "bytes", "compression")


def table_of(owners: Sequence[tuple[str, Any]]) -> str:
    """Return the table of layers and networks, each with its name."""
    return text.table(HEADER, [_row(name, owner) for name, owner in owners], left=2)


def _row(name: str, owner: Any) -> tuple[str, ...]:
    """Return the cells of a layer or a network."""
    if not owner.params:
        return (name, "", "", "", "", "")
    ratio = owner.num_virtual / owner.num_parameters
    return (
        name,
        f"{owner.in_features} -> {owner.out_features}",
        f"{owner.num_virtual:,}",
        f"{owner.num_parameters:,}",
        f"{sum(array.nbytes for array in owner.params.values()):,}",
        f"1/{ratio:.4g}" if ratio > 1 else "1",
    )
