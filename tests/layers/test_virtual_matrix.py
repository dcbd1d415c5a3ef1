"""VirtualMatrix: its inputs in the order of their places, and layers that are a few lines over it."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash import kernels, virtual_matrix
from minihash.gradient_check import check_gradients
from minihash.kernels import numba_cpu, numpy_cpu, panels
from minihash.kernels.devices import CPU
from minihash.layers import Layer
from minihash.maps import BucketMap
from minihash.virtual_matrix import VirtualMatrix

SEED = 2015
both_twins = pytest.mark.parametrize("twin", [numba_cpu, numpy_cpu], ids=["numba", "numpy"])
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])


def integers(shape, dtype=np.float64, seed=0):
    """Whole numbers, so that sums are exact in any order."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


# ----------------------------------------------------------------------------- order of the inputs


@st.composite
def matrices(draw):
    """A virtual matrix, and how many of its columns are inputs: all, or all but a bias."""
    columns, signed = draw(st.integers(2, 12)), draw(st.booleans())
    tile = draw(st.integers(1, columns))
    matrix = VirtualMatrix(BucketMap(20, SEED, columns, tile, signed), draw(st.integers(1, 9)), columns)
    return matrix, columns - draw(st.integers(0, 1))


@both_twins
@every_dtype
@pytest.mark.parametrize("small", [True, False])
@given(case=matrices(), batch=st.integers(0, 10))
def test_inputs_are_signed_and_put_in_their_places(twin, dtype, small, case, batch):
    matrix, features = case
    map, inputs = matrix.map, integers((batch, features), dtype)
    width = map.segments * map.tile
    ref = np.zeros((batch, width), dtype)
    places = range(width) if map.tile == 1 else naive.tile_places(SEED, map.columns)
    for j, place in zip(range(map.columns), places):
        sign = 1 if map.tile == 1 else naive.column_sign(SEED, j, map.signed)
        ref[:, place] = sign * (inputs[:, j] if j < features else 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "module", lambda: twin)
        patch.setattr(panels, "SMALL_BATCH", 10**9 if small else -1)
        patch.setattr(panels, "SMALL_WORK", -1)
        arranged = matrix._arrange(inputs, CPU)
        if arranged.shape[1] == features < width:  # the bias's 1 is left to the panels
            assert map.tile == 1 and not small and arranged is inputs
            arranged = np.hstack([arranged, np.ones((batch, 1), dtype)])
        np.testing.assert_array_equal(arranged, ref)
        assert arranged.dtype == dtype

        grad_arranged = integers(arranged.shape, dtype, seed=1)
        grad_inputs = matrix._arrange_back(grad_arranged, features, CPU)
        linear = ref - matrix._arrange(np.zeros_like(inputs), CPU) if map.tile > 1 else inputs
    assert grad_inputs.shape == inputs.shape and grad_inputs.dtype == dtype
    transposed = (linear * grad_arranged[:, : linear.shape[1]]).sum()
    assert transposed == (inputs * grad_inputs).sum()


def test_single_weights_take_inputs_as_they_are():
    matrix, inputs = VirtualMatrix(BucketMap(4, SEED, 3), 2, 3), integers((2, 3), np.float32)
    assert matrix._arrange(inputs, CPU) is inputs


# ------------------------------------------------------------------------------- layers over it


class Hashed(Layer):
    """What layers over a virtual matrix of these tests have in common: their weights."""

    def __init__(self, matrix: VirtualMatrix, dtype: str, **arguments: int) -> None:
        super().__init__(dtype)
        self.matrix, self.arguments = matrix, arguments
        weight = np.random.default_rng(1).normal(size=matrix.map.num_buckets)
        self.params["weight"] = weight.astype(self.dtype)
        self.grads["weight"] = np.zeros_like(self.params["weight"])

    def config(self):
        return {**super().config(), **self.arguments}

    def multiply(self, inputs):
        return self.matrix.multiply(inputs, self.params["weight"], self.dtype, self.device)

    def gradients(self, saved, grad_outputs, need_grad_inputs):
        own = self.params["weight"], grad_outputs, self.grads["weight"]
        return self.matrix.gradients(saved, *own, need_grad_inputs, self.device)


