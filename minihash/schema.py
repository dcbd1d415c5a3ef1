"""What a network was trained for: its task, and how the rows of its data are laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from minihash import checks
from minihash.encoding import Column
from minihash.tasks import LOSS_OF_TASK, MISSING, SPLITS


class Model(Protocol):
    """What reading a file like a network's asks of it, as `Network` says it."""

    @property
    def schema(self) -> Schema | None: ...

    @property
    def task(self) -> str | None: ...

    class_names: tuple[str, ...] | None
    in_features: int | None
    out_features: int | None


@dataclass(frozen=True)
class Split:
    """How rows are shared among training, validation and test.

    Parameters
    ----------
    how : "shuffled", in an order that is drawn, of each class its share; "last": the last rows are test rows,
        those before validation rows.
    seed : of the order, 0 ≤ seed < 2³².
    validation, test : rows; None: a tenth, and half a million at most.
    rows, checksum : of the file: how many, and the CRC-32 of their targets, float32 in little-endian order;
        None where that is not known.
    """

    how: str = "shuffled"
    seed: int = 0
    validation: int | None = None
    test: int | None = None
    rows: int | None = None
    checksum: int | None = None

    def __post_init__(self) -> None:
        checks.choice("split", self.how, SPLITS)
        checks.integer("seed", self.seed, 0, 2**32)
        for name in ("validation", "test", "rows", "checksum"):
            if (rows := getattr(self, name)) is not None:
                checks.integer(name, rows, 0, 2**63)


@dataclass(frozen=True)
class Schema:
    """What a model knows of its data, so that nobody need say it again.

    Parameters
    ----------
    task : one of `tasks.LOSS_OF_TASK`: classes, yes or no, numbers, or labels that each are yes or no.
    columns : numbers in a line of the file that it was trained on, the target among them; None if that was
        no table, or nobody knows.
    target : which of them is the target, from 0; None where `columns` is None.
    header : whether the first line of that file has names.
    feature_names : of the inputs, in their order; or None.
    standardized : whether `input_shift` and `input_scale` are the features' mean and 1 / standard deviation.
    encoding : the columns of features, in the order of the inputs that they become; None where each is a
        number, and an input.
    places : of the columns of features in the file; None where all but the target are.
    target_name : of the target's column; None where it has no name.
    missing : what was done about empty cells: "mean", they became their column's mean; "drop", their rows
        were left out; None: there were none.
    split : how its rows were shared; None where that is not known.
    """

    task: str
    columns: int | None = None
    target: int | None = None
    header: bool = False
    feature_names: tuple[str, ...] | None = None
    standardized: bool = False
    encoding: tuple[Column, ...] | None = None
    places: tuple[int, ...] | None = None
    target_name: str | None = None
    missing: str | None = None
    split: Split | None = None

    def __post_init__(self) -> None:
        checks.choice("task", self.task, tuple(LOSS_OF_TASK))
        if (self.columns is None) != (self.target is None):
            raise ValueError(f"columns is {self.columns} and target is {self.target}, wanted both or none")
        if self.columns is not None:
            checks.integer("columns", self.columns, 2, 2**31)
            checks.integer("target", self.target, 0, self.columns)
        checks.boolean("header", self.header)
        checks.boolean("standardized", self.standardized)
        if (names := self.feature_names) is not None:
            listed = isinstance(names, Sequence) and not isinstance(names, str)
            if not listed or not all(isinstance(name, str) for name in names):
                raise ValueError(f"feature_names is {names!r}, wanted a name for each feature")
            object.__setattr__(self, "feature_names", tuple(names))
        self._check_encoding()

    def _check_encoding(self) -> None:
        if self.target_name is not None and not isinstance(self.target_name, str):
            raise ValueError(f"target_name is {self.target_name!r}, wanted a text")
        if self.missing is not None:
            checks.choice("missing", self.missing, MISSING)
        if isinstance(self.split, dict):
            object.__setattr__(self, "split", Split(**self.split))
        if not isinstance(self.split, (Split, type(None))):
            raise ValueError(f"split is {self.split!r}, wanted a Split")
        if self.columns is None and (self.encoding, self.places) != (None, None):
            raise ValueError("encoding and places are of a table, and columns is None")
        if self.encoding is not None:
            columns = (one if isinstance(one, Column) else Column(**one) for one in self.encoding)
            object.__setattr__(self, "encoding", tuple(columns))
        if self.places is not None and self.columns is not None:
            places = tuple(checks.integer("places", place, 0, self.columns) for place in self.places)
            if len({*places, self.target}) != len(places) + 1:
                raise ValueError(f"places is {places}, wanted others than the target, and none twice")
            object.__setattr__(self, "places", places)
        if self.table and len(self.table[0]) != len(self.table[1]):
            count = f"{len(self.table[0])} columns and {len(self.table[1])} places"
            raise ValueError(f"the table has {count} of features, wanted as many")

    as_dict = asdict

    @property
    def table(self) -> tuple[tuple[Column, ...], tuple[int, ...]] | None:
        """The columns of features and their places in the file; None where that was no table."""
        if self.columns is None:
            return None
        places = self.places or tuple(place for place in range(self.columns) if place != self.target)
        names = self.feature_names or tuple(f"column {place}" for place in places)
        return self.encoding or tuple(map(Column, names)), places

    def check_outputs(self, outputs: int | None) -> None:
        """Raise a ValueError if a network of so many outputs is for another task."""
        wanted = {"binary": "one", "multilabel": "several"}.get(self.task)
        if wanted is not None and outputs is not None and (outputs == 1) != (wanted == "one"):
            raise ValueError(f"task is {self.task!r} and the network has {outputs} outputs, wanted {wanted}")

    def check_features(self, features: int | None) -> None:
        """Raise a ValueError if a network of so many inputs does not fit."""
        wanted = () if features is None else (features,)
        if self.feature_names is not None and len(self.feature_names) not in wanted:
            raise ValueError(f"feature_names has {len(self.feature_names)} names, wanted {features}")
        if self.table and features is not None:
            inputs = sum(len(column.inputs) for column in self.table[0])
            if inputs != features:
                raise ValueError(f"the table has {inputs} inputs a row, wanted {features}")


def from_dict(values: Any) -> Schema | None:
    """Return the schema in a model file; ValueError or TypeError if it is none."""
    return None if values is None else Schema(**values)
