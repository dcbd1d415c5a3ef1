"""A training step of a small dense network, compiled: some rows of a batch through all layers at once.

`a_l` (rows, in + 1) are the inputs of layer l, the last column ones; `W_l` (out + 1, in + 1) is its whole
matrix, the bias its last column; f_l is the activation, δ_l = ∂L/∂z_l:

    forward:    a_0 = (x − shift) · scale;    z_l = a_l W_lᵀ;    a_{l+1} = f_l(z_l)
    backward:   δ_l = ∂L/∂a_{l+1} · f_l'(z_l);    ∂L/∂W_l += δ_lᵀ a_l;    ∂L/∂a_l = δ_l W_l

The last row of `W_l`, of zeros, makes room for the ones of the next layer: so a product fills contiguous
memory, what is done to each number runs over it, and then the column is set, to 1, or to 0 in δ_l. All
matrices lie in one flat array, and so does the workspace: `layers` says where, and other depths and widths
compile nothing anew.

layers : (depth, 5) int64, a row a layer: fan_in, fan_out, activation, where its matrix starts among the
    matrices, and where its outputs start among the values of a row.
matrices, transposed : all W_l, and all W_lᵀ: BLAS takes longer where it has to transpose the smaller factor.
workspace : the a_l of all rows, a chunk of rows after the other, `width = Σ (units + 1)` numbers a row.
gradients, deltas : of one shard, two rows each: ∂L/∂W_l of all layers and what a chunk adds to them; and a
    chunk's δ of two layers.
rows : (start, stop) of the batch, a shard.

`step` goes forward and backward with one chunk after the other, and has the loss between: then nothing but
the gradients leaves a core's cache. A loss brings its own loops (`Loss.fused`).

`np.dot` is the BLAS of SciPy here, not NumPy's: `load_blas` before the first call.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable

import numpy as np

from minihash.kernels import threads
from minihash.kernels.compiling import inline, kernel, with_callees

CHUNK = 128  # rows at a time: their values fit the L2 cache, and BLAS has kernels for small products
COLUMNS = 16  # of a matrix that are transposed at a time: their cache lines stay at hand
NONE, RELU, TANH, SIGMOID = range(4)

# Without exceptions for divisions by zero and with fused multiply-adds, loops are vectorised.
_fast = functools.partial(kernel, fastmath={"contract"}, error_model="numpy")

f32, u32 = np.float32, np.uint32
ZERO, ONE, TWO = f32(0), f32(1), f32(2)
LOG2_E, LN2_HIGH, LN2_LOW = f32(math.log2(math.e)), f32(0.693359375), f32(math.log(2) - 0.693359375)
ROUND = f32(1.5 * 2**23 + 127)  # added, it rounds to whole numbers, and biases them as exponents are
#: (exp(r) − 1 − r) / r² for |r| ≤ ln 2 / 2, minimax: relative error 1.4e-8 of exp(r) − 1.
C0, C1, C2, C3, C4 = map(f32, (0.49999998, 0.16666539, 0.04166722, 0.00836718, 0.00138824))


@functools.cache
def load_blas() -> None:
    """Load the BLAS that compiled code calls, and let it be limited to one thread with the others."""
    importlib.import_module("scipy.linalg.cython_blas")
    threads.blas_loaded()


@inline
def _exp_parts(x):  # type: ignore[no-untyped-def]
    """Return m and 2ⁿ with exp(x) = 2ⁿ (1 + m), m small, for −87 ≤ x ≤ 0 in float32."""
    shifted = x * LOG2_E + ROUND
    n = shifted - ROUND
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    m = r + r * r * ((((C4 * r + C3) * r + C2) * r + C1) * r + C0)
    return m, u32(f32(shifted).view(u32) << u32(23)).view(f32)


@_fast
def tanh(values: np.ndarray) -> None:
    """Replace values by their hyperbolic tangents, `(1 − e) / (1 + e)` with `e = exp(−2 |a|)`.

    In float32 the loop is vectorised, and the error at most 2.5 units in the last place; NaN stays NaN.
    """
    if values.itemsize == 4:
        for k in range(values.size):
            x = f32(values[k])
            twice = -TWO * abs(x)
            m, power = _exp_parts(f32(-20) if twice < f32(-20) else twice)
            e = power * m + (power - ONE)  # exp − 1, exact to the last places for small x too
            values[k] = math.copysign(-e / (TWO + e), x)
    else:
        for k in range(values.size):
            values[k] = math.tanh(values[k])


@_fast
def sigmoid(values: np.ndarray) -> None:
    """Replace values by their logistic functions, `1 / (1 + exp(−a))`.

    In float32 the loop is vectorised, and the error at most 2.4 units in the last place down to a = −87,
    where it stops at 1.6e-38; NaN stays NaN.
    """
    if values.itemsize == 4:
        for k in range(values.size):
            x = f32(values[k])
            negative = -abs(x)
            m, power = _exp_parts(f32(-87) if negative < f32(-87) else negative)
            e = power * m + power
            values[k] = (e if x < ZERO else ONE) / (ONE + e)
    else:
        for k in range(values.size):
            e = math.exp(-abs(values[k]))
            values[k] = (e if values[k] < 0 else 1) / (1 + e)


@inline
def _activate(values, activation):  # type: ignore[no-untyped-def]
    zero = values.dtype.type(0)
    if activation == RELU:
        for k in range(values.size):
            values[k] = zero if values[k] < zero else values[k]  # NaN stays NaN
    elif activation == TANH:
        tanh(values)
    elif activation == SIGMOID:
        sigmoid(values)
    elif activation != NONE:
        raise ValueError("unknown activation")


@inline
def _times_slope(grad, values, activation):  # type: ignore[no-untyped-def]
    """Multiply by the slope of an activation where it has some values."""
    zero, one = grad.dtype.type(0), grad.dtype.type(1)
    if activation == RELU:
        for k in range(grad.size):
            grad[k] *= one if values[k] > zero else zero
    elif activation == TANH:
        for k in range(grad.size):
            grad[k] *= one - values[k] * values[k]
    elif activation == SIGMOID:
        for k in range(grad.size):
            grad[k] *= values[k] * (one - values[k])
    elif activation != NONE:
        raise ValueError("unknown activation")


@inline
def _block(flat, start, rows, columns):  # type: ignore[no-untyped-def]
    """Return numbers of a flat array from `start` on as (rows, columns)."""
    return flat[start : start + rows * columns].reshape(rows, columns)


@_fast
def transpose(matrices: np.ndarray, transposed: np.ndarray, layers: np.ndarray) -> None:
    """Fill `transposed` with the transposes of all matrices."""
    for fan_in, fan_out, _, place, _ in layers:
        matrix = _block(matrices, place, fan_out + 1, fan_in + 1)
        into = _block(transposed, place, fan_in + 1, fan_out + 1)
        for left in range(0, fan_in + 1, COLUMNS):
            for i in range(fan_out + 1):
                for j in range(left, min(left + COLUMNS, fan_in + 1)):
                    into[j, i] = matrix[i, j]


@_fast
def forward(
    inputs: np.ndarray,
    scaling: np.ndarray,
    transposed: np.ndarray,
    layers: np.ndarray,
    workspace: np.ndarray,
    outputs: np.ndarray,
    rows: tuple[int, int],
) -> None:
    """Fill `outputs` (batch, out) and the workspace for some rows of `inputs` (batch, in).

    `scaling` is (2, in): shift and scale.
    """
    features, width = inputs.shape[1], workspace.size // max(1, len(inputs))
    for top in range(rows[0], rows[1], CHUNK):
        count = min(CHUNK, rows[1] - top)
        below = _block(workspace, top * width, count, features + 1)
        for n in range(count):
            for j in range(features):
                below[n, j] = (inputs[top + n, j] - scaling[0, j]) * scaling[1, j]
            below[n, features] = 1
        for fan_in, fan_out, activation, matrix, place in layers:
            above = _block(workspace, top * width + place * count, count, fan_out + 1)
            np.dot(below, _block(transposed, matrix, fan_in + 1, fan_out + 1), above)
            _activate(above.reshape(-1), activation)
            for n in range(count):
                above[n, fan_out] = 1
            below = above
        for n in range(count):
            for i in range(outputs.shape[1]):
                outputs[top + n, i] = below[n, i]


@_fast
def backward(
    grad_outputs: np.ndarray,
    matrices: np.ndarray,
    layers: np.ndarray,
    workspace: np.ndarray,
    gradients: np.ndarray,
    deltas: np.ndarray,
    add: bool,
    rows: tuple[int, int],
) -> None:
    """Fill `gradients[0]` with those of all matrices, sums over some rows of `grad_outputs` (batch, out).

    Or `add` them to what is there.
    """
    width = workspace.size // max(1, len(grad_outputs))
    if rows[0] == rows[1] and not add:
        gradients[0, :] = 0
    for top in range(rows[0], rows[1], CHUNK):
        count, first = min(CHUNK, rows[1] - top), top == rows[0] and not add
        delta = _block(deltas[len(layers) & 1], 0, count, grad_outputs.shape[1] + 1)
        for n in range(count):
            for i in range(grad_outputs.shape[1]):
                delta[n, i] = grad_outputs[top + n, i]
        for number in range(len(layers) - 1, -1, -1):
            fan_in, fan_out, activation, matrix, place = layers[number]
            for n in range(count):
                delta[n, fan_out] = 0
            above = top * width + place * count
            _times_slope(delta.reshape(-1), workspace[above : above + delta.size], activation)
            below = _block(workspace, above - count * (fan_in + 1), count, fan_in + 1)
            np.dot(delta.T, below, _block(gradients[0 if first else 1], matrix, fan_out + 1, fan_in + 1))
            if not first:
                for k in range(matrix, matrix + (fan_out + 1) * (fan_in + 1)):
                    gradients[0, k] += gradients[1, k]
            if number > 0:
                grad_below = _block(deltas[number & 1], 0, count, fan_in + 1)
                np.dot(delta, _block(matrices, matrix, fan_out + 1, fan_in + 1), grad_below)
                delta = grad_below


@functools.cache
def step_with(loss: Callable) -> Callable:
    """Return `step` with the compiled `Loss.fused` of a loss."""
    of_rows = with_callees(loss, functools.partial(_fast, made_of=loss))

    def step(
        inputs: np.ndarray,
        targets: np.ndarray,
        weight: np.ndarray,
        scaling: np.ndarray,
        matrices: np.ndarray,
        transposed: np.ndarray,
        layers: np.ndarray,
        workspace: np.ndarray,
        outputs: np.ndarray,
        grad_outputs: np.ndarray,
        gradients: np.ndarray,
        deltas: np.ndarray,
        found: np.ndarray,
        rows: tuple[int, int],
    ) -> None:
        """Go forward and backward with some rows; fill `found` with their loss, and 1 if targets are good.

        `targets` are (batch, out), or (batch, 1) labels; `weight` is (batch,) float64, with the sum 1 over
        the whole batch. `outputs` and `grad_outputs` (batch, out) are filled.
        """
        total, good = 0.0, True
        width = workspace.size // max(1, len(inputs))
        values = workspace[rows[0] * width :]
        if rows[0] == rows[1]:
            gradients[0, :] = 0
        for top in range(rows[0], rows[1], CHUNK):
            stop = min(rows[1], top + CHUNK)
            chunk = top - top, stop - top  # a plain 0 would be a type of its own
            held = values[: (stop - top) * width]
            out, grad = outputs[top:stop], grad_outputs[top:stop]
            forward(inputs[top:stop], scaling, transposed, layers, held, out, chunk)
            part, fine = of_rows(out, targets[top:stop], weight[top:stop], grad)
            total, good = total + part, good and fine
            backward(grad, matrices, layers, held, gradients, deltas, top > rows[0], chunk)
        found[0], found[1] = total, good

    # Machine code is linked, and kept, by this name.
    step.__qualname__ = f"step_{loss.__module__}.{loss.__qualname__}"
    return _fast(step, made_of=loss)