class Embedding(Hashed):
    """An id becomes a column of V (size, count): it is multiplied by a row of the identity."""

    in_features = 1

    def __init__(self, count=15, size=12, num_buckets=20, tile=1, dtype="float32"):
        matrix = VirtualMatrix(BucketMap(num_buckets, SEED, count, tile), size, count)
        super().__init__(matrix, dtype, count=count, size=size, num_buckets=num_buckets, tile=tile)
        self.out_features = size

    def _forward(self, ids, training):
        return self.multiply(np.eye(self.matrix.columns, dtype=self.dtype)[ids[:, 0].real.astype(int)])

    def _backward(self, saved, grad_outputs, need_grad_inputs):
        self.gradients(saved, grad_outputs, False)
        return np.zeros((len(grad_outputs), 1), self.dtype) if need_grad_inputs else None


class Convolution(Hashed):
    """Patches of images (batch, side · side) times V (filters, patch · patch + 1), the last column a bias."""

    def __init__(self, side=5, patch=3, filters=12, num_buckets=20, tile=1, dtype="float32"):
        columns = patch * patch + 1
        matrix = VirtualMatrix(BucketMap(num_buckets, SEED, columns, tile), filters, columns)
        arguments = {"side": side, "patch": patch, "filters": filters}
        super().__init__(matrix, dtype, **arguments, num_buckets=num_buckets, tile=tile)
        self.side, self.patch, self.places = side, patch, side - patch + 1
        self.in_features, self.out_features = side * side, self.places**2 * filters

    def _forward(self, inputs, training):
        images = inputs.reshape(-1, self.side, self.side)
        patches = np.lib.stride_tricks.sliding_window_view(images, (self.patch, self.patch), axis=(1, 2))
        outputs, saved = self.multiply(patches.reshape(-1, self.patch**2))
        return outputs.reshape(len(inputs), -1), saved

    def _backward(self, saved, grad_outputs, need_grad_inputs):
        grad_patches = self.gradients(saved, grad_outputs.reshape(-1, self.matrix.rows), need_grad_inputs)
        if grad_patches is None:
            return None
        shape = -1, self.places, self.places, self.patch, self.patch
        grad_patches, n = grad_patches.reshape(shape), self.places
        grad_images = np.zeros((len(grad_outputs), self.side, self.side), self.dtype)
        for y, x in np.ndindex(self.patch, self.patch):
            grad_images[:, y : y + n, x : x + n] += grad_patches[..., y, x]
        return grad_images.reshape(len(grad_outputs), -1)


def virtual(layer):
    matrix, map = layer.matrix, layer.matrix.map
    lookup = naive.tiles(map.seed, map.num_buckets, map.columns, map.tile, map.signed)
    return naive.virtual_matrix(layer.params["weight"], lookup, matrix.rows, matrix.columns)


@pytest.fixture(params=[0, np.inf], ids=["shared", "panels"])
def products(request, monkeypatch):
    """Products shared by rows wherever there are fewer tiles than those, or never."""
    monkeypatch.setattr(panels, "SMALL_WORK", 0)
    monkeypatch.setattr(virtual_matrix, "ADDITION", request.param)


every_tile = pytest.mark.parametrize("tile", [1, 4])
batches = pytest.mark.parametrize("batch", [1, 7])


