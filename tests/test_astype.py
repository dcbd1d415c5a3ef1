"""`Network.astype`: another dtype, the same hashes, scaling and names."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.paper.low_rank_linear import LowRankLinear
from benchmarks.paper.sparse_linear import SparseLinear
from minihash import Dropout, HashedLinear, Linear, Network, Tanh, mlp, testing
from minihash.maps import BucketMap
from minihash.quantization import quantize


def every_layer() -> Network:
    layers = [
        HashedLinear(5, 7, num_buckets=9, bias="free", tile=3, seed=1, dtype="float64"),
        Tanh("float64"),
        Dropout(0.5, dtype="float64"),
        LowRankLinear(7, 6, rank=2, seed=2, dtype="float64"),
        SparseLinear(6, 5, num_weights=11, seed=3, dtype="float64"),
        Linear(5, 3, dtype="float64"),
    ]
    scaling = {"input_scale": np.linspace(1, 2, 5), "input_shift": 1 / 3}
    return testing.randomize(Network(layers, **scaling, class_names=["a", "b", "c"]), 1)


def test_parameters_are_rounded_and_the_rest_is_kept() -> None:
    network = every_layer()
    before = {name: array.copy() for name, array in network.params.items()}
    made = network.astype("float32")
    assert made.dtype == np.float32 and {layer.dtype for layer in made.layers} == {np.dtype(np.float32)}
    assert made.params.keys() == before.keys()
    for name, array in made.params.items():
        assert array.dtype == np.float32 and np.array_equal(array, before[name].astype(np.float32))
    for first, second in zip(network.layers, made.layers):
        assert second.config() == {**first.config(), "dtype": "float32"}
    assert made.class_names == network.class_names
    assert np.array_equal(made.input_scale, network.input_scale) and made.input_shift == 1 / 3
    inputs = np.random.default_rng(0).normal(size=(9, 5))
    assert np.allclose(made.predict(inputs), network.predict(inputs), atol=1e-5)
    assert all(np.array_equal(array, before[name]) for name, array in network.params.items())


@given(st.data(), st.sampled_from(["float32", "float64"]))
def test_float64_and_back_changes_nothing(data: st.DataObject, dtype: str) -> None:
    network = data.draw(testing.networks(dtype=np.float32))
    made = network.astype("float64").astype(dtype)
    assert all(np.array_equal(made.params[name], array) for name, array in network.params.items())
    inputs = data.draw(testing.batches(network))
    if dtype == "float32":
        assert np.array_equal(made.predict(inputs), network.predict(inputs))


def test_it_is_a_copy_even_of_the_same_dtype() -> None:
    network = mlp([4, 3], compression=0.5)
    made = network.astype(np.float32)
    made.params["0.weight"][...] = 0
    assert network.params["0.weight"].any() and made.layers[0] is not network.layers[0]


@pytest.mark.parametrize("bits", [8, 4])
def test_codes_stay_as_they_are(bits: int) -> None:
    small = quantize(mlp([6, 9, 3], compression=0.5, bias="free", dtype="float64"), bits)
    made = small.astype("float32")
    assert np.array_equal(made.params["0.codes"], small.params["0.codes"])
    assert made.params["0.scale"].dtype == np.float32
    inputs = np.random.default_rng(0).normal(size=(5, 6))
    assert np.allclose(made.predict(inputs), small.predict(inputs), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "int8", "complex128", None, "word"])
def test_other_dtypes(dtype: Any) -> None:
    with pytest.raises(ValueError, match="^dtype is .*, wanted"):
        mlp([4, 3]).astype(dtype)


def test_what_is_too_large_is_named() -> None:
    network = mlp([4, 3], dtype="float64")
    network.params["0.bias"][1] = -1e39
    with pytest.raises(ValueError, match="0.bias has a number of size 1e\\+39, wanted what float32 can hold"):
        network.astype("float32")
    network.params["0.bias"][1] = np.nan  # as it was
    assert np.isnan(network.astype("float32").params["0.bias"][1])


class Renamed(Linear):
    """A layer whose constructor is not that of its config()."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)


class Scaled(Linear):
    """A layer with a parameter that its config() does not make."""


@dataclasses.dataclass(frozen=True)
class OtherMap(BucketMap):
    """A map that config() does not make."""


def test_layers_that_their_config_does_not_make_are_refused_and_not_changed() -> None:
    with pytest.raises(ValueError, match=r"Renamed has a config\(\) that makes none"):
        Network([Renamed(3)]).astype("float64")
    scaled = Scaled(2, 2)
    scaled.params["gain"] = np.ones(2, np.float32)
    with pytest.raises(ValueError, match=r"Scaled has a config\(\) that does not settle gain"):
        Network([scaled]).astype("float64")
    layer = HashedLinear(4, 3, num_buckets=5)
    layer.bucket_map = OtherMap(5, 0, 5)
    for copied in (lambda: Network([layer]).astype("float64"), lambda: quantize(Network([layer]))):
        with pytest.raises(ValueError, match="map"):
            copied()


def test_names_of_classes_do_not_depend_on_how_numpy_prints() -> None:
    labels = np.array([1 / 3, 2.0, 1e300])
    with np.printoptions(legacy="1.13"):
        names = mlp([4, 3], class_names=labels).class_names
    assert names == ("0.3333333333333333", "2.0", "1e+300") == mlp([4, 3], class_names=labels).class_names
