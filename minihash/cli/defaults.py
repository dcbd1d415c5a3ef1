"""What `minihash train` takes where nobody says: one set for images, another for tables, by their rows.

docs/tables.md has what was measured, and `python -m benchmarks.own_tables` measures it.
"""

from __future__ import annotations

import argparse
from typing import Any

#: For images, as those of the package: 784-1000-10 at 1/64.
IMAGES: dict[str, Any] = {
    "hidden": [1000],
    "compression": 1 / 64,
    "epochs": 50,
    "batch_size": 128,
    "learning_rate": 0.002,
    "input_dropout": 0.1,
    "dropout": 0.25,
}
STEPS = 2000  # of a table, if its rows are not too many for one epoch


def for_table(rows: int, numbers: bool) -> dict[str, Any]:
    """Return the settings for a table.

    Parameters
    ----------
    rows : to train on.
    numbers : whether the targets are numbers: dropout blurs what a network says of them.
    """
    batch_size = min(128, max(16, rows // 16))
    return {
        "hidden": [100, 100],
        "compression": 1 / 8,
        "epochs": max(1, round(STEPS * batch_size / max(1, rows))),
        "batch_size": batch_size,
        "learning_rate": 0.01,
        "input_dropout": 0.0,
        "dropout": 0.1 if numbers else 0.25,
    }


def fill(args: argparse.Namespace, dataset: Any, rows: int) -> None:
    """Set what nobody said; `rows` are those to train on."""
    table = dataset.schema.standardized
    chosen = for_table(rows, dataset.task == "regression") if table else IMAGES
    for name, value in chosen.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
