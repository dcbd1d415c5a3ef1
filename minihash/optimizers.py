"""Optimizers: `step(params, grads)` moves every parameter against its gradient, in place.

Whatever has the members of `Optimizer` is one: `fit` asks for no more, and for no base class.

Weight decay is the L2 penalty λ/2 · ‖w‖² of the *stored* parameters, its gradient added to theirs:
a bucket is counted once, however many virtual weights share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from minihash import checks
from minihash.arrays import array_module

Arrays = dict[str, np.ndarray]
Schedule = Callable[[float], float]  # see schedules.py


@runtime_checkable
class Optimizer(Protocol):
    """What `fit` needs of an optimizer.

    A checkpoint saves `state` and `steps`; put back into a fresh optimizer, they go on as if nothing had
    happened.

    learning_rate : may be set between steps.
    steps : how many were made.
    state : of a parameter's name its slots, arrays of the parameter's shape and dtype.
    """

    learning_rate: float
    steps: int
    state: dict[str, Arrays]

    @property
    def slots(self) -> tuple[str, ...]:
        """Return the names of the slots, () where nothing is kept for a parameter."""

    def step(self, params: Arrays, grads: Arrays) -> None:
        """Update `params` in place from `grads`, which are left as they are.

        Parameters
        ----------
        params : name -> array, such as `Network.params`.
        grads : the same names -> ∂L/∂param, of the same shapes.

        Raises
        ------
        ValueError
            If names or shapes differ, between the two or from those of the steps before. Nothing
            has been changed then.
        """

    def settings(self) -> dict[str, Any]:
        """Return numbers and words by name, but for the learning rate: a resumed training has the same."""


def check_optimizer(name: str, value: Any) -> Optimizer:
    """Return an optimizer; ValueError names what another value lacks to be one."""
    members = (*Optimizer.__annotations__, *vars(Optimizer))
    missing = [member for member in members if not member.startswith("_") and not hasattr(value, member)]
    if missing:
        raise ValueError(f"{name} is {value!r}, wanted one such as Adam(): it has no {', '.join(missing)}")
    return value


def chosen(
    optimizer: str | Optimizer | None, learning_rate: float | Schedule | None, schedule: Schedule | None
) -> tuple[Optimizer, Schedule | None]:
    """Return the optimizer and the schedule that `fit` is given, by name or as they are.

    Raises
    ------
    ValueError for what is neither, and for a learning rate that is given twice.
    """
    if learning_rate is not None and schedule is not None:
        raise ValueError("learning_rate and schedule are given, wanted one of them")
    if not (optimizer is None or isinstance(optimizer, str)):
        check_optimizer("optimizer", optimizer)
        if learning_rate is not None:
            kind = type(optimizer).__name__
            wanted = f"{kind}(learning_rate=…), or a schedule beside it"
            raise ValueError(f"learning_rate is given and so is an optimizer {kind}, wanted {wanted}")
        return optimizer, schedule
    make = get("adam" if optimizer is None else optimizer)
    if callable(learning_rate):
        return make(), learning_rate
    return make() if learning_rate is None else make(learning_rate), schedule


class _EachParameter:
    """What SGD and Adam share: weight decay, and slots for each parameter, which `update` moves alone."""

    slots: tuple[str, ...] = ()

    def __init__(self, learning_rate: float, weight_decay: float) -> None:
        self.learning_rate = checks.number("learning_rate", learning_rate, 0, 1e6)
        self.weight_decay = checks.number("weight_decay", weight_decay, 0, 1e6)
        self.state: dict[str, Arrays] = {}
        self.steps = 0

    def settings(self) -> dict[str, Any]:
        return {"weight_decay": self.weight_decay}

    def step(self, params: Arrays, grads: Arrays) -> None:
        self._check(params, grads)
        self.steps += 1
        for name, param in params.items():
            grad = grads[name]
            if self.weight_decay:
                grad = grad + self.weight_decay * param
            if self.slots and name not in self.state:
                self.state[name] = {slot: array_module(param).zeros_like(param) for slot in self.slots}
            self.update(param, grad, self.state.get(name, {}))

    def update(self, param: np.ndarray, grad: np.ndarray, state: Arrays) -> None:
        """Update one parameter and its slots in place."""
        raise NotImplementedError

    def _check(self, params: Arrays, grads: Arrays) -> None:
        for name in sorted(params.keys() ^ grads.keys()):
            where = "grads" if name in grads else "params"
            raise ValueError(f"{name!r} is only in {where}, wanted one gradient for each parameter")
        for name in sorted(params.keys() ^ self.state.keys()) if self.state else ():
            change = "new" if name in params else "missing"
            raise ValueError(f"params: {name!r} is {change}, wanted the names of the steps before")
        for name, param in params.items():
            arrays = {"grads": grads[name]} | self.state.get(name, {})
            for source, array in arrays.items():
                if array.shape != param.shape:
                    found = f"{source} has shape {array.shape} for {name!r}"
                    raise ValueError(f"{found}, wanted {param.shape} as the parameter")
                if type(array) is not type(param) and array_module(array) is not array_module(param):
                    raise ValueError(f"{source} for {name!r} is on another device, wanted the parameter's")


class SGD(_EachParameter):
    """Stochastic gradient descent, with momentum or Nesterov's momentum if wanted.

    `v = momentum · v + g`,  `w -= learning_rate · v`
    with Nesterov's momentum  `w -= learning_rate · (g + momentum · v)`

    Parameters
    ----------
    learning_rate : of one gradient; momentum m sums gradients, up to 1 / (1 − m) times as much.
    momentum : 0 ≤ m ≤ 1, the part of the velocity that is kept; 0 keeps no velocity at all.
    nesterov : take the gradient into account once more, as if one had looked ahead.
    weight_decay : λ ≥ 0 of the L2 penalty; adds λ w to the gradient.

    Raises
    ------
    ValueError
        If a number is out of range, or `nesterov` is asked for without momentum.

    Notes
    -----
    There is no dampening: v is a sum of gradients, as in PyTorch, and not their average as in Torch
    7, whose learning rate of 0.1 at momentum 0.9 is 0.01 here. Velocities are free of the learning
    rate, so a change of it takes hold at once; while it is constant, this equals the form with
    `learning_rate · g` in v (Sutskever, Lasagne).

    Examples
    --------
    >>> params, grads = {"w": np.array([1.0])}, {"w": np.array([2.0])}
    >>> optimizer = SGD(0.1, momentum=0.5)
    >>> for _ in range(2):
    ...     optimizer.step(params, grads)  # by 0.1 · 2, then by 0.1 · (2 + 0.5 · 2)
    >>> params["w"].round(6)
    array([0.5])

    Source
    ------
    Sutskever, Martens, Dahl, Hinton: *On the importance of initialization and momentum in deep
    learning*, ICML 2013; in the form of `torch.optim.SGD`.
    """

    def __init__(
        self,
        learning_rate: float = 0.1,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, weight_decay)
        self.momentum = checks.number("momentum", momentum, 0, 1)
        self.nesterov = checks.boolean("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov is True with momentum 0, wanted a momentum > 0")
        self.slots = ("velocity",) if self.momentum else ()

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "momentum": self.momentum, "nesterov": self.nesterov}

    def update(self, param: np.ndarray, grad: np.ndarray, state: Arrays) -> None:
        direction = grad
        if self.momentum:
            velocity = state["velocity"]
            velocity *= self.momentum
            velocity += grad
            direction = grad + self.momentum * velocity if self.nesterov else velocity
        param -= float(self.learning_rate) * direction


class Adam(_EachParameter):
    """Adam: steps of about the learning rate, whatever the scale of the gradient.

    `m = β₁ m + (1 − β₁) g`,  `v = β₂ v + (1 − β₂) g²`
    `w -= learning_rate · m' / (√v' + ε)`  at step t,  `m' = m / (1 − β₁ᵗ)`,  `v' = v / (1 − β₂ᵗ)`

    Parameters
    ----------
    learning_rate : about the largest change of a parameter in one step.
    beta1, beta2 : 0 ≤ β < 1, the parts of the two moving averages that are kept.
    epsilon : ε > 0, keeps steps small where gradients vanish.
    weight_decay : λ ≥ 0 of the L2 penalty; adds λ w to the gradient (this is not AdamW).

    Raises
    ------
    ValueError
        If a number is out of range.

    Source
    ------
    Kingma, Ba: *Adam: A Method for Stochastic Optimization*, ICLR 2015, algorithm 1.
    """

    slots = ("first_moment", "second_moment")

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, weight_decay)
        self.beta1 = checks.number("beta1", beta1, 0, 0.999999)
        self.beta2 = checks.number("beta2", beta2, 0, 0.999999)
        self.epsilon = checks.number("epsilon", epsilon, 0, 1, open_low=True)

    def settings(self) -> dict[str, Any]:
        own = {"beta1": self.beta1, "beta2": self.beta2, "epsilon": self.epsilon}
        return {**super().settings(), **own}

    def update(self, param: np.ndarray, grad: np.ndarray, state: Arrays) -> None:
        first, second = state["first_moment"], state["second_moment"]
        xp = array_module(param)
        change = xp.empty_like(param)  # the one temporary array, used three times
        xp.multiply(grad, 1 - self.beta1, out=change)
        first *= self.beta1
        first += change
        xp.square(grad, out=change)
        change *= 1 - self.beta2
        second *= self.beta2
        second += change

        xp.sqrt(second, out=change)
        change /= math.sqrt(1 - self.beta2**self.steps)
        change += self.epsilon
        xp.divide(first, change, out=change)
        change *= float(self.learning_rate) / (1 - self.beta1**self.steps)
        param -= change


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adam": Adam}


def get(name: str) -> Callable[..., Optimizer]:
    """Return the class of the optimizer `name` ("sgd" or "adam"); ValueError for another name."""
    return OPTIMIZERS[checks.choice("optimizer", name, tuple(OPTIMIZERS))]
