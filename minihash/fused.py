"""Small networks, fused: a training step in one compiled call a thread and direction.

A layer at a time, and a panel at a time, small layers cost more in calls than in arithmetic. Where all
virtual matrices fit the cache together, they are made whole at the beginning of a step, and chunks of rows
go through all layers at once (kernels/fused_numba.py). Nothing made of the weights outlives the step.
"""

from __future__ import annotations

import functools
import importlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from minihash import checks, kernels, losses
from minihash.kernels import threads
from minihash.kernels.devices import CPU
from minihash.kernels.panels import Block
from minihash.layers import Dropout, Layer, ReLU, Sigmoid, Tanh
from minihash.network import Network
from minihash.whole_matrices import MATRICES

LIMIT = 2**17  # weights of all matrices; in panels, more are as fast
WIDTH = 2**13  # values of a row: a chunk with more of them leaves the cache
SHARDS = 4  # of a batch, at most: enough for four threads, few enough to stay small
SHARD_ROWS, SHARD_WORK = 64, 2**20  # rows, and rows · weights, that are worth a thread's while
#: What kernels/fused_numba.py calls an activation, by its kind.
ACTIVATIONS: dict[type[Layer], int] = {ReLU: 1, Tanh: 2, Sigmoid: 3}


def obstacle(network: Network) -> str:
    """Return what keeps a network from being fused, "" if nothing does.

    Its layers are hashed or dense ones, each with at most one activation after it (and dropout of rate 0
    anywhere), with `WIDTH` units together at most. Their matrices have `LIMIT` weights at most, and those of
    dense layers count `DENSE` times. It is on the CPU, in float32 or float64, and the kernels of Numba are in
    use.
    """
    try:
        _stages(network)
    except ValueError as error:
        return str(error)
    return ""


def _stages(network: Network) -> list[tuple[Any, int]]:
    """Return the layers with weights, each with the number of its activation; refuse all others."""
    if network.device is not CPU:
        raise ValueError(f"network is on {network.device}, wanted it on cpu")
    if kernels.module().__name__ != "minihash.kernels.numba_cpu":
        raise ValueError(f"the kernels are {kernels.module().__name__}, wanted those of Numba")
    if network.dtype.kind != "f":
        raise ValueError(f"network has dtype {network.dtype}, wanted float32 or float64")
    stages: list[tuple[Any, int]] = []
    for position, layer in enumerate(network.layers):
        if type(layer) in MATRICES:
            stages.append((layer, 0))
        elif type(layer) in ACTIVATIONS and stages and not stages[-1][1]:
            stages[-1] = stages[-1][0], ACTIVATIONS[type(layer)]
        elif type(layer) is not Dropout or layer.rate:
            kinds = " or ".join(kind.__name__ for kind in MATRICES)
            activations = ", ".join(kind.__name__ for kind in ACTIVATIONS)
            wanted = f"{kinds}, and after each at most one of {activations}"
            raise ValueError(f"layers[{position}] is a {type(layer).__name__}, wanted {wanted}")
    size = sum(_size(layer) * MATRICES.of(layer).times(layer) for layer, _ in stages)
    if not 0 < size <= LIMIT:
        raise ValueError(f"the network's matrices count as {size:.0f} weights, wanted 1 to {LIMIT}")
    units = stages[0][0].in_features + sum(layer.out_features for layer, _ in stages)
    if units > WIDTH:
        raise ValueError(f"network has {units} units, inputs among them, wanted {WIDTH} at most")
    return stages


def _size(layer: Any) -> int:
    """Return how many weights the whole matrix has, a column of biases among them."""
    return layer.out_features * (layer.in_features + 1)


