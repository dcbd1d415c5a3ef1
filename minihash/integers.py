"""Networks in whole numbers: eight-bit inputs and activations, codes as weights, sums of 32 bits.

A network whose first layer is a `Rounding`, and whose hashed layers are quantised, is computed so: what
`Network.predict` returns then, and what exported C does, is defined here, to the last bit. docs/format.md
says it in words. Between two layers with weights there are

    sums        z[i] = Σ_j V[i, j] · x[j] + b[i]            V: codes with their signs, x: whole numbers
    Rounding    x'[i] = clip((z[i] · m + 2^(n − 1)) >> n, low, high),   m / 2ⁿ ≈ s_x · s_w / s_x'
    tables      x''[i] = table[x'[i]], for tanh and sigmoid and the Rounding behind them

The scale s of whole numbers is the number that 1 stands for. A ReLU makes `low` 0.

Source: the scheme is that of Jacob et al., Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, 2018, without zero points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from minihash.layers import Dropout, Layer, QuantizedHashedLinear, ReLU, Rounding, Sigmoid, Tanh, WeightLayer

LIMIT = 2**31  # sums are below it in size
ONE_BITS = 8  # fractional bits of the 1 that a hashed bias is fed with
MULTIPLIER_BITS = 31
FUNCTIONS: dict[type[Layer], Callable[[float], float]] = {
    Tanh: math.tanh,
    Sigmoid: lambda value: 0.5 + 0.5 * math.tanh(0.5 * value),
}


@dataclass
class Stage:
    """A layer with weights, and what becomes of its sums.

    Parameters
    ----------
    layer : the layer.
    bias : (out_features,) int64, added to the sums.
    scale : of the sums; of the outputs, where the stage is the last and rounds them.
    bound : the sums are no larger in size, whatever the inputs are.
    one : what a hashed bias is fed with, in 256ths of the inputs' scale.
    multiplier, shift : m and n of the rounding behind it; 0 where it has none, as the last one may.
    low, high : of its whole numbers.
    tables : what follows it: the lowest whole number that is looked up, and what each from there on becomes.
    """

    layer: QuantizedHashedLinear
    bias: np.ndarray
    scale: float
    bound: int
    one: int
    multiplier: int = 0
    shift: int = 0
    low: int = 0
    high: int = 0
    tables: list[tuple[int, np.ndarray]] = field(default_factory=list)

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """Return what whole numbers (batch, in_features) become, (batch, out_features) int64."""
        # Sums of whole numbers below 2⁵³ are exact in float64, in whatever order BLAS adds.
        sums = self.layer.sums(numbers.astype(np.float64)).astype(np.int64)
        sums += self.bias - _bias_codes(self.layer)
        if not self.multiplier:
            return sums
        rounded = (sums * self.multiplier + (1 << (self.shift - 1))) >> self.shift
        found = np.clip(rounded, self.low, self.high)
        for lowest, table in self.tables:
            found = table[found - lowest]
        return found


@dataclass
class Integers:
    """A network in whole numbers.

    Parameters
    ----------
    scale, low, high : of the inputs.
    stages : in their order.
    """

    scale: float
    low: int
    high: int
    stages: list[Stage]

    def inputs(self, scaled: np.ndarray) -> np.ndarray:
        """Return the whole numbers of scaled inputs, float64: `clip(⌊x / scale + 1/2⌋, low, high)`."""
        numbers = np.floor(scaled / self.scale + 0.5)
        return np.clip(numbers, self.low, self.high).astype(np.int64)

    def sums(self, numbers: np.ndarray) -> np.ndarray:
        """Return what the last stage makes of the whole numbers of inputs, (batch, out_features) int64."""
        for stage in self.stages:
            numbers = stage(numbers)
        return numbers

    def outputs(self, scaled: np.ndarray) -> np.ndarray:
        """Return the outputs (batch, out_features) float64 for inputs that are scaled, float64."""
        return self.sums(self.inputs(scaled)) * self.stages[-1].scale


def is_whole(layers: Sequence[Layer]) -> bool:
    """Tell whether layers are computed in whole numbers: the first rounds, and all weights are codes."""
    weighted = [layer for layer in layers if isinstance(layer, WeightLayer)]
    coded = bool(weighted) and all(type(layer) is QuantizedHashedLinear for layer in weighted)
    return coded and type(layers[0]) is Rounding


def integers_of(layers: Sequence[Layer]) -> Integers:
    """Return the layers of a network in whole numbers.

    Raises
    ------
    ValueError with the layer where they do not follow each other as the module says, or where sums may be
    too large.
    """
    first = layers[0]
    if type(first) is not Rounding:
        raise ValueError(f"layers[0] is a {type(first).__name__}, wanted a Rounding of the inputs")
    made = Integers(first.scale, first.low, first.high, [])
    now = _Values(first.scale, first.low, first.high)
    for place, layer in enumerate(layers[1:], 1):
        if type(layer) is not Dropout:
            now = _add(made, now, layer, f"layers[{place}]")
    if not made.stages:
        raise ValueError("network has no layer with weights, wanted one at least")
    if now.function or now.relu:
        raise ValueError("network ends in an activation, wanted a layer with weights or a Rounding")
    return made


@dataclass
class _Values:
    """What comes out of a layer: whole numbers of a scale, or sums; then perhaps through an activation."""

    scale: float
    low: int
    high: int
    rounded: bool = True
    relu: bool = False
    function: Callable[[float], float] | None = None


def _add(made: Integers, now: _Values, layer: Layer, place: str) -> _Values:
    """Add a layer behind values; return what comes out of it."""
    kind = type(layer)
    if isinstance(layer, QuantizedHashedLinear) and kind is QuantizedHashedLinear:
        if not now.rounded or now.function:
            raise ValueError(f"{place} is a {kind.__name__} behind other than a Rounding, wanted one")
        made.stages.append(_stage(layer, now, place))
        return _Values(made.stages[-1].scale, 0, 0, rounded=False)
    if kind is ReLU and not now.rounded:
        return _Values(now.scale, now.low, now.high, rounded=False, relu=True)
    if kind in FUNCTIONS and now.rounded and not now.function and made.stages:
        return _Values(now.scale, now.low, now.high, function=FUNCTIONS[kind])
    if isinstance(layer, Rounding) and made.stages and (not now.rounded or now.function):
        stage = made.stages[-1]
        low = max(layer.low, 0) if now.relu else layer.low
        if now.function:
            stage.tables.append((now.low, _table(now, layer)))
        else:
            stage.multiplier, stage.shift = multiplier_of(now.scale / layer.scale, place)
            stage.low, stage.high = low, layer.high
        stage.scale = layer.scale
        return _Values(layer.scale, low, layer.high)
    known = "QuantizedHashedLinear, Rounding, ReLU, Dropout; Tanh and Sigmoid between two of Rounding"
    raise ValueError(f"{place} is a {kind.__name__} that whole numbers have no form of there, wanted {known}")


def _stage(layer: QuantizedHashedLinear, now: _Values, place: str) -> Stage:
    scale = now.scale * float(layer.params["scale"][0])
    bias, one = np.zeros(layer.out_features, np.int64), math.floor(2**ONE_BITS / now.scale + 0.5)
    if layer.bias == "hashed":
        bias = (_bias_codes(layer) * one + 2 ** (ONE_BITS - 1)) >> ONE_BITS
    elif layer.bias == "free":
        bias = np.floor(layer.params["bias"].astype(np.float64) / scale + 0.5).astype(np.int64)
    codes = max(1, int(np.abs(layer.codes.astype(np.int64)).max()))
    largest = max(abs(now.low), abs(now.high)) * codes
    bound = layer.in_features * largest + int(np.abs(bias).max())
    if bound >= LIMIT:
        raise ValueError(f"{place} has sums up to {bound:,}, wanted below {LIMIT:,}: 32 bits")
    return Stage(layer, bias, scale, bound, one)


def _bias_codes(layer: QuantizedHashedLinear) -> np.ndarray:
    """Return the codes of a hashed bias with their signs, (out_features,) int64; zeros of another."""
    nothing = np.zeros((1, layer.in_features))
    return layer.sums(nothing)[0].astype(np.int64)


def multiplier_of(ratio: float, place: str = "ratio") -> tuple[int, int]:
    """Return m and n with `m / 2ⁿ ≈ ratio`: 2³⁰ ≤ m < 2³¹, to the nearest, ties to the even one.

    Raises
    ------
    ValueError if n is not from 1 to 62.
    """
    fraction, exponent = math.frexp(ratio)
    multiplier, shift = round(fraction * 2**MULTIPLIER_BITS), MULTIPLIER_BITS - exponent
    if multiplier == 2**MULTIPLIER_BITS:
        multiplier, shift = multiplier // 2, shift - 1
    if not 1 <= shift <= 62:
        raise ValueError(f"{place} has scales in the ratio {ratio:.3g}, wanted one from 2^-31 to 2^29")
    return multiplier, shift


def _table(now: _Values, layer: Rounding) -> np.ndarray:
    """Return what a function and the rounding behind it make of each whole number, from the lowest on."""
    assert now.function is not None
    values = [now.function(code * now.scale) / layer.scale for code in range(now.low, now.high + 1)]
    found = [min(max(math.floor(value + 0.5), layer.low), layer.high) for value in values]
    return np.array(found, np.int64)
