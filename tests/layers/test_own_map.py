"""A map of one's own: a subclass of BucketMap with another `slot`, and of HashedLinear that names it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import naive
import numpy as np
import pytest

from minihash import HashedLinear, Network, ReLU, kernels, save, testing, virtual_matrix
from minihash.export import to_c, to_onnx
from minihash.gradient_check import check_gradients
from minihash.kernels import numba_cpu, numpy_cpu, panels
from minihash.layers.hashed_linear import BIASES
from minihash.maps import BucketMap
from minihash.quantization import quantize

TWINS = {"numba": numba_cpu, "numpy": numpy_cpu}
STEP = 3

both_twins = pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS)
every_tile = pytest.mark.parametrize("tile", [1, 2, 5])
every_bias = pytest.mark.parametrize("bias", BIASES)


def along(row, segment, tiles):
    """A function that the slot calls by name, with a constant of the module."""
    return np.uint32(np.uint32(row + np.uint32(STEP) * segment) % np.uint32(tiles))


def striped(key, row, segment):
    """Not random: segment by segment tiles STEP further on, and every second row with minus signs."""
    row, segment = np.uint32(row), np.uint32(segment)
    sign = np.uint32((row + np.uint32(key[0])) & np.uint32(key[2]))
    return np.uint32(along(row, segment, key[1]) | np.uint32(sign << np.uint32(31)))


class Stripes(BucketMap):
    slot = staticmethod(striped)


class StripedLinear(HashedLinear):
    map_type = Stripes


def lookup(layer):
    """The same in plain loops."""
    map = layer.bucket_map
    places = range(map.columns) if map.tile == 1 else naive.tile_places(map.seed, map.columns)

    def at(i, j):
        segment, offset = divmod(places[j], map.tile)
        tile = (i + STEP * segment) % map.tiles
        sign = -1 if map.signed and (i + map.seed) % 2 else 1
        if map.tile > 1:
            sign *= naive.column_sign(map.seed, j, map.signed)
        return min(tile * map.tile, map.num_buckets - map.tile) + offset, sign

    return at


def make(tile, **arguments):
    options = {"num_buckets": 23, "seed": 7, "dtype": np.float64} | arguments
    return testing.randomize(StripedLinear(9, 14, tile=tile, **options), 1)


@pytest.fixture(params=["small", "panels", "shared"])
def products(request, monkeypatch):
    """Products without panels, by panels, or shared by rows wherever there are fewer tiles than those."""
    monkeypatch.setattr(panels, "SMALL_BATCH", 10**9 if request.param == "small" else 0)
    monkeypatch.setattr(panels, "SMALL_WORK", 0)
    monkeypatch.setattr(virtual_matrix, "ADDITION", 0 if request.param == "shared" else np.inf)
    return request.param


@both_twins
@every_tile
@every_bias
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("batch", [1, 7])
def test_a_layer_equals_plain_loops(products, twin, tile, bias, signed, batch, monkeypatch):
    monkeypatch.setattr(kernels, "module", lambda: twin)
    layer = make(tile, bias=bias, signed=signed)
    assert layer.matrix.shares == (products == "shared" and layer.bucket_map.tiles < 14 and tile > 1)
    testing.randomize(layer, 3, integers=True)
    rng = np.random.default_rng(0)
    inputs, grad_outputs = rng.integers(-9, 10, (batch, 9)), rng.integers(-9, 10, (batch, 14))
    where, free = lookup(layer), layer.params.get("bias")
    ref = naive.hashed_forward(inputs, layer.weight, where, 14, bias, free)
    np.testing.assert_array_equal(layer.forward(inputs, training=True), ref)
    refs = naive.hashed_backward(inputs, layer.weight, where, grad_outputs, bias)
    np.testing.assert_array_equal(layer.backward(grad_outputs), refs[0])
    np.testing.assert_array_equal(layer.grads["weight"], refs[1])
    testing.assert_map_is_a_function(layer)


@every_tile
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_twins_make_the_v_it_says_bit_for_bit(tile, dtype, products, monkeypatch):
    """Multiplying the identity shows V, without a rounding."""
    layer = make(tile, bias="none", dtype=dtype)
    ref = naive.virtual_matrix(layer.weight, lookup(layer), 14, 9).astype(dtype)
    assert len(np.unique(ref)) > 9
    for twin in TWINS.values():
        monkeypatch.setattr(kernels, "module", lambda twin=twin: twin)
        shown = layer.forward(np.eye(9)).T
        assert shown.dtype == dtype and np.ascontiguousarray(shown).tobytes() == ref.tobytes()
    assert np.ascontiguousarray(layer.virtual_weight_matrix()).tobytes() == ref.tobytes()


@every_tile
def test_twins_have_the_same_slots_far_out(tile):
    map, slots = Stripes(10**6, 2**32 - 1, 10**6, tile), np.zeros((2, 4, 6), np.uint32)
    origin = 2**32 - 11, 2**30
    for twin, found in zip(TWINS.values(), slots):
        kernels.of_map(twin, map).locate(map.key, origin, found)
    rows, segments = (np.arange(start, start + count) for start, count in zip(origin, (4, 6)))
    with np.errstate(over="ignore"):
        ref = striped(map.key, rows.astype(np.uint32)[:, None], segments.astype(np.uint32))
    np.testing.assert_array_equal(slots[0], ref)
    np.testing.assert_array_equal(slots[1], ref)


@both_twins
@every_tile
@pytest.mark.parametrize("batch", [1, 7])
def test_gradients(products, twin, tile, batch, monkeypatch):
    monkeypatch.setattr(kernels, "module", lambda: twin)
    inputs = np.random.default_rng(0).normal(size=(batch, 9))
    check_gradients(make(tile), inputs).raise_for_errors()
    network = Network([make(tile), ReLU(np.float64), HashedLinear(14, 3, num_buckets=9, dtype=np.float64)])
    check_gradients(network, inputs).raise_for_errors()


def test_copies_keep_the_map():
    network = Network([make(2)])
    other = network.astype("float32").layers[0]
    assert type(other) is StripedLinear and other.bucket_map == network.layers[0].bucket_map
    inputs = np.random.default_rng(0).normal(size=(3, 9))
    np.testing.assert_allclose(other.forward(inputs), network.layers[0].forward(inputs), rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------------------------- refusals


@every_tile
@pytest.mark.parametrize("write", [save, to_c, to_onnx], ids=["file", "C", "ONNX"])
def test_what_knows_the_package_s_map_only_refuses_it_by_name(tile, write, tmp_path):
    if write is to_onnx:
        pytest.importorskip("onnx")
    network = Network([ReLU(), make(tile, dtype=np.float32)])
    with pytest.raises(ValueError, match="a (layer )?StripedLinear") as error:
        write(network, tmp_path / "out")
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


@every_tile
def test_a_map_in_a_layer_that_is_not_its_own_is_refused_by_name(tile, tmp_path, monkeypatch):
    monkeypatch.setattr(HashedLinear, "map_type", Stripes)
    layer = HashedLinear(9, 14, num_buckets=23, tile=tile)
    monkeypatch.undo()
    network = Network([layer])
    for use in (quantize, lambda network: to_c(network, tmp_path), lambda network: network.astype("float64")):
        with pytest.raises(ValueError, match=r"Stripes|config\(\) that does not settle its map"):
            use(network)


def test_quantisation_leaves_it_as_it_is():
    last = HashedLinear(14, 3, num_buckets=9, dtype=np.float64)
    network = Network([make(5), last])
    small = quantize(network, 8)
    assert type(small.layers[0]) is StripedLinear and type(small.layers[1]) is not HashedLinear
    np.testing.assert_array_equal(small.layers[0].weight, network.layers[0].weight)
    with pytest.raises(ValueError, match="no hashed layer of floats"):
        quantize(Network([make(5)]))


def test_a_gpu_refuses_it_by_name():
    code = """
        import numpy as np
        from minihash import HashedLinear, Network
        from minihash.maps import BucketMap

        class Stripes(BucketMap):
            @staticmethod
            def slot(key, row, segment):
                return np.uint32((row + segment) % key[1])

        class StripedLinear(HashedLinear):
            map_type = Stripes

        for tile in (1, 2):
            network = Network([StripedLinear(9, 14, num_buckets=23, tile=tile)])
            try:
                network.to("cuda")
            except ValueError as error:
                print(error)
            assert network.device.name == "cpu"
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
    )
    refusal = "map is 'Stripes', wanted one of 'element'"
    lines = run.stdout.splitlines()
    assert len(lines) == 2 and all(line.startswith(refusal) for line in lines), run
