"""Layers of tiles: against plain loops, with planted errors, and where products are shared."""

from __future__ import annotations

import contextlib

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash import HashedLinear, fit, kernels, mlp, virtual_matrix
from minihash.gradient_check import check_gradients
from minihash.kernels import numba_cpu, numpy_cpu, panels, shared, shared_numpy, threads
from minihash.layers import QuantizedHashedLinear
from minihash.layers.hashed_linear import BIASES, auto_tile
from minihash.maps import BucketMap
from minihash.persistence import load, save
from minihash.quantization import quantize

TWINS = [numba_cpu, numpy_cpu]
both_twins = pytest.mark.parametrize("twin", TWINS, ids=["numba", "numpy"])


def integers(shape, dtype=np.float64, seed=0):
    """Whole numbers, so that sums are exact in any order."""
    return np.random.default_rng(seed).integers(-6, 7, shape).astype(dtype)


def fill(layer):
    for seed, param in enumerate(layer.params.values()):
        param[...] = integers(param.shape, param.dtype, seed)
    return layer


@st.composite
def tiled_layers(draw):
    """A layer with whole-numbered weights; one tile, K = B and tiles that overlap are frequent."""
    in_features, out_features = draw(st.integers(2, 9)), draw(st.integers(1, 12))
    bias = draw(st.sampled_from(BIASES))
    columns = in_features + (bias == "hashed")
    num_buckets = draw(st.one_of(st.integers(2, max(2, out_features * columns)), st.just(2)))
    num_buckets = min(num_buckets, out_features * columns)
    longest = min(columns, num_buckets)
    tile = draw(st.one_of(st.just(longest), st.integers(min(2, longest), longest)))
    layer = HashedLinear(
        in_features,
        out_features,
        num_buckets=num_buckets,
        tile=tile,
        seed=draw(st.one_of(st.integers(0, 2**32 - 1), st.just(2**32 - 1))),
        signed=draw(st.booleans()),
        bias=bias,
        dtype=draw(st.sampled_from([np.float32, np.float64])),
    )
    return fill(layer)


def check(layer, batch):
    """Hold a step of a layer to plain loops, to the last bit."""
    place = naive.tiles(layer.seed, layer.num_buckets, layer.columns, layer.tile, layer.signed)
    a = integers((batch, layer.in_features), layer.dtype, 5)
    delta = integers((batch, layer.out_features), layer.dtype, 6)
    free = layer.params.get("bias", np.zeros(layer.out_features))
    V, grad_weight = np.zeros((layer.out_features, layer.columns)), np.zeros(layer.num_buckets)
    full = np.hstack([a, np.ones((batch, layer.columns - layer.in_features))])
    for i in range(layer.out_features):
        for j in range(layer.columns):
            bucket, sign = place(i, j)
            V[i, j] = sign * layer.weight[bucket]
            grad_weight[bucket] += sign * (delta[:, i] @ full[:, j])
    outputs = layer.forward(a, training=True)
    grad_inputs = layer.backward(delta)
    np.testing.assert_array_equal(outputs, full @ V.T + free)
    np.testing.assert_array_equal(grad_inputs, (delta @ V)[:, : layer.in_features])
    np.testing.assert_array_equal(layer.grads["weight"], grad_weight)
    np.testing.assert_array_equal(layer.virtual_weight_matrix(), V[:, : layer.in_features])
    before = layer.grads["weight"].copy()
    assert layer.backward(delta, need_grad_inputs=False) is None
    np.testing.assert_array_equal(layer.grads["weight"], before)


def share_always(patch):
    """Share products wherever there are fewer tiles than rows, however small they are."""
    patch.setattr(panels, "SMALL_WORK", 0)
    patch.setattr(virtual_matrix, "ADDITION", 0)


@both_twins
@given(layer=tiled_layers(), batch=st.one_of(st.integers(0, 5), st.sampled_from([8, 33, 70])))
def test_equals_plain_loops(twin, layer, batch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "module", lambda: twin)
        check(layer, batch)
        share_always(patch)
        check(layer, batch)
        patch.setattr(virtual_matrix, "ADDITION", np.inf)
        check(layer, batch)


EDGES = {
    "nothing is a multiple of B": (7, 12, 11, 3),
    "one tile, K = B": (7, 12, 5, 5),
    "two tiles that overlap but for a weight": (7, 12, 8, 7),
    "K a multiple of B": (7, 12, 20, 4),
    "one row": (7, 1, 5, 3),
    "one segment": (6, 12, 13, 6),
    "as many tiles as rows": (7, 5, 15, 3),
    "single weights": (7, 5, 15, 1),
}


@both_twins
@pytest.mark.parametrize("addition", [0, np.inf], ids=["shared", "panels"])
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("shape", EDGES.values(), ids=EDGES)
def test_edges_equal_plain_loops(twin, addition, bias, shape, monkeypatch):
    in_features, out_features, num_buckets, tile = shape
    options = {"num_buckets": num_buckets, "tile": tile, "seed": 5, "bias": bias}
    layer = fill(HashedLinear(in_features, out_features, **options))
    monkeypatch.setattr(kernels, "module", lambda: twin)
    share_always(monkeypatch)
    monkeypatch.setattr(virtual_matrix, "ADDITION", addition)
    assert layer.matrix.shares == (addition == 0 and layer.bucket_map.tiles < out_features and tile > 1)
    for batch in (1, 9):
        check(layer, batch)


