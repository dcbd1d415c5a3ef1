"""What dispatches on a kind refuses one that it does not know, by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minihash import HashedLinear, Network, ReLU, kernels, losses, mlp
from minihash.fused import FusedNetwork, obstacle
from minihash.kernels import devices, numpy_cpu, panels
from minihash.layers import quantized_hashed_linear as quantized
from minihash.layers.quantized_hashed_linear import QuantizedHashedLinear
from minihash.maps import BucketMap
from minihash.quantization import choose_scale, quantize


class SpiralMap(BucketMap):
    """A map that only those compute who ask it for its slots."""

    @staticmethod
    def slot(key: Any, row: Any, segment: Any) -> Any:
        return np.uint32(np.uint32(row * segment) % np.uint32(key[1]))


class Spiral(HashedLinear):
    map_type = SpiralMap


#: Kernels of a device that has them of single weights, and makes none of somebody's slot.
FEW = SimpleNamespace(KERNELS={"element": numpy_cpu.KERNELS["element"]})
REFUSED = "^map is '{}', wanted one of 'element'$"


@pytest.mark.parametrize(
    "layer, name",
    [
        (HashedLinear(3, 3, num_buckets=5, tile=2), "tiles"),
        (Spiral(3, 3, num_buckets=5), "SpiralMap"),
        (Spiral(3, 3, num_buckets=5, tile=2), "SpiralMap"),
    ],
)
def test_a_map_that_a_device_has_no_kernels_of(layer: HashedLinear, name: str) -> None:
    device, map = devices.GPU(np, FEW), layer.bucket_map
    assert kernels.of_map(FEW, BucketMap(5, 1, 4)) is FEW.KERNELS["element"]
    part = panels.Part(0, np.ones((2, 4), np.float32))
    weight, outputs = np.ones(5, np.float32), np.empty((2, 3), np.float32)
    for use in (
        lambda: kernels.of_map(FEW, map),
        lambda: device.kernels_of(map),
        lambda: panels.multiply([part], weight, map, outputs, device),
        lambda: layer.to(device),
        lambda: Network([layer]).to(device),
    ):
        with pytest.raises(ValueError, match=REFUSED.format(name)):
            use()


def test_a_layer_of_another_map_is_not_fused() -> None:
    network = Network([Spiral(4, 3, num_buckets=5), ReLU()])
    assert obstacle(network).startswith("layers[0] is a Spiral, wanted Linear or HashedLinear")
    with pytest.raises(ValueError, match="a Spiral, wanted"):
        FusedNetwork(network)


def test_words_that_are_no_tile() -> None:
    for make, shape in ((HashedLinear, (4, 3)), (mlp, ([4, 3],))):
        with pytest.raises(ValueError, match="^tile is 'all', wanted one of 'auto'$"):
            make(*shape, num_buckets=5, tile="all")


@pytest.mark.parametrize("dtype", ["float16", "int16", "uint8", "bool"])
def test_weights_of_another_dtype(dtype: str) -> None:
    parts, outputs = [panels.Part(0, np.ones((2, 5), np.float32))], np.empty((2, 3), np.float32)
    found = f"^weight has dtype {dtype}, wanted one of float32, .*, int8$"
    with pytest.raises(ValueError, match=found):
        panels.multiply(parts, np.ones(5, dtype), BucketMap(5, 1, 5), outputs)


@pytest.mark.parametrize("bits", [2, 16, 0, -4, True, None, "8", 4.5])
def test_other_numbers_of_bits(bits: Any) -> None:
    config = HashedLinear(4, 3, num_buckets=5).config() | {"bits": bits}
    for use in (
        lambda: QuantizedHashedLinear(4, 3, num_buckets=5, bits=bits),
        lambda: QuantizedHashedLinear.param_shapes(config),
        lambda: QuantizedHashedLinear.param_dtypes(config),
        lambda: quantize(mlp([4, 3], compression=0.5), bits),
        lambda: quantized.packing(bits),
    ):
        with pytest.raises(ValueError, match=f"^bits is {bits!r}, wanted 8 or 4$"):
            use()


def test_codes_are_packed_as_they_are_unpacked() -> None:
    for bits, packing in quantized.PACKINGS.items():
        largest = quantized.largest_code(bits)
        codes = np.arange(-largest, largest + 1, dtype=np.int8).repeat(packing.per_byte)
        packed = packing.pack(codes)
        assert packed.dtype == packing.dtype and packed.size * packing.per_byte == codes.size
        np.testing.assert_array_equal(packing.unpack(packed), codes)
    assert choose_scale(np.float32([-7, 7, 1]), 4) == 1


def test_what_compiled_steps_do_not_know() -> None:
    pytest.importorskip("numba")
    network = mlp([4, 3, 2], compression=0.5)
    fused = FusedNetwork(network)
    inputs, targets = np.ones((2, 4)), np.array([0, 1])

    class Twice(losses.Loss):
        """A loss made of another, whose compiled loops are not its own."""

        classifies = True

        def __call__(self, outputs: Any, targets: Any, sample_weight: Any = None) -> Any:
            value, grad = losses.softmax_cross_entropy(outputs, targets, sample_weight)
            return 2 * value, 2 * grad

    class Changed(type(losses.softmax_cross_entropy)):  # type: ignore[misc]
        __call__ = Twice.__call__

    ref = fused.loss_and_grads(losses.softmax_cross_entropy, inputs, targets)
    for another in (Twice(), Changed()):
        assert another.fused is None
        assert fused.loss_and_grads(another, inputs, targets) == pytest.approx(2 * ref)
    outputs = fused.forward(inputs)
    fused._layers[0, 2] = 4  # an activation
    for use in (lambda: fused.backward(outputs), lambda: fused.forward(inputs)):
        with pytest.raises(ValueError, match="^unknown activation$"):
            use()


@pytest.mark.parametrize("name", ["tpu", "CPU", ""])
def test_other_devices(name: str) -> None:
    with pytest.raises(ValueError, match=f"^device is '{name}', wanted one of 'cpu', 'cuda'$"):
        devices.get(name)
