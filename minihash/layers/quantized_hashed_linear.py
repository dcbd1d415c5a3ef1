"""The hashed layer with its buckets in eight or four bits, to predict with."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihash import checks
from minihash.kernels.devices import CPU, Device
from minihash.layers.hashed_linear import HashedLinear

BITS = (8, 4)


class QuantizedHashedLinear(HashedLinear):
    """Hashed layer whose weights are whole numbers times a scale: `w[k] = scale · code[k]`.

    V is made panel by panel straight from the codes, multiplied, and the product scaled: no float copy of the
    weights is kept. It does not learn: `quantization.fine_tune` does before.

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
        if bits not in BITS or isinstance(bits, bool):
            raise ValueError(f"bits is {bits!r}, wanted 8 or 4")
        self.bits = int(bits)
        super().__init__(in_features, out_features, **arguments)

    @classmethod
    def param_shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        shapes = super().param_shapes(config)
        (count,) = shapes.pop("weight")
        length = count if config["bits"] == 8 else (count + 1) // 2
        return {"codes": (length,), "scale": (1,), **shapes}

    @classmethod
    def param_dtypes(cls, config: dict[str, Any]) -> dict[str, np.dtype]:
        return {"codes": np.dtype(np.int8 if config["bits"] == 8 else np.uint8)}

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
        codes = self.params["codes"]
        if self.bits == 4:
            pairs = np.stack([codes & 15, codes >> 4], axis=1).reshape(-1)[: self.num_buckets]
            codes = pairs.astype(np.int8) - np.int8(8)
        return _read_only(codes)

    def set_codes(self, codes: np.ndarray, scale: float) -> None:
        """Take over codes (num_buckets,), −127 … 127 or −7 … 7, and their scale."""
        largest = 2 ** (self.bits - 1) - 1
        codes = np.asarray(codes)
        if codes.shape != (self.num_buckets,) or codes.dtype.kind not in "iu":
            found = f"codes have shape {codes.shape} ({codes.dtype})"
            raise ValueError(f"{found}, wanted {self.num_buckets} integers")
        if codes.min() < -largest or codes.max() > largest:
            raise ValueError(f"codes are {codes.min()} … {codes.max()}, wanted {-largest} … {largest}")
        self.params["scale"][0] = checks.number("scale", scale, 0, np.finfo(self.dtype).max)
        if self.bits == 4:
            halves = np.full(2 * self.params["codes"].size, 8, np.uint8)
            halves[: self.num_buckets] = codes + 8
            codes = halves[::2] | halves[1::2] << 4
        self.params["codes"][...] = codes

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
        outputs = self._multiply(self._fold(inputs), self.params["codes"])
        outputs *= self.params["scale"]
        if self.bias == "free":
            outputs += self.params["bias"]
        return outputs, None

    def config(self) -> dict[str, Any]:
        return {**super().config(), "bits": self.bits}


def _read_only(array: np.ndarray) -> np.ndarray:
    """Return a view that cannot be changed: what is done to it would not be done to the layer."""
    view = array.view()
    view.setflags(write=False)
    return view
