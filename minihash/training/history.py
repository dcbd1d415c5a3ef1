"""What `fit` tells: the history of a run, and the calls of a callback."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from minihash.network import Network

WEIGHTS = "weights/"  # begins the names of weights in a callback's state, before the parameter's name
#: What `History.describe` says of validation rows, and how; the loss only where there is no error.
SHOWN: dict[str, Callable[[float], str]] = {
    "validation_error": lambda error: f"error {100 * error:.2f} %",
    "validation_loss": lambda loss: f"loss {loss:.4f}",
    "validation_auc": lambda area: f"AUC {area:.4f}",
    "validation_r2": lambda share: f"R² {share:.4f}",
}


@dataclass
class History:
    """What happened, a record an epoch.

    A record holds `epoch` (from 1), `learning_rate` (of the last step), `loss` (mean over the epoch's
    training rows, as trained), `seconds` since the start without those of compiling and, with validation
    data, what `evaluate` says of them: `validation_loss` and for classifiers `validation_error`, for two
    classes `validation_auc`, for a regression `validation_r2`, `validation_mae` and `validation_rmse`. Where
    the network scales its outputs, losses are of standardised targets; MAE and RMSE are in the targets'
    units. A figure that is not defined is NaN: the AUC of rows of one class, R² of a single row.
    """

    records: list[dict[str, float]] = field(default_factory=list)

    def __getitem__(self, name: str) -> list[float]:
        """Return one figure of every epoch: `history["loss"]`."""
        return [record[name] for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[dict[str, float]]:
        return iter(self.records)

    def describe(self) -> str:
        """Return the last epoch in a line: its loss, and what is known of validation rows."""
        record = self.records[-1]
        text = f"epoch {record['epoch']}, loss {record['loss']:.4f}"
        left_out = "validation_loss" if "validation_error" in record else ""
        names = [name for name in SHOWN if name in record and name != left_out]
        shown = [SHOWN[name](record[name]).replace("nan", "undefined") for name in names]
        return f"{text}, validation {', '.join(shown)}" if shown else text

    def to_json(self) -> list[dict[str, Any]]:
        """Return the records with None for NaN, which JSON does not have."""
        return [
            {name: None if figure != figure else figure for name, figure in record.items()}
            for record in self.records
        ]

    @classmethod
    def from_json(cls, records: list[dict[str, Any]]) -> History:
        """Return the history that `to_json` made records of."""
        return cls(
            [
                {name: math.nan if figure is None else figure for name, figure in record.items()}
                for record in records
            ]
        )


class Callback:
    """What `fit` calls besides training, nothing at first; callbacks.py has those that do something.

    All methods are called in the thread of `fit`, callback after callback in their order.

    observer : whether it only looks: a training may be resumed with other observers.
    """

    observer = False

    def on_train_begin(self, network: Network) -> None:
        """Called once before the first epoch, of a resumed training too; then `restore`."""

    def on_gradients(self, network: Network) -> None:
        """Called in every step when the gradients are there and the parameters have not moved yet."""

    def on_epoch_end(self, network: Network, history: History) -> bool:
        """Called after each epoch, with its record the last of the history; True stops training."""
        return False

    def on_divergence(self, network: Network, error: FloatingPointError) -> bool:
        """Called when training diverged; True ends it as if it were done, else `fit` raises the error."""
        return False

    def on_interrupt(self, network: Network, history: History) -> None:
        """Called when Ctrl-C ends training, maybe in the middle of a step; then `on_train_end`."""

    def on_train_end(self, network: Network, history: History) -> None:
        """Called once after the last epoch, and after an error too."""

    def settings(self) -> dict[str, Any]:
        """Return numbers and words by name: a resumed training has callbacks with the same."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must keep: arrays, and values that JSON holds, by name."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` returned, in another process most likely."""
