"""What exports have no form of is refused by name: an invented layer, map, bias, bit width or parameter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.paper.low_rank_linear import LowRankLinear
from benchmarks.paper.sparse_linear import SparseLinear
from minihash import Network
from minihash.export import to_c, to_onnx
from minihash.layers import (
    HashedLinear,
    Layer,
    Linear,
    QuantizedHashedLinear,
    ReLU,
)
from minihash.maps import BucketMap

EXPORTS: dict[str, Callable[[Network, Path], Any]] = {
    "C": lambda network, path: to_c(network, path),
    "C training": lambda network, path: to_c(network, path, training=True),
    "C int8": lambda network, path: to_c(network, path, weights="int8"),
    "ONNX": lambda network, path: to_onnx(network, path),
    "ONNX dense": lambda network, path: to_onnx(network, path, dense=True),
}
every_export = pytest.mark.parametrize("export", EXPORTS)
not_quantized = pytest.mark.parametrize("export", sorted(EXPORTS.keys() - {"C training", "C int8"}))


class DiagonalMap(BucketMap):
    """A map that says itself where its buckets are."""

    @staticmethod
    def slot(key: Any, row: Any, segment: Any) -> Any:
        return np.uint32((row + segment) % key[1])


class KeyedMap(BucketMap):
    """Another hash by another key alone."""

    @property
    def key(self) -> tuple[int, ...]:
        return self.seed + 1, self.tiles, self.signed


class Diagonal(HashedLinear):
    """A layer of a map of its own."""

    map_type = DiagonalMap


class Swish(ReLU):
    """An activation that is none of ours."""


class Doubled(HashedLinear):
    """A layer that computes twice what it should."""

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        outputs, saved = super()._forward(inputs, training)
        return 2 * outputs, saved


def hashed(kind: type[HashedLinear] = HashedLinear, **arguments: Any) -> HashedLinear:
    return kind(5, 4, num_buckets=6, **arguments)


def refused(export: str, layers: list[Layer], found: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=found) as error:
        EXPORTS[export](Network(layers), folder / "out")
    assert export.split()[0] in str(error.value) and "\n" not in str(error.value)
    assert not list(folder.iterdir())


@every_export
@pytest.mark.parametrize("map", [DiagonalMap, KeyedMap])
def test_an_invented_map(
    export: str, map: type[BucketMap], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HashedLinear, "map_type", map)
    found = rf"layers\[0\] has the map {map.__name__}, wanted one that \w+ has a form of: BucketMap"
    refused(export, [hashed()], found, tmp_path)


@every_export
@pytest.mark.parametrize("kind", [Diagonal, Doubled, Swish])
def test_an_invented_layer(export: str, kind: type[Layer], tmp_path: Path) -> None:
    layer = kind() if kind is Swish else hashed(kind, seed=1)
    layers = [hashed(), layer] if kind is Swish else [Linear(5, 5), layer]
    refused(export, layers, rf"layers\[1\] is a {kind.__name__}, wanted layers that", tmp_path)


@every_export
@pytest.mark.parametrize("kind, size", [(LowRankLinear, {"rank": 2}), (SparseLinear, {"num_weights": 6})])
def test_the_paper_s_baselines(export: str, kind: type[Layer], size: dict[str, int], tmp_path: Path) -> None:
    layers = [hashed(), ReLU(), kind(4, 3, seed=9, **size)]
    refused(export, layers, rf"layers\[2\] is a {kind.__name__}, wanted layers that", tmp_path)


@every_export
@pytest.mark.parametrize("name, value", [("bias", "shared"), ("signed", "rarely")])
def test_an_invented_way_to_compute(export: str, name: str, value: str, tmp_path: Path) -> None:
    layer = hashed()
    setattr(layer, name, value)
    refused(export, [layer], rf"layers\[0\] has (the )?{name} '{value}', wanted one that", tmp_path)


@not_quantized
@pytest.mark.parametrize("bits", [2, 16])
def test_an_invented_bit_width(export: str, bits: int, tmp_path: Path) -> None:
    layer = hashed(QuantizedHashedLinear)
    layer.bits = bits
    refused(export, [layer], rf"layers\[0\] has bits {bits}, wanted one that .* form of: 8, 4", tmp_path)


@every_export
def test_an_invented_parameter(export: str, tmp_path: Path) -> None:
    layer = hashed()
    layer.params["gain"] = np.full(4, 2, np.float32)
    refused(export, [layer], r"layers\[0\] has a parameter 'gain' that", tmp_path)


@pytest.mark.parametrize("export", ["C", "ONNX"])
def test_a_feature_that_float32_is_too_coarse_for(export: str, tmp_path: Path) -> None:
    """Seconds since 1970: float32, which C and this ONNX model take, knows two minutes of them."""
    shift, scale = [0.0, 1.7e9, 0.0, 0.0, 0.0], [1.0, 1 / 17.3, 0.0, 1.0, 1.0]
    network = Network([hashed()], input_shift=shift, input_scale=scale)
    with pytest.raises(ValueError, match=r"input_shift of feature 1 is 1.7e\+09 with .* 17.3") as error:
        EXPORTS[export](network, tmp_path / "out")
    assert "float32" in str(error.value) and not list(tmp_path.iterdir())
    to_onnx(network.astype("float64"), tmp_path / "out")
