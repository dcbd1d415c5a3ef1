"""What holds for every layer, whatever it computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.paper import strategies  # noqa: F401, which draw the two
from benchmarks.paper.low_rank_linear import LowRankLinear
from benchmarks.paper.sparse_linear import SparseLinear
from minihash import (
    Dropout,
    HashedLinear,
    Linear,
    ReLU,
    Sigmoid,
    Tanh,
    testing,
)

BATCH, FEATURES = 4, 6
MAKE = {
    "hashed bias": lambda **k: HashedLinear(FEATURES, 5, num_buckets=7, seed=1, **k),
    "free bias": lambda **k: HashedLinear(FEATURES, 5, num_buckets=7, bias="free", **k),
    "no bias": lambda **k: HashedLinear(FEATURES, 5, num_buckets=7, bias="none", **k),
    "unsigned": lambda **k: HashedLinear(FEATURES, 5, num_buckets=7, signed=False, **k),
    "tiles": lambda **k: HashedLinear(FEATURES, 5, num_buckets=8, tile=3, **k),
    "tiles, free bias": lambda **k: HashedLinear(FEATURES, 5, num_buckets=8, tile=2, bias="free", **k),
    "dense": lambda **k: Linear(FEATURES, 5, **k),
    "dense, no bias": lambda **k: Linear(FEATURES, 5, bias=False, **k),
    "sparse": lambda **k: SparseLinear(FEATURES, 5, num_weights=13, **k),
    "sparse, rows without edges": lambda **k: SparseLinear(FEATURES, 5, num_weights=3, **k),
    "low rank": lambda **k: LowRankLinear(FEATURES, 5, rank=3, **k),
    "relu": ReLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "dropout": lambda **k: Dropout(0.3, **k),
}
every_layer = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())
with_weights = pytest.mark.parametrize("make", list(MAKE.values())[:11], ids=list(MAKE)[:11])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
dtypes = st.sampled_from([np.float32, np.float64])


def integers(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def trained(make, **arguments):
    """A layer after a training forward; its inputs, outputs and gradients of outputs."""
    layer = make(**arguments)
    for seed, param in enumerate(layer.params.values()):
        param[...] = integers(param.shape, param.dtype, seed)
    inputs = integers((BATCH, FEATURES), layer.dtype, seed=10)
    outputs = layer.forward(inputs, training=True)
    return layer, inputs, outputs, integers(outputs.shape, layer.dtype, seed=11)


def gradients(layer, grad_outputs):
    """Copies of all gradients, those of the inputs first."""
    grad_inputs = layer.backward(grad_outputs)
    return [grad_inputs.copy(), *(grad.copy() for grad in layer.grads.values())]


def assert_all_equal(comps, refs):
    assert len(comps) == len(refs)
    for comp, ref in zip(comps, refs):
        np.testing.assert_array_equal(comp, ref)


@every_layer
@both_dtypes
def test_shapes_and_dtypes(make, dtype):
    layer, inputs, outputs, grad_outputs = trained(make, dtype=dtype)
    assert outputs.shape == (BATCH, layer.out_features or FEATURES)
    assert outputs.dtype == layer.forward(inputs).dtype == dtype
    grad_inputs = layer.backward(grad_outputs)
    assert grad_inputs.shape == inputs.shape and grad_inputs.dtype == dtype
    assert layer.params.keys() == layer.grads.keys()
    for name, param in layer.params.items():
        assert param.shape == layer.grads[name].shape
        assert param.dtype == layer.grads[name].dtype == dtype


@given(data=st.data(), dtype=dtypes, seed=testing.seeds(), integers=st.booleans())
def test_backward_is_the_adjoint_of_forward(data, dtype, seed, integers):
    layer = data.draw(testing.layers(dtype=dtype))
    inputs = data.draw(testing.batches(layer, integers=integers))
    testing.assert_adjoint(layer, inputs, seed)


@given(data=st.data(), dtype=dtypes, training=st.booleans())
def test_arguments_and_parameters_are_not_changed(data, dtype, training):
    layer = data.draw(testing.layers(dtype=dtype))
    inputs = data.draw(testing.batches(layer)).astype(dtype)
    grad_outputs = np.cos(layer.forward(inputs))
    for array in (inputs, grad_outputs, *layer.params.values()):
        array.flags.writeable = False  # writing would raise
    layer.forward(inputs, training=training)
    testing.assert_does_not_mutate(layer, inputs, grad_outputs)


@given(data=st.data(), dtype=dtypes, seed=testing.seeds())
def test_outputs_are_linear_in_the_weights(data, dtype, seed):
    kinds = HashedLinear, Linear, LowRankLinear, SparseLinear
    layer = data.draw(testing.layers(kinds=kinds, dtype=dtype))
    testing.assert_linear_in_weights(layer, data.draw(testing.batches(layer)), seed)


@given(data=st.data(), dtype=dtypes, integers=st.booleans())
def test_gradient_of_a_bucket_is_the_sum_over_it(data, dtype, integers):
    layer = data.draw(testing.layers(kinds=(HashedLinear,), dtype=dtype))
    inputs = data.draw(testing.batches(layer, integers=integers)).astype(dtype)
    grad_outputs = np.cos(layer.forward(inputs))
    testing.assert_sum_over_bucket(layer, inputs, grad_outputs)


@given(layer=testing.layers(kinds=(HashedLinear,)))
def test_the_map_is_a_function(layer):
    testing.assert_map_is_a_function(layer)


@every_layer
def test_results_alias_nothing_of_the_caller_nor_the_parameters(make):
    layer, inputs, outputs, grad_outputs = trained(make)
    grad_inputs = layer.backward(grad_outputs)
    params, grads = list(layer.params.values()), list(layer.grads.values())
    results = [outputs, layer.forward(inputs), grad_inputs, *grads]
    for n, result in enumerate(results):
        for other in [inputs, grad_outputs, *params, *results[:n]]:
            assert not np.shares_memory(result, other)


@every_layer
def test_results_stay_what_they_were(make):
    # A buffer returned twice would be overwritten by the second call.
    layer, inputs, outputs, grad_outputs = trained(make)
    kept = outputs.copy()
    grad_inputs = layer.backward(grad_outputs)
    kept_grad = grad_inputs.copy()
    layer.forward(inputs + 1, training=True)
    layer.backward(grad_outputs + 1)
    assert_all_equal((outputs, grad_inputs), (kept, kept_grad))


@every_layer
def test_backward_needs_a_training_forward(make):
    layer, grad_outputs = make(), np.zeros((BATCH, FEATURES))
    with pytest.raises(RuntimeError, match=r"backward needs a forward\(inputs, training=True\)"):
        layer.backward(grad_outputs)
    layer.forward(np.zeros((BATCH, FEATURES)))
    with pytest.raises(RuntimeError, match=type(layer).__name__):
        layer.backward(grad_outputs)


@every_layer
def test_evaluation_in_between_does_not_disturb_backward(make):
    layer, inputs, _, grad_outputs = trained(make)
    refs = gradients(layer, grad_outputs)
    layer.forward(np.vstack([inputs, 2 * inputs - 1]))
    assert_all_equal(gradients(layer, grad_outputs), refs)


@every_layer
def test_backward_belongs_to_the_last_training_forward(make):
    layer, inputs, _, grad_outputs = trained(make)
    other = np.flip(inputs, axis=0)[:2]
    comp = layer.forward(other, training=True)
    with pytest.raises(ValueError, match="grad_outputs has shape"):
        layer.backward(grad_outputs)
    comps = [comp, *gradients(layer, grad_outputs[:2])]

    fresh, *_ = trained(make)
    refs = [fresh.forward(other, training=True), *gradients(fresh, grad_outputs[:2])]
    assert_all_equal(comps, refs)


@every_layer
def test_backward_overwrites_the_gradients_in_place(make):
    layer, _, _, grad_outputs = trained(make)
    arrays = list(layer.grads.values())
    refs = gradients(layer, grad_outputs)
    assert_all_equal(gradients(layer, grad_outputs), refs)
    assert all(comp is ref for comp, ref in zip(layer.grads.values(), arrays))


@every_layer
def test_gradient_of_the_inputs_is_none_where_not_needed(make):
    layer, _, _, grad_outputs = trained(make)
    _, *refs = gradients(layer, grad_outputs)
    for grad in layer.grads.values():
        grad.fill(np.nan)
    assert layer.backward(grad_outputs, need_grad_inputs=False) is None
    assert_all_equal(list(layer.grads.values()), refs)


@every_layer
def test_rows_do_not_see_each_other(make):
    layer, inputs, _, _ = trained(make)
    refs = [layer.forward(row[None]) for row in inputs]
    np.testing.assert_allclose(layer.forward(inputs), np.vstack(refs), rtol=1e-6)


@every_layer
def test_no_rows_give_no_outputs_and_zero_gradients(make):
    layer, inputs, outputs, grad_outputs = trained(make)
    assert layer.forward(inputs[:0], training=True).shape == outputs[:0].shape
    assert layer.backward(grad_outputs[:0]).shape == (0, FEATURES)
    assert not any(grad.any() for grad in layer.grads.values())


VARIANTS = {
    "Fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
    "backwards": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "big-endian": lambda a: a.astype(">f4"),
    "float16": lambda a: a.astype(np.float16),
    "float64": lambda a: a.astype(np.float64),
    "int64": lambda a: a.astype(np.int64),
    "int8": lambda a: a.astype(np.int8),
    "list": lambda a: a.tolist(),
}


@every_layer
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_equal_numbers_give_equal_results(make, variant):
    layer, _, ref, grad_outputs = trained(make)
    refs = [ref, *gradients(layer, grad_outputs)]
    layer, inputs, _, grad_outputs = trained(make)
    if isinstance(layer, Dropout):
        layer.row = 0  # the same mask again
    comp = layer.forward(variant(inputs), training=True)
    assert comp.dtype == layer.dtype
    assert_all_equal([comp, *gradients(layer, variant(grad_outputs))], refs)


@every_layer
@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_pixels_and_masks_are_numbers(make, dtype):
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, FEATURES)).astype(dtype)
    layer, *_ = trained(make)
    ref = layer.forward(pixels.astype(np.float32))
    np.testing.assert_array_equal(layer.forward(pixels), ref)


@every_layer
@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros(FEATURES),
        np.zeros((2, 2, FEATURES)),
        np.float32(1),
        np.full((BATCH, FEATURES), "1"),
        np.full((BATCH, FEATURES), None),
        np.zeros((BATCH, FEATURES), np.complex128),
        np.zeros((BATCH, FEATURES), "datetime64[s]"),
    ],
    ids=lambda a: f"{a.shape} {a.dtype}",
)
def test_refuses_inputs_and_gradients(make, inputs):
    layer, *_ = trained(make)
    with pytest.raises(ValueError, match="^inputs has .*wanted"):
        layer.forward(inputs)
    with pytest.raises(ValueError, match="^grad_outputs has .*wanted"):
        layer.backward(inputs)


@with_weights
def test_refuses_another_number_of_features(make):
    layer, inputs, _, grad_outputs = trained(make)
    for wrong in (inputs[:, 1:], np.hstack([inputs, inputs])):
        with pytest.raises(ValueError, match=rf"inputs has shape .*wanted \(batch, {FEATURES}\)"):
            layer.forward(wrong)
    for wrong in (grad_outputs[:, 1:], grad_outputs[1:], grad_outputs.T):
        with pytest.raises(ValueError, match="grad_outputs has shape"):
            layer.backward(wrong)


@with_weights
def test_parameters_changed_in_place_are_seen_at_the_next_call(make):
    layer, inputs, before, grad_outputs = trained(make)
    grad_before = layer.backward(grad_outputs)
    for param in layer.params.values():
        param *= 2
    np.testing.assert_array_equal(layer.forward(inputs), 2 * before)
    np.testing.assert_array_equal(layer.backward(grad_outputs), 2 * grad_before)


@with_weights
def test_weight_is_assigned_in_place(make):
    layer, inputs, before, _ = trained(make)
    array, values = layer.weight, 3 * layer.weight
    layer.weight = values
    assert layer.weight is layer.params["weight"] is array
    np.testing.assert_array_equal(array, values)
    values.fill(0)
    assert array.any()
    for wrong in (array[:-1], array[None], 1.0):
        with pytest.raises(ValueError, match="^weight has shape"):
            layer.weight = wrong


@every_layer
def test_config_makes_the_same_layer_again(make):
    layer = make(dtype=np.float64)
    comp = type(layer)(**layer.config())
    assert repr(comp) == repr(layer) and comp.config() == layer.config()
    assert_all_equal(list(comp.params.values()), list(layer.params.values()))
    inputs = integers((BATCH, FEATURES))
    ref = layer.forward(inputs, training=True)
    np.testing.assert_array_equal(comp.forward(inputs, training=True), ref)


@with_weights
def test_shapes_of_parameters_are_known_from_the_config(make):
    layer = make()
    ref = {name: param.shape for name, param in layer.params.items()}
    assert type(layer).param_shapes(layer.config()) == ref
    assert layer.num_parameters == sum(param.size for param in layer.params.values())


@every_layer
def test_building_a_layer_leaves_global_random_state_alone(make):
    before = np.random.get_state()
    first = make()
    np.random.random(3)  # nor does the state matter
    second = make()
    np.random.set_state(before)
    make()
    after = np.random.get_state()
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]
    assert_all_equal(list(first.params.values()), list(second.params.values()))
