"""What a network was trained for: its task, and how the rows of its data are laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from minihash import checks
from minihash.tasks import LOSSES


@dataclass(frozen=True)
class Schema:
    """What a model knows of its data, so that nobody need say it again.

    Parameters
    ----------
    task : one of `tasks.LOSSES`: classes, yes or no, numbers, or several labels that each are yes or no.
    columns : numbers in a line of the file that it was trained on, the target among them; None if that was
        no table, or nobody knows.
    target : which of them is the target, from 0; None where `columns` is None.
    header : whether the first line of that file has names.
    feature_names : of the inputs, in their order; or None.
    standardized : whether `input_shift` and `input_scale` are the features' mean and 1 / standard deviation.
    """

    task: str
    columns: int | None = None
    target: int | None = None
    header: bool = False
    feature_names: tuple[str, ...] | None = None
    standardized: bool = False

    def __post_init__(self) -> None:
        checks.choice("task", self.task, tuple(LOSSES))
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

    as_dict = asdict

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
        if self.columns is not None and features is not None and self.columns <= features:
            raise ValueError(f"columns is {self.columns}, wanted more than the {features} features")


def from_dict(values: Any) -> Schema | None:
    """Return the schema in a model file; ValueError or TypeError if it is none."""
    return None if values is None else Schema(**values)