right = shared_numpy
PLANTED = [
    ("gather", lambda P, slots, z: right.gather(P, slots & right.TILE, z)),
    ("gather", lambda P, slots, z: right.gather(P, slots[:, ::-1], z)),
    ("scatter", lambda delta, slots, Q: right.scatter(delta, slots & right.TILE, Q)),
    ("scatter", lambda delta, slots, Q: right.scatter(delta[::-1], slots, Q)),
    ("arrange", lambda a, p, s, B, out: right.arrange(a, p, np.ones_like(s), B, out)),
    ("arrange", lambda a, p, s, B, out: right.arrange(a, p[::-1].copy(), s, B, out)),
    ("arrange_back", lambda g, p, s, B, out: right.arrange_back(g, p, np.ones_like(s), B, out)),
    ("arrange_back", lambda g, p, s, B, out: right.arrange_back(g, p[::-1].copy(), s, B, out)),
    ("transpose", lambda source, target: target.__setitem__(..., source.T[::-1])),
    ("multiply_row", lambda a, p, s, *rest: right.multiply_row(a, p, np.ones_like(s), *rest)),
    ("multiply_row", lambda a, p, s, tiles, *rest: right.multiply_row(a, p, s, tiles[::-1], *rest)),
    ("multiply_row", lambda *args: right.multiply_row(*args[:4], args[4] & right.TILE, *args[5:])),
]


@both_twins
@pytest.mark.parametrize("name, broken", PLANTED)
def test_planted_errors_are_caught(twin, name, broken, monkeypatch):
    layer = HashedLinear(7, 12, num_buckets=9, tile=2, seed=3, dtype=np.float64)
    layer.weight[...] = integers(9, seed=1)
    monkeypatch.setattr(kernels, "module", lambda: twin)
    share_always(monkeypatch)
    batch = 1 if name == "multiply_row" else 9
    check(layer, batch)
    monkeypatch.setattr(twin, name, broken)
    with pytest.raises(AssertionError):
        check(layer, batch)


@pytest.mark.parametrize("batch", [1, 50, 200])
def test_threads_change_no_bit(batch, monkeypatch):
    share_always(monkeypatch)
    rng = np.random.default_rng(0)
    layer = HashedLinear(100, 150, compression=1 / 64, tile="auto", seed=1)
    assert layer.matrix.shares
    a, delta = (rng.normal(size=(batch, n)).astype(np.float32) for n in (100, 150))
    found = []
    for count in (1, 2, 5):
        threads.set_num_threads(count)
        try:
            outputs, grad_inputs = layer.forward(a, training=True), layer.backward(delta)
            found.append((outputs, grad_inputs, layer.grads["weight"].copy()))
        finally:
            threads.set_num_threads(None)
    for other in found[1:]:
        for one, two in zip(found[0], other):
            np.testing.assert_array_equal(one, two)


def test_the_threads_of_blas_change_no_bit_of_few_rows():
    """Products of a layer that is put in order are made by one thread of BLAS, as all others are."""
    rng = np.random.default_rng(0)
    layer = HashedLinear(1000, 10, compression=1 / 8, tile="auto", seed=1)
    assert layer.matrix._puts_rows_in_order(128)
    a, delta = (rng.normal(size=(128, n)).astype(np.float32) for n in (1000, 10))
    found = []
    for guard in (threads.single_threaded_blas(), contextlib.nullcontext()):
        with guard:
            outputs, grad_inputs = layer.forward(a, training=True), layer.backward(delta)
        found.append((outputs, grad_inputs, layer.grads["weight"].copy()))
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rows, columns, num_buckets, tile", [
    (1000, 785, 12266, 99), (1024, 1024, 16384, 128), (1024, 1024, 131072, 256), (10, 1001, 156, 15),
    (100, 785, 1227, 76), (10, 100, 4, 1), (5, 8, 40, 2), (4096, 4096, 16384, 512),
])
def test_auto(rows, columns, num_buckets, tile):
    """Eight segments a row at 1/16 and below, four above, and as many tiles as rows, or 16 of them."""
    assert auto_tile(rows, columns, num_buckets) == tile


def test_what_is_refused():
    known = {0: "1 <= tile < 4", 4: "1 <= tile < 4", 2.5: "wanted an integer", "all": "'auto'"}
    for tile, wanted in known.items():
        with pytest.raises(ValueError, match=wanted):
            HashedLinear(8, 3, num_buckets=3, tile=tile)
    for tile in (2, "auto", True, [1, 2]):
        with pytest.raises(ValueError, match="a dense layer has no tiles"):
            mlp([3, 4, 2], tile=tile)
    with pytest.raises(ValueError, match="tile has 1 values, wanted 2: one a layer"):
        mlp([3, 4, 2], compression=1, tile=[2])
    with pytest.raises(ValueError, match="1 <= tile < 4, in a layer 8 -> 3 with 3 buckets"):
        mlp([9, 8, 3], num_buckets=[9, 3], tile=4)


