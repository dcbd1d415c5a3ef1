"""The hashed layer with its buckets in eight or four bits, to predict with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minihash import checks
from minihash.kernels.devices import CPU, Device
from minihash.layers.hashed_linear import HashedLinear
from minihash.layers.registry import register


class Packing(NamedTuple):
    """How codes of some bits lie in memory."""

    dtype: type
    per_byte: int
    pack: Callable[[np.ndarray], np.ndarray]  # codes, filled up to whole bytes
    unpack: Callable[[np.ndarray], np.ndarray]


def _pack_halves(codes: np.ndarray) -> np.ndarray:
    halves = (codes + 8).astype(np.uint8)
    return halves[::2] | halves[1::2] << 4


def _unpack_halves(packed: np.ndarray) -> np.ndarray:
    wide = packed.astype("<u2")  # a byte for each half
    return ((wide | wide << 4) & 0x0F0F).view(np.int8) - np.int8(8)


PACKINGS = {
    8: Packing(np.int8, 1, lambda codes: codes, lambda packed: packed),
    4: Packing(np.uint8, 2, _pack_halves, _unpack_halves),
}
BITS = tuple(PACKINGS)


def packing(bits: Any) -> Packing:
    """Return how codes of so many bits lie in memory; ValueError for numbers of bits that are not known."""
    if bits not in BITS or isinstance(bits, bool):
        raise ValueError(f"bits is {bits!r}, wanted {' or '.join(map(str, BITS))}")
    return PACKINGS[bits]


def largest_code(bits: int) -> int:
    """Return the largest code of so many bits; the smallest is its negative."""
    return int(2 ** (bits - 1) - 1)


@register
class QuantizedHashedLinear(HashedLinear):
    """Hashed layer whose weights are whole numbers times a scale: `w[k] = scale · code[k]`.

    Panels of V, or tiles, are made from the codes, a byte each, multiplied, and the product scaled: no float
    copy of the weights is made. It does not learn: `quantization.fine_tune` does before.

    Parameters
    ----------
    bits : 8 or 4. Codes are −127 … 127 in a byte each, or −7 … 7, two in a byte: the even one in its low
        half, each plus 8.
    in_features, … : as in `HashedLinear`.

    `params` holds `codes`, int8 (num_buckets,) or uint8 (⌈num_buckets / 2⌉,), `scale` (1,) and, for a free
    bias, `bias` (out_features,). A new layer has codes of 0; `quantization.quantize` makes the others.

    Raises
    ------
    ValueError for a wrong argument.
    """

    def __init__(self, in_features: int, out_features: int, *, bits: int = 8, **arguments: Any) -> None:
        packing(bits)  # refuses what is unknown
        self.bits = int(bits)
        super().__init__(in_features, out_features, **arguments)

    @classmethod
    def param_shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        shapes = super().param_shapes(config)
        (count,) = shapes.pop("weight")
        return {"codes": (-(-count // packing(config["bits"]).per_byte),), "scale": (1,), **shapes}

    @classmethod
    def param_dtypes(cls, config: dict[str, Any]) -> dict[str, np.dtype]:
        return {"codes": np.dtype(packing(config["bits"]).dtype)}

    def _make_params(self, fan_in: int) -> None:
        dtypes = self.param_dtypes(self.config())
        for name, shape in self.param_shapes(self.config()).items():
            self.params[name] = np.zeros(shape, dtypes.get(name, self.dtype))
        self.set_codes(np.zeros(self.num_buckets, np.int8), 1.0)

    def to(self, device: Device) -> None:
        if device is not CPU:
            raise ValueError(f"the network is quantised and stays on cpu, wanted floats on {device.name}")
        super().to(device)

    @property
    def codes(self) -> np.ndarray:
        """The codes, unpacked: (num_buckets,) int8, to read; `set_codes` changes them."""
        return _read_only(self._unpack())

    def _unpack(self) -> np.ndarray:
        return packing(self.bits).unpack(self.params["codes"])[: self.num_buckets]

    def set_codes(self, codes: np.ndarray, scale: float) -> None:
        """Take over codes (num_buckets,), −127 … 127 or −7 … 7, and their scale."""
        largest = largest_code(self.bits)
        codes = np.asarray(checks.array("codes", codes))
        if codes.shape != (self.num_buckets,) or codes.dtype.kind not in "iu":
            given = f"codes have shape {codes.shape} ({codes.dtype})"
            raise ValueError(f"{given}, wanted {self.num_buckets} integers")
        if codes.min() < -largest or codes.max() > largest:
            raise ValueError(f"codes are {codes.min()} … {codes.max()}, wanted {-largest} … {largest}")
        self.params["scale"][0] = checks.number("scale", scale, 0, np.finfo(self.dtype).max)
        packed, packer = self.params["codes"], packing(self.bits)
        filled = np.zeros(packed.size * packer.per_byte, np.int8)
        filled[: self.num_buckets] = codes
        packed[...] = packer.pack(filled)

    @property
    def weight(self) -> np.ndarray:
        """The weights in floating point, (num_buckets,), a copy to read."""
        return _read_only(self.codes * self.params["scale"])

    @weight.setter
    def weight(self, values: Any) -> None:
        raise ValueError("weight is quantised, wanted codes and a scale: set_codes")

    @property
    def num_parameters(self) -> int:
        """Stored numbers: codes, their scale, free biases."""
        return self.num_buckets + sum(array.size for name, array in self.params.items() if name != "codes")

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        if training:
            raise ValueError("the network is quantised and does not train, wanted floats")
        outputs = self.sums(inputs)
        outputs *= self.params["scale"]
        if self.bias == "free":
            outputs += self.params["bias"]
        return outputs, None

    def sums(self, inputs: np.ndarray) -> np.ndarray:
        """Return the products (batch, out_features) of inputs with the codes, in the inputs' dtype."""
        return self.matrix.multiply(inputs, self._unpack(), inputs.dtype, self.device)[0]

    def config(self) -> dict[str, Any]:
        return {**super().config(), "bits": self.bits}


def _read_only(array: np.ndarray) -> np.ndarray:
    """Return a view that cannot be changed: what is done to it would not be done to the layer."""
    view = array.view()
    view.setflags(write=False)
    return view