class FusedNetwork:
    """A network's training step, fused; the parameters and gradients are the network's own.

    `forward(inputs)` is `network.forward(inputs, training=True)`, and `backward(grad_outputs)` is
    `network.backward(grad_outputs, need_grad_inputs=False)`, but for the order of sums. The number of threads
    changes no bit: a batch is cut into shards by its size and the network's, and their gradients are summed
    in order. `loss_and_grads` does both, and the loss between them. It keeps memory: about ten numbers for
    each weight of the whole matrices, and the values of all units for a batch.

    Parameters
    ----------
    network : one without `obstacle`; only the values of its parameters may change later.

    Raises
    ------
    ValueError that says what the obstacle is.
    """

    def __init__(self, network: Network) -> None:
        stages = _stages(network)
        self.network, self.dtype = network, network.dtype
        self._kernels = importlib.import_module("minihash.kernels.fused_numba")
        self._kernels.load_blas()
        sizes = [(layer.out_features + 1) * (layer.in_features + 1) for layer, _ in stages]
        units = [layer.in_features + 1 for layer, _ in stages] + [stages[-1][0].out_features + 1]
        ends, places = [0, *itertools.accumulate(sizes)], list(itertools.accumulate(units))
        self._width = places[-1]  # values of a row, of all layers
        self._layers = np.array(
            [
                (layer.in_features, layer.out_features, activation, end, place)
                for (layer, activation), end, place in zip(stages, ends, places)
            ],
            np.int64,
        )
        self._matrices = np.zeros(ends[-1], self.dtype)
        self._transposed = np.empty_like(self._matrices)
        self._gradients = np.empty((SHARDS, 2, ends[-1]), self.dtype)
        self._deltas = np.empty((SHARDS, 2, self._kernels.CHUNK * max(units[1:])), self.dtype)
        self._whole = [
            MATRICES.of(layer)(layer, self._matrices[start:end], self._gradients[0, 0, start:end])
            for (layer, _), (start, end) in zip(stages, itertools.pairwise(ends))
        ]
        self._scaling = np.empty((2, units[0] - 1), self.dtype)
        self._scaling[0], self._scaling[1] = network.input_shift, network.input_scale
        self._scale_alone = self._scaling * np.array([[0], [1]], self.dtype)
        self._found = np.empty((SHARDS, 2))  # loss of a shard, and whether its targets were good
        self._make_room(0)
        self._shards: list[Block] | None = None  # of the last batch

    def _make_room(self, batch: int) -> None:
        """Make arrays for so many rows: inputs, all values, outputs and ∂L/∂outputs."""
        outputs = batch, self._layers[-1, 1]
        shapes = (batch, self._scaling.shape[1]), batch * self._width, outputs, outputs
        made = [np.empty(shape, self.dtype) for shape in shapes]
        self._inputs, self._workspace, self._outputs, self._grad_outputs = made

    def forward(self, inputs: Any) -> np.ndarray:
        """Return the outputs (batch, out_features) for raw `inputs` (batch, in_features).

        They lie in memory that the next `forward` overwrites.

        Raises
        ------
        ValueError if `inputs` has the wrong shape or is not made of real numbers.
        """
        given, scaling, self._shards = self._begin(inputs)
        outputs = self._outputs[: len(given)]
        workspace = self._workspace[: len(given) * self._width]
        common = given, scaling, self._transposed, self._layers, workspace, outputs
        threads.run(functools.partial(self._kernels.forward, *common, rows) for rows in self._shards)
        return outputs

    def _begin(self, inputs: Any) -> tuple[np.ndarray, np.ndarray, list[Block]]:
        """Fill the matrices; return inputs and their scaling as kernels take them, and shards of a batch."""
        given, scaling = np.asarray(checks.array("inputs", inputs)), self._scaling
        real = given.dtype if given.dtype.kind in "fiub" else self.dtype
        given = checks.matrix("inputs", given, self._scaling.shape[1], real)
        if len(given) > len(self._outputs):
            self._make_room(len(given))
        wide = self.network.dtype_of_shift(given.dtype)
        if wide != self.dtype:  # shifted before they are rounded, as by `Network.scale`
            given, scaling = given.astype(wide) - self.network.input_shift, self._scale_alone
        if given.dtype != self.dtype or not given.flags.carray:  # the kernel is compiled for one kind
            with np.errstate(over="ignore"):
                np.copyto(self._inputs[: len(given)], given, casting="unsafe")
            given = self._inputs[: len(given)]
        for whole in self._whole:
            whole.expand()
        self._kernels.transpose(self._matrices, self._transposed, self._layers)
        return given, scaling, _cut(len(given), self._matrices.size)

    def backward(self, grad_outputs: Any) -> None:
        """Fill the network's gradients for ∂L/∂outputs of the last `forward`; both may not change in between.

        Raises
        ------
        RuntimeError without a forward before; ValueError if the shape is not the outputs'.
        """
        if self._shards is None:
            raise RuntimeError("FusedNetwork.backward needs a forward(inputs) before it")
        grad = checks.matrix("grad_outputs", grad_outputs, None, self.dtype)
        shape = self._shards[-1][1], self._outputs.shape[1]
        if grad.shape != shape:
            raise ValueError(f"grad_outputs has shape {grad.shape}, wanted {shape} as the outputs")
        if not grad.flags.carray:
            grad = grad.copy()
        common = grad, self._matrices, self._layers, self._workspace[: len(grad) * self._width]
        threads.run(
            functools.partial(self._kernels.backward, *common, gradients, deltas, False, rows)
            for gradients, deltas, rows in zip(self._gradients, self._deltas, self._shards)
        )
        self._end(len(self._shards))

    def _end(self, shards: int) -> None:
        """Sum the gradients of the shards, and fill the network's."""
        total = self._gradients[0, 0]
        for gradients in self._gradients[1:shards]:
            total += gradients[0]
        for whole in self._whole:
            whole.aggregate()

    def loss_and_grads(self, loss: Callable, inputs: Any, targets: Any, weight: Any = None) -> float:
        """Return the loss of a batch, and fill the network's gradients where it is finite.

        It is `forward`, the loss and `backward`; with a `Loss.fused`, in one compiled call a thread.

        Parameters
        ----------
        loss : called as those of losses/ are.
        inputs, targets : as for the network and the loss.
        weight : (batch,), of the rows, or None.

        Raises
        ------
        ValueError for what the network or the loss does not take.
        """
        value = self._step(loss, inputs, targets, weight)
        if value is None:
            others = () if weight is None else (weight,)
            value, grad_outputs = loss(self.forward(inputs), targets, *others)
            if np.isfinite(value):
                self.backward(grad_outputs)
        return float(value)

    def _step(self, loss: Callable, inputs: Any, targets: Any, weight: Any) -> float | None:
        """Do it in one call a thread; None, where the loss is not fused or takes no such targets."""
        if not isinstance(loss, losses.Loss) or loss.fused is None:
            return None
        given, scaling, shards = self._begin(inputs)
        self._shards = None  # the workspace will not be that of a `forward`
        outputs, grad_outputs = self._outputs[: len(given)], self._grad_outputs[: len(given)]
        taken = _targets(loss, targets, outputs)
        if taken is None:
            return None
        step, batch = self._kernels.step_with(loss.fused), (given, taken, losses.row_weights(weight, outputs))
        own = scaling, self._matrices, self._transposed, self._layers
        room = self._workspace[: len(given) * self._width], outputs, grad_outputs
        threads.run(
            functools.partial(step, *batch, *own, *room, *of_shard)
            for of_shard in zip(self._gradients, self._deltas, self._found, shards)
        )
        values, good = self._found[: len(shards)].T
        if not good.all():
            return None
        value = float(values.sum())
        if np.isfinite(value):
            self._end(len(shards))
        return value


def _targets(loss: losses.Loss, targets: Any, outputs: np.ndarray) -> np.ndarray | None:
    """Return (batch, 1) labels or (batch, out) targets for the compiled step, None if it takes others."""
    targets = np.asarray(checks.array("targets", targets))
    if loss.classifies and not loss.binary:
        fits, kinds = targets.shape == outputs.shape[:1], "iu"
    else:
        fits, kinds = outputs.shape in (targets.shape, (*targets.shape, 1)), "fiub"
    if not fits or targets.dtype.kind not in kinds or not outputs.size:
        return None
    return np.array(targets.reshape(len(outputs), -1), outputs.dtype)  # writable: kernels are for one kind


def _cut(batch: int, weights: int) -> list[Block]:
    """Cut a batch into shards; an empty one is a shard too."""
    worth = min(batch // SHARD_ROWS, batch * weights // SHARD_WORK)
    count = min(SHARDS, max(1, worth))
    return list(itertools.pairwise(batch * shard // count for shard in range(count + 1)))