def test_gradients_and_files(tmp_path, monkeypatch):
    share_always(monkeypatch)
    network = mlp([30, 80, 3], compression=1 / 8, tile=4, dtype=np.float64, seed=2)
    assert network.layers[0].matrix.shares
    assert check_gradients(network, np.random.default_rng(0).normal(size=(4, 30))).ok
    save(network, tmp_path / "model")
    again = load(tmp_path / "model")
    rows = np.random.default_rng(1).normal(size=(5, 30))
    assert again.layers[0].tile == 4 and (again.predict(rows) == network.predict(rows)).all()
    close = quantize(network, 8).predict(rows)
    assert np.abs(close - network.predict(rows)).max() < 0.1


@both_twins
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("num_buckets", [50, 54])  # whole tiles, and one that overlaps
@pytest.mark.parametrize("batch", [1, 9])
def test_products_of_codes_are_shared(twin, bits, num_buckets, batch, monkeypatch):
    """Codes are whole numbers: their sums are exact, shared or not."""
    layer = QuantizedHashedLinear(30, 40, num_buckets=num_buckets, tile=10, seed=3, bits=bits)
    most = 2 ** (bits - 1) - 1
    layer.set_codes(np.arange(num_buckets) * 3 % (2 * most + 1) - most, 0.5)
    monkeypatch.setattr(kernels, "module", lambda: twin)
    share_always(monkeypatch)
    inputs = integers((batch, 30)).astype(np.float32)
    outputs = layer.forward(inputs)
    assert layer.matrix.shares
    np.testing.assert_array_equal(outputs, inputs @ layer.virtual_weight_matrix().T + layer.virtual_bias())
    monkeypatch.setattr(virtual_matrix, "ADDITION", np.inf)
    np.testing.assert_array_equal(outputs, layer.forward(inputs))


@pytest.mark.parametrize("batch, times", [(1, 0), (2, 0), (3, 1)])
def test_small_products_are_not_shared(batch, times, monkeypatch):
    """Up to 2¹⁸ multiplications one call of a kernel does them."""
    calls, multiply = [], shared.multiply
    monkeypatch.setattr(shared, "multiply", lambda *arguments: calls.append(1) or multiply(*arguments))
    layer = HashedLinear(255, 400, compression=1 / 64, tile="auto")
    layer.forward(np.zeros((batch, 255)))
    assert layer.matrix.shares and len(calls) == times


def test_where_products_are_shared():
    """Where T · B multiplications and 16 additions are fewer than B, for every row and segment."""
    for rows, num_buckets, tile, shares in (
        (1000, 12266, 99, True),
        (10, 156, 15, False),
        (100, 1580, 24, False),
        (100, 12675, 195, True),
        (64, 640, 19, False),
        (64, 640, 32, True),
        (5, 8, 8, False),
        (1024, 4096, 1, False),
    ):
        matrix = virtual_matrix.VirtualMatrix(BucketMap(num_buckets, 0, 1000, tile), rows, 1000)
        assert matrix.shares == shares, (rows, num_buckets, tile)
        assert matrix.multiplications(999) == 999 * (-(-num_buckets // tile) if shares else rows)


@pytest.mark.parametrize("bias", BIASES)
def test_shared_products_cost_what_the_layer_says(bias, monkeypatch):
    """By the shapes that reach BLAS: T tiles of B times G segments, for every row of a batch."""
    share_always(monkeypatch)
    layer = fill(HashedLinear(300, 70, num_buckets=900, tile=50, bias=bias))
    map, counts, matmul = layer.bucket_map, [], np.matmul

    def counted(left, right, out):
        counts.append(left.shape[0] * left.shape[1] * right.shape[1])
        return matmul(left, right, out=out)

    monkeypatch.setattr(np, "matmul", counted)
    monkeypatch.setattr(panels, "multiply", None)  # cannot be called
    monkeypatch.setattr(panels, "gradients", None)
    cost = 18 * 50 * map.segments  # a bias makes a segment of its own
    assert layer.multiplications == 18 * 300 and map.segments == (7 if bias == "hashed" else 6)
    a, delta = integers((5, 300), np.float32), integers((5, 70), np.float32)
    for step, products in (
        (lambda: layer.forward(a, training=True), 1),
        (lambda: layer.backward(delta), 2),
        (lambda: layer.backward(delta, need_grad_inputs=False), 1),
    ):
        counts.clear()
        step()
        assert sum(counts) == 5 * products * cost


def test_a_fused_network_of_tiles_learns_the_same():
    from minihash import fused

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(64, 10)), rng.integers(0, 3, 64)
    networks = [mlp([10, 20, 3], compression=1 / 2, tile=3, seed=1, dtype=np.float64) for _ in range(2)]
    assert not fused.obstacle(networks[0])
    histories = [fit(networks[0], rows, epochs=3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "obstacle", lambda network: "not now")
        histories.append(fit(networks[1], rows, epochs=3))
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-9)