@every_tile
@batches
def test_an_embedding(products, tile, batch):
    layer = Embedding(tile=tile, dtype="float64")
    ids = np.random.default_rng(2).integers(0, 15, (batch, 1))
    np.testing.assert_array_equal(layer.forward(ids), virtual(layer).T[ids[:, 0]])
    check_gradients(layer, ids).raise_for_errors()

    layer.forward([[3], [5], [3]], training=True)
    layer.backward(np.ones((3, 12)), need_grad_inputs=False)
    lookup = naive.tiles(SEED, 20, 15, tile)
    ref = np.zeros(20)
    for column in (3, 5, 3):
        for i in range(12):
            bucket, sign = lookup(i, column)
            ref[bucket] += sign
    np.testing.assert_array_equal(layer.grads["weight"], ref)


@every_tile
@batches
def test_a_convolution(products, tile, batch):
    layer = Convolution(tile=tile, dtype="float64")
    images = np.random.default_rng(2).normal(size=(batch, 25))
    V, ref = virtual(layer), np.empty((batch, 3, 3, 12))
    for n, y, x in np.ndindex(batch, 3, 3):
        patch = images[n].reshape(5, 5)[y : y + 3, x : x + 3]
        ref[n, y, x] = V[:, :-1] @ patch.ravel() + V[:, -1]
    np.testing.assert_allclose(layer.forward(images), ref.reshape(batch, -1), rtol=1e-12)
    check_gradients(layer, images).raise_for_errors()


@pytest.mark.parametrize("kind", [Embedding, Convolution])
def test_a_wrong_gradient_of_such_a_layer_is_caught(kind, products):
    class Wrong(kind):
        def gradients(self, *arguments):
            grad_inputs = super().gradients(*arguments)
            self.grads["weight"][2] *= 1.001
            return grad_inputs

    inputs = np.arange(7)[:, None] if kind is Embedding else np.random.default_rng(2).normal(size=(7, 25))
    report = check_gradients(Wrong(tile=4, dtype="float64"), inputs)
    assert {(offender.name, offender.index) for offender in report.offenders} == {("weight", (2,))}


# --------------------------------------------------------------------------------- which way is taken


def matrix_of(rows, columns, num_buckets, tile):
    return VirtualMatrix(BucketMap(num_buckets, SEED, columns, tile), rows, columns)


@pytest.mark.parametrize(
    "rows, num_buckets, shares",
    [(64, 1024, False), (64, 992, True), (64, 1056, False), (66, 1024, True), (62, 1024, False)],
)
def test_products_are_shared_where_that_costs_less(rows, num_buckets, shares):
    """T · 32 + 16 · rows < 32 · rows; equal where T is half of the rows."""
    assert matrix_of(rows, 100, num_buckets, 32).shares is shares


@pytest.mark.parametrize("batch, shares", [(1, False), (32, False), (33, True)])
def test_products_of_a_block_at_least_are_shared(batch, shares):
    assert matrix_of(128, 64, 64, 32)._shares(batch) is shares  # 32 · 128 · 64 multiplications are 2¹⁸


@pytest.mark.parametrize(
    "rows, columns, tile, batch, in_order",
    [
        (64, 4096, 2, 65, True),  # as large as a panel
        (64, 4096, 2, 64, False),
        (64, 4096, 2, 32, False),
        (64, 4097, 2, 65, False),
        (64, 4096, 1, 65, False),
        (8, 64, 2, 512, False),  # 2¹⁸ multiplications are one call
        (8, 64, 2, 513, True),
    ],
)
def test_rows_are_put_in_order_where_they_are_few(rows, columns, tile, batch, in_order):
    assert matrix_of(rows, columns, 100, tile)._puts_rows_in_order(batch) is in_order


@pytest.mark.parametrize(
    "rows, num_buckets, tile, copies",
    [(30, 100, 1, 3), (30, 300, 1, 1), (30, 400, 1, 0), (30, 100, 2, 0), (1000, 640, 32, 1)],
)
def test_training_keeps_copies_of_the_gradient(rows, num_buckets, tile, copies):
    """Of single weights four at most, and together half of V; of tiles another where products are shared."""
    assert matrix_of(rows, 40, num_buckets, tile).training_bytes(4, CPU) == copies * num_buckets * 4
