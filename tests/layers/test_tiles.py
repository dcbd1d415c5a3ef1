"""Layers of tiles: against plain loops, their kernels as each other's transpose, and planted errors."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash import HashedLinear, fit, kernels, mlp
from minihash.gradient_check import check_gradients
from minihash.kernels import numba_cpu, numpy_cpu, shared, shared_numpy, threads
from minihash.layers.hashed_linear import BIASES, auto_tile
from minihash.maps import TileMap
from minihash.persistence import load, save
from minihash.quantization import quantize

TWINS = [numba_cpu, numpy_cpu]
both_twins = pytest.mark.parametrize("twin", TWINS, ids=["numba", "numpy"])


def integers(shape, dtype=np.float64, seed=0):
    """Whole numbers, so that sums are exact in any order."""
    return np.random.default_rng(seed).integers(-6, 7, shape).astype(dtype)


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
    for seed, param in enumerate(layer.params.values()):
        param[...] = integers(param.shape, param.dtype, seed)
    return layer


def lookup(layer):
    if layer.tile == 1:
        return naive.element(layer.seed, layer.num_buckets, layer.signed)
    return naive.tiles(layer.seed, layer.num_buckets, layer.columns, layer.tile, layer.signed)


def check(layer, batch):
    """Hold a step of a layer to plain loops, to the last bit."""
    place = lookup(layer)
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


@both_twins
@given(layer=tiled_layers(), batch=st.one_of(st.integers(0, 5), st.sampled_from([8, 33, 70])))
def test_equals_plain_loops(twin, layer, batch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "module", lambda: twin)
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
]


@both_twins
@pytest.mark.parametrize("name, broken", PLANTED)
def test_planted_errors_are_caught(twin, name, broken, monkeypatch):
    layer = HashedLinear(7, 12, num_buckets=9, tile=2, seed=3, dtype=np.float64)
    layer.weight[...] = integers(9, seed=1)
    monkeypatch.setattr(kernels, "module", lambda: twin)
    check(layer, 9)
    monkeypatch.setattr(twin, name, broken)
    with pytest.raises(AssertionError):
        check(layer, 9)


@st.composite
def shared_arrays(draw):
    """Slots, products and outputs of some rows, segments and rows of a batch."""
    rows, segments, tiles, batch = (draw(st.integers(1, high)) for high in (9, 9, 5, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    slots = rng.integers(0, tiles, (rows, segments)).astype(np.uint32)
    slots |= rng.integers(0, 2, slots.shape).astype(np.uint32) << np.uint32(31)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    products = rng.integers(-6, 7, (tiles, segments, batch)).astype(dtype)
    return slots, products, rng.integers(-6, 7, (rows, batch)).astype(dtype)


@given(shared_arrays())
def test_scatter_is_the_transpose_of_gather(arrays):
    slots, products, grads = arrays
    found = []
    for twin in TWINS:
        outputs, grad_products = np.full_like(grads, np.nan), np.full_like(products, np.nan)
        twin.gather(products, slots, outputs)
        twin.scatter(grads, slots, grad_products)
        assert (outputs * grads).sum() == (products * grad_products).sum()
        found.append((outputs, grad_products))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(2, 9), st.booleans(), st.integers(1, 20))
def test_arrange_back_is_the_transpose_of_arrange(seed, features, tile, biased, batch):
    columns = features + biased
    if columns < tile:
        return
    map = TileMap(tile, seed, columns, tile)
    a = integers((batch, features))
    grads = integers((tile, map.segments * batch), seed=1)
    found = []
    for twin in TWINS:
        arranged, grad_inputs = np.full(grads.shape, np.nan), np.full(a.shape, np.nan)
        twin.arrange(a, map.places, map.signs, tile, arranged)
        twin.arrange_back(grads, map.places, map.signs, tile, grad_inputs)
        of_inputs = arranged.copy()
        if biased:
            segment, offset = divmod(int(map.places[-1]), tile)
            of_inputs.reshape(tile, -1, batch)[offset, segment] = 0
        assert (of_inputs * grads).sum() == (a * grad_inputs).sum()
        found.append((arranged, grad_inputs))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (8, 8), (17, 40)])
def test_transposes(shape):
    source = integers(shape)
    for twin in TWINS:
        target = np.empty(shape[::-1])
        twin.transpose(source, target)
        np.testing.assert_array_equal(target, source.T)


@pytest.mark.parametrize("batch", [1, 50, 200])
def test_threads_change_no_bit(batch):
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


def test_blocks_cover_the_batch():
    map = TileMap(1000, 1, 100, 10)
    for batch in range(300):
        blocks = shared._blocks(batch, 2000, map, 4)
        assert [row for start, stop in blocks for row in range(start, stop)] == list(range(batch))


@pytest.mark.parametrize("rows, columns, num_buckets, tile", [
    (1000, 785, 12266, 99), (1024, 1024, 16384, 128), (1024, 1024, 131072, 256), (10, 1001, 156, 15),
    (100, 785, 1227, 19), (10, 100, 4, 1), (5, 8, 40, 2), (4096, 4096, 16384, 256),
])
def test_auto(rows, columns, num_buckets, tile):
    """Eight segments a row at 1/16 and below, four above, and as many tiles as rows, or 64 of them."""
    assert auto_tile(rows, columns, num_buckets) == tile


def test_what_is_refused():
    known = {0: "1 <= tile < 4", 4: "1 <= tile < 4", 2.5: "wanted an integer", "all": "'auto'"}
    for tile, wanted in known.items():
        with pytest.raises(ValueError, match=wanted):
            HashedLinear(8, 3, num_buckets=3, tile=tile)
    with pytest.raises(ValueError, match="tile is 2 and map is 'window'"):
        HashedLinear(8, 3, num_buckets=3, tile=2, map="window")
    with pytest.raises(ValueError, match="a dense layer has no tiles"):
        mlp([3, 2], tile=2)


def test_gradients_and_files(tmp_path):
    network = mlp([30, 80, 3], compression=1 / 8, tile=4, dtype=np.float64, seed=2)
    assert network.layers[0].matrix.shares
    assert check_gradients(network, np.random.default_rng(0).normal(size=(4, 30))).ok
    save(network, tmp_path / "model")
    again = load(tmp_path / "model")
    rows = np.random.default_rng(1).normal(size=(5, 30))
    assert again.layers[0].tile == 4 and (again.predict(rows) == network.predict(rows)).all()
    close = quantize(network, 8).predict(rows)
    assert np.abs(close - network.predict(rows)).max() < 0.1


def test_the_papers_map_is_written_as_before(tmp_path):
    """Files of networks without tiles have format 1 and no word of them."""
    for tile, wanted in ((1, b'\\"format\\": 1'), (2, b'\\"format\\": 2')):
        save(mlp([9, 4, 3], compression=1 / 2, tile=tile), tmp_path / "model")
        content = (tmp_path / "model").read_bytes()
        assert wanted in content and (b"tile" in content) == (tile > 1)


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
