"""What the paper's tables and figures consist of: cells, one trained network each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from typing import Any, NamedTuple

from benchmarks.paper import data, methods
from minihash import checks

DATASETS = ("mnist", "basic", "rot", "bg-rand", "bg-img", "bg-img-rot", "convex", "rect")  # the paper's order
UNITS = 1000  # of a hidden layer
STORED_UNITS = 50  # of a hidden layer, in figure 4: what a layer stores at every width


class Row(NamedTuple):
    """A line of our tables: a method, and what its hashed layers are."""

    method: str
    arguments: dict[str, Any]


OWN = ", own settings"  # of rows whose settings were searched on the data set itself, not on BASIC
#: The paper's methods, with settings of two searches, then minihash's own at the same storage, then the
#: ablation of the sign ξ.
ROWS: dict[str, Row] = {
    **{method: Row(method, {}) for method in methods.NAMES},
    **{method + OWN: Row(method, {}) for method in methods.NAMES},
    "HashNet, tiles": Row("HashNet", {"tile": "auto"}),
    "HashNet, 16 tiles a row": Row("HashNet", {"segments": 16}),
    "HashNet, 8 tiles a row": Row("HashNet", {"segments": 8}),
    "HashNet, 4 tiles a row": Row("HashNet", {"segments": 4}),
    "HashNet, unsigned": Row("HashNet", {"signed": False}),
}


@dataclass(frozen=True)
class Cell:
    """One network to train and to test once.

    Parameters
    ----------
    dataset : what `data.load` calls it.
    layers : 3 or 5, inputs and outputs among them as in the paper: 1 or 3 hidden layers.
    row : of `ROWS`.
    compression : stored / virtual, as text: "1/64". In figure 4, where storage stays, "1".
    expansion : 0, or in figure 4 how many times as wide hidden layers are as what they store.
    seed : of hashes, initial weights, order and dropout.
    """

    dataset: str
    layers: int
    row: str
    compression: str
    expansion: int
    seed: int

    as_dict = asdict

    def __post_init__(self) -> None:
        checks.choice("row", self.row, tuple(ROWS))


FIELDS = tuple(field.name for field in fields(Cell))


class Grid(NamedTuple):
    """A table or a figure of the paper."""

    datasets: tuple[str, ...]
    layers: tuple[int, ...]
    rows: tuple[str, ...]
    compressions: tuple[str, ...] = ("1",)
    expansions: tuple[int, ...] = (0,)

    @property
    def expands(self) -> bool:
        """Whether it is figure 4: storage stays, and layers become wider."""
        return self.expansions != (0,)

    def cells(self, seeds: Sequence[int]) -> Iterator[Cell]:
        """Yield the cells, all with the first seed before those with the next.

        NN (and DK) has one storage and one width: of the expansions it has only the first.
        """
        for seed in seeds:
            for dataset in self.datasets:
                for layers in self.layers:
                    for compression in self.compressions:
                        for expansion in self.expansions:
                            for row in self.rows:
                                if is_dense(row) and expansion != self.expansions[0]:
                                    continue
                                yield Cell(dataset, layers, row, compression, expansion, seed)


def is_dense(row: str) -> bool:
    """Tell whether a row's network is dense, and narrow to be small."""
    return ROWS[row].method in ("NN", "DK")


HALVES = ("1/64", "1/32", "1/16", "1/8", "1/4", "1/2", "1")
GRIDS: dict[str, Grid] = {
    "table1": Grid(DATASETS, (3, 5), methods.NAMES, ("1/8",)),
    "table2": Grid(DATASETS, (3, 5), methods.NAMES, ("1/64",)),
    "figure2": Grid(("mnist", "rot"), (3,), methods.NAMES, HALVES),
    "figure3": Grid(("mnist", "rot"), (5,), methods.NAMES, HALVES),
    "figure4": Grid(("mnist",), (3, 5), ("HashNet", "LRD", "RER", "NN"), expansions=(1, 2, 4, 8, 16, 32, 64)),
}


def grid(
    name: str,
    rows: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
) -> Grid:
    """Return a grid of the paper, or a part of it, or that of other rows and data sets.

    Raises
    ------
    ValueError for an unknown name, row, data set or number of layers.
    """
    checks.choice("name", name, tuple(GRIDS))
    found = GRIDS[name]
    for row in rows or ():
        checks.choice("rows", row, tuple(ROWS))
    for dataset in datasets or ():
        checks.choice("datasets", dataset, data.names())
    for count in layers or ():
        checks.choice("layers", str(count), ("3", "5"))
    return found._replace(
        rows=tuple(rows or found.rows),
        datasets=tuple(datasets or found.datasets),
        layers=tuple(layers or found.layers),
    )


def compression_of(cell: Cell) -> float:
    """Return stored / virtual as a number."""
    return float(Fraction(cell.compression))
