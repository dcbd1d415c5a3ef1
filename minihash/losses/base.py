"""What a loss is: the cost of a batch and its gradient, and what others must know of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minihash import checks
from minihash.losses.targets import beside, check_outputs
from minihash.tasks import LOSS_OF_TASK

Own = TypeVar("Own", bound="Loss")


class Loss:
    """A loss, called as `loss(outputs, targets, sample_weight=None)`; whoever must know more asks it.

    One of your own is a subclass with a `__call__`. What it does not say stays as it is here: any targets
    are taken and are no classes, no score goes with it, and it belongs to no task.

    name : what `fit` and `evaluate` know it by, after `register`.
    task : of `tasks.LOSS_OF_TASK`, that networks are trained for with it.
    scores : which of `metrics.SCORES` `evaluate` returns beside it.
    classifies : whether targets are classes; `labels` makes them of targets. Of a network's outputs they are
        made by `probabilities` and `decide` of the loss of its task (`of_task`).
    binary : whether each output by itself says yes or no, so that there is a class for each of them. Else a
        row has one class, and an output for each there may be.
    one_output : whether one target a row is for networks of one output alone.
    dimensions : that outputs may have.
    fused : `fused(outputs, targets, weight, grad)`, or None: the loss of some rows in a fused network. It is
        a plain function of scalar loops, which is compiled with the functions that it calls. It fills `grad`
        (rows, outputs) and returns `Σ_n weight_n l_n`, and whether all targets are good: if not, the loss
        itself is called, and says what is wrong. `targets` are as `outputs`, or where a row has one class
        (rows, 1), and of the outputs' dtype; `weight` is (rows,), in float64.
    """

    name: str = ""
    task: str | None = None
    scores: tuple[str, ...] = ()
    classifies: bool = False
    binary: bool = False
    one_output: bool = False
    dimensions: tuple[int, ...] = (1, 2)
    fused: Callable[..., tuple[float, bool]] | None = None

    def __init_subclass__(cls) -> None:
        if "__call__" in vars(cls) and "fused" not in vars(cls):
            cls.fused = None  # that of a base class computes another loss

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, outputs: Any, targets: Any, sample_weight: Any = None) -> tuple[float, np.ndarray]:
        raise NotImplementedError

    def task_with(self, outputs: int | None) -> str | None:
        """Return the task of a network of so many outputs, None where nobody knows."""
        return self.task

    def check_targets(self, targets: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Refuse targets for outputs of a shape and dtype, in the memory of some rows."""

    def check_column(self, rows: str, outputs: float) -> None:
        """Refuse one target a row, as `rows` of a file have, where a network has so many outputs."""
        if self.one_output and outputs > 1:
            raise ValueError(f"{rows} has one target a row, and network has {outputs} outputs, wanted one")

    def misfit(self, low: float, high: float, whole: bool, outputs: float) -> str:
        """Return what one target a row should be, where targets of this range are not; else ""."""
        return ""

    def prepare(self, targets: np.ndarray) -> np.ndarray:
        """Return targets of rows as the loss takes them."""
        return targets

    def labels(self, targets: np.ndarray) -> np.ndarray:
        """Return the classes as integers: (rows,), or where `binary` one for each number of `targets`."""
        raise NotImplementedError

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probability of each class, (rows, classes), that outputs stand for."""
        raise NotImplementedError

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Return the likeliest class of each row, (rows,) integers, or 0 or 1 for each label."""
        raise NotImplementedError

    def checked(self, outputs: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return outputs and targets as arrays that fit; ValueError for others."""
        outputs = check_outputs(outputs, self.dimensions)
        targets = beside("targets", outputs, targets)
        self.check_targets(targets, outputs.shape, outputs.dtype)
        return outputs, targets


#: Every registered loss, by its name.
LOSSES: dict[str, Loss] = {}


def register(loss: Own) -> Own:
    """Make a loss known by its name, and return it.

    Raises
    ------
    ValueError if it has none, or another loss has it.
    """
    if not loss.name:
        raise ValueError(f"a {type(loss).__name__} has no name, wanted one to register it by")
    if LOSSES.setdefault(loss.name, loss) is not loss:
        raise ValueError(f"a loss {loss.name} is registered already, wanted another name")
    return loss


def get(loss: str | Callable) -> Callable[..., tuple[float, np.ndarray]]:
    """Return the loss of that name; a callable is returned as it is, for losses of one's own."""
    if callable(loss):
        return loss
    return LOSSES[checks.choice("loss", loss, tuple(LOSSES))]


def of_task(task: str | None) -> Loss:
    """Return the loss of a task."""
    return LOSSES[LOSS_OF_TASK[checks.choice("task", task, tuple(LOSS_OF_TASK))]]


def object_of(loss: str | Callable) -> Loss:
    """Return what to ask about a loss: the object itself, also of its name or of a `functools.partial` of it.

    For a function of one's own it is one that knows nothing but the function's name.
    """
    while isinstance(loss, functools.partial):
        loss = loss.func
    loss = get(loss)
    if isinstance(loss, Loss):
        return loss
    unknown = Loss()
    unknown.name = getattr(loss, "__name__", "")
    return unknown


def check_targets(loss: str, targets: Any, shape: tuple[int, ...], dtype: Any = np.float32) -> None:
    """Refuse targets that a loss would refuse, without outputs: in the memory of some rows.

    Parameters
    ----------
    loss : a name in LOSSES.
    targets : as the loss takes them.
    shape : (rows, features) of the outputs they are for.
    dtype : of those outputs.

    Raises
    ------
    ValueError as the loss does.
    """
    known = LOSSES[checks.choice("loss", loss, tuple(LOSSES))]
    known.check_targets(checks.array("targets", targets), shape, np.dtype(dtype))
