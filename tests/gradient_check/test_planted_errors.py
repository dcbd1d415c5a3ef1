"""Every planted error is caught, in layers and inside networks, small and large, and its place is named."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest

from minihash import HashedLinear, Linear, Network, ReLU, Tanh, kernels
from minihash.gradient_check import GradientError, check, check_gradients
from minihash.kernels import numpy_cpu, panels, shared
from minihash.testing import randomize

pytestmark = pytest.mark.slow  # one by one in networks of all kinds

BATCH, IN, OUT, BUCKETS, SEED = 3, 5, 6, 8, 3
INPUTS = np.random.default_rng(0).uniform(0.2, 1.5, (BATCH, IN)) * [1, -1, 1, 1, -1]
I, J = 2, 3  # the virtual weight that errors are planted in
TILES = {"single weights": 1, "shared products": 2}
every_size = pytest.mark.parametrize("max_coordinates", [1000, 0], ids=["every place", "bisected"])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def planted(damage, kind=HashedLinear):
    """A layer whose `backward` is followed by `damage(layer, inputs, grad_outputs, grad_inputs)`."""

    class Planted(kind):
        def _forward(self, inputs, training):
            self.given = inputs
            return super()._forward(inputs, training)

        def _backward(self, saved, grad_outputs, need_grad_inputs):
            grad_inputs = super()._backward(saved, grad_outputs, need_grad_inputs)
            some = np.empty_like(self.given) if grad_inputs is None else grad_inputs
            damage(self, self.given, grad_outputs, some)
            return grad_inputs

    return Planted


def hashed(kind=HashedLinear, **arguments):
    arguments = {"num_buckets": BUCKETS, "seed": SEED, "dtype": np.float64} | arguments
    return randomize(kind(IN, OUT, **arguments), 1)


def network(layer, position):
    """A network of float64 with `layer` below, between or above others."""
    dtype = layer.dtype
    below = [HashedLinear(4, IN, num_buckets=9, seed=100, dtype=dtype), Tanh(dtype)]
    above = [Tanh(dtype), Linear(OUT, 7, dtype=dtype), ReLU(dtype), Linear(7, 2, seed=1, dtype=dtype)]
    layers = {"first": [layer, *above], "middle": [*below, layer, *above], "last": [*below, layer]}[position]
    return randomize(Network(layers), 2), layers.index(layer)


def assert_caught(report, places, diagnosis=""):
    """The report names exactly `places` (array -> indices), says why, and is the message of the error."""
    found: dict[str, set] = {}
    for offender in report.offenders:
        found.setdefault(offender.name, set()).add(offender.index)
        assert f"{offender.place}: claimed {offender.claimed:.8g}, expected" in str(offender)
    wanted = {name: set(map(as_index, indices)) for name, indices in places.items()}
    assert found == wanted
    wrong = {array.name for array in report.arrays if array.status == "WRONG"}
    assert wrong == places.keys()
    assert re.search(diagnosis, "\n".join(report.diagnosis)), report.diagnosis
    assert_raises(report)


def as_index(k):
    return (k,) if isinstance(k, (int, np.integer)) else k


def assert_raises(report):
    assert not report.ok
    with pytest.raises(GradientError) as caught:
        report.raise_for_errors()
    assert str(caught.value).strip() == str(report)
    for line in (*report.problems, *report.diagnosis):
        assert line in str(report)


# ------------------------------------------------------------------- errors of single buckets


def all_positions(layer):
    """Buckets and signs of every virtual weight, the bias column included."""
    return layer.bucket_map(np.arange(layer.out_features)[:, None], np.arange(layer.columns))


def contribution(layer, inputs, grad_outputs, i=I, j=J):
    """What V[i, j] adds to its bucket's gradient."""
    bucket, sign = (int(value[0]) for value in layer.bucket_map(i, j))
    column = inputs[:, j] if j < layer.in_features else np.ones(len(inputs), inputs.dtype)
    return bucket, sign * (grad_outputs[:, i] * column).sum()


def bucket_of(layer, i=I, j=J):
    return int(layer.bucket_map(i, j)[0][0])


def other_than(bucket):
    return (bucket + 3) % BUCKETS


def occupied(layer):
    buckets = all_positions(layer)[0]
    assert len(np.unique(buckets)) == layer.num_buckets  # none is empty: each has a gradient
    return np.bincount(buckets.ravel())


def all_scaled(layer, inputs, grad_outputs, grad_inputs):
    layer.grads["weight"] *= 1.001


def one_scaled(layer, inputs, grad_outputs, grad_inputs):
    layer.grads["weight"][4] *= 1.001


def sign_missing(layer, inputs, grad_outputs, grad_inputs):
    bucket, part = contribution(layer, inputs, grad_outputs)
    layer.grads["weight"][bucket] -= 2 * part


def bucket_negated(layer, inputs, grad_outputs, grad_inputs):
    layer.grads["weight"][4] *= -1


def swapped(layer, inputs, grad_outputs, grad_inputs):
    layer.grads["weight"][[1, 6]] = layer.grads["weight"][[6, 1]]


def moved(layer, inputs, grad_outputs, grad_inputs):
    bucket, part = contribution(layer, inputs, grad_outputs)
    layer.grads["weight"][bucket] -= part
    layer.grads["weight"][other_than(bucket)] += part


def moved_to_two(layer, inputs, grad_outputs, grad_inputs):
    bucket, part = contribution(layer, inputs, grad_outputs)
    layer.grads["weight"][bucket] -= part
    layer.grads["weight"][[other_than(bucket), other_than(other_than(bucket))]] += part


def left_out(layer, inputs, grad_outputs, grad_inputs):
    bucket, part = contribution(layer, inputs, grad_outputs)
    layer.grads["weight"][bucket] -= part


def doubled(layer, inputs, grad_outputs, grad_inputs):
    bucket, part = contribution(layer, inputs, grad_outputs)
    layer.grads["weight"][bucket] += part


def mean(layer, inputs, grad_outputs, grad_inputs):
    layer.grads["weight"] /= occupied(layer)


def bias_twice(layer, inputs, grad_outputs, grad_inputs):
    for i in range(layer.out_features):
        bucket, part = contribution(layer, inputs, grad_outputs, i, layer.in_features)
        layer.grads["weight"][bucket] += part


def all_buckets(layer):
    return range(layer.num_buckets)


def buckets_of_the_bias(layer):
    return set(all_positions(layer)[0][:, -1].tolist())


AT = rf"V\({I}, {J}\)"
ERRORS = {
    "all times 1.001": (all_scaled, all_buckets, f"all {BUCKETS} wrong buckets are 1.001 times"),
    "one times 1.001": (one_scaled, lambda layer: {4}, r"bucket 4: 1\.001 times what it should be$"),
    "a sign of one virtual weight": (
        sign_missing,
        lambda layer: {bucket_of(layer)},
        f"bucket {{here}}: {AT} with the wrong sign",
    ),
    "a sign of a whole bucket": (
        bucket_negated,
        lambda layer: {4},
        "bucket 4: the whole sum has the wrong sign",
    ),
    "two buckets swapped": (
        swapped,
        lambda layer: {1, 6},
        r"bucket 1: has the sum of bucket 6\n\S+ bucket 6: has the sum of bucket 1$",
    ),
    "a contribution to another bucket": (
        moved,
        lambda layer: {bucket_of(layer), other_than(bucket_of(layer))},
        f"bucket {{here}}: {AT} left out, found in bucket {{other}}",
    ),
    "a contribution to two other buckets: which it belongs to nobody can tell": (
        moved_to_two,
        lambda layer: {
            bucket_of(layer),
            other_than(bucket_of(layer)),
            other_than(other_than(bucket_of(layer))),
        },
        f"bucket {{here}}: {AT} left out$",
    ),
    "a contribution left out": (
        left_out,
        lambda layer: {bucket_of(layer)},
        f"bucket {{here}}: {AT} left out$",
    ),
    "a contribution doubled": (
        doubled,
        lambda layer: {bucket_of(layer)},
        f"bucket {{here}}: {AT} counted twice$",
    ),
    "mean instead of sum": (
        mean,
        lambda layer: np.flatnonzero(occupied(layer) > 1),
        "the means over the buckets, wanted the sums",
    ),
    "the bias twice": (
        bias_twice,
        buckets_of_the_bias,
        rf"column {IN} \(the bias\) of V counted twice$",
    ),
}
every_error = pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)


def sentence(name, pattern, layer):
    """The pattern of a diagnosis, its buckets filled in; nothing where nothing need be said."""
    bucket = bucket_of(layer)
    pattern = pattern.replace("{here}", str(bucket)).replace("{other}", str(other_than(bucket)))
    return pattern and f"(?m)^{re.escape(name)}: {pattern}"


@every_error
@every_size
@pytest.mark.parametrize("tile", TILES.values(), ids=TILES)
def test_in_a_layer(error, max_coordinates, tile, share_always):
    damage, buckets, pattern = error
    layer = hashed(planted(damage), tile=tile)
    assert layer.matrix.shares == (tile > 1)
    report = check_gradients(layer, INPUTS, max_coordinates=max_coordinates)
    assert_caught(report, {"weight": buckets(layer)}, sentence("weight", pattern, layer))


@every_error
@pytest.mark.parametrize("position", ["first", "middle", "last"])
def test_inside_a_network(error, position):
    damage, buckets, pattern = error
    whole, place = network(hashed(planted(damage)), position)
    layer = whole.layers[place]
    inputs = INPUTS[:, : whole.in_features]
    report = check_gradients(whole, inputs)
    name = f"{place}.weight"
    assert_caught(report, {name: buckets(layer)}, sentence(name, pattern, layer))


@every_error
def test_in_a_layer_of_float32(error):
    damage, buckets, pattern = error
    layer = hashed(planted(damage), dtype=np.float32)
    report = check_gradients(layer, INPUTS)
    assert [a.precision for a in report.arrays if a.name == "weight"] == ["float64", "float32"]
    assert_caught(report, {"weight": buckets(layer)}, sentence("weight", pattern, layer))
    assert {offender.precision for offender in report.offenders} == {"float64, complex step"}


@pytest.mark.parametrize("seed", range(5))
def test_bisection_finds_few_places_among_many(seed):
    places = np.random.default_rng(seed).choice(500, 5, replace=False)

    def damage(layer, *_):
        layer.grads["weight"][places] *= 1.001

    layer = randomize(planted(damage)(40, 50, num_buckets=500, seed=seed, dtype=np.float64), 1)
    inputs = np.random.default_rng(1).normal(size=(4, 40))
    report = check_gradients(layer, inputs, max_coordinates=499, seed=seed)
    weight = next(array for array in report.arrays if array.name == "weight")
    assert weight.checked == "8 directions"
    assert_caught(report, {"weight": places.tolist()})
    assert len(report.offenders) == 5  # none of them twice, although several directions see it


def test_one_direction_sees_what_two_places_exchange():
    # ±1 in both places would hide it in every second direction.
    layer = hashed(planted(moved))
    wanted = {(bucket_of(layer),), (other_than(bucket_of(layer)),)}
    for seed in range(12):
        report = check_gradients(layer, INPUTS, max_coordinates=0, directions=1, seed=seed)
        assert {offender.index for offender in report.offenders} == wanted


def test_what_is_wrong_only_as_a_whole_is_reported_as_a_direction(monkeypatch):
    # A third of the tolerance at each place, always the same way: only sums of many are above theirs.
    monkeypatch.setattr(check, "random_direction", lambda rng, shape: np.ones(64))
    clean = check_gradients(lambda x: ((x**2).sum(), 2 * x), np.ones(64))
    error = clean.arrays[0].tolerances.min() / 3
    report = check_gradients(lambda x: ((x**2).sum(), 2 * x + error), np.ones(64), max_coordinates=0)
    assert_caught(report, {"inputs": [None]})
    assert "inputs along a random direction: claimed " in str(report)


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9])
@every_size
def test_small_errors(size, max_coordinates):
    def damage(layer, *_):
        layer.grads["weight"] *= 1 + size

    report = check_gradients(hashed(planted(damage)), INPUTS, max_coordinates=max_coordinates)
    assert_caught(report, {"weight": range(BUCKETS)})


def test_a_bad_bucket_is_told_with_all_that_share_it():
    layer = hashed(planted(one_scaled), num_buckets=12, seed=5)
    (offender,) = check_gradients(layer, INPUTS).offenders
    sharers = {(int(i), int(j)) for i, j in np.argwhere(all_positions(layer)[0] == 4)}
    assert 2 <= len(sharers) <= 6
    assert f"shared by {len(sharers)} virtual weights" in offender.note
    told = re.findall(r"V\((\d+), (\d+)\) ([-+.e\d]+)", offender.note)
    assert {(int(i), int(j)) for i, j, _ in told} == sharers
    assert sum(float(part) for *_, part in told) == pytest.approx(offender.expected, rel=2e-3)
    assert offender.claimed == pytest.approx(1.001 * offender.expected, rel=1e-9)
    assert f"{offender}" in str(check_gradients(layer, INPUTS))


@pytest.mark.parametrize("num_buckets, tile, tiles", [(12, 3, "tile 1"), (6, 5, "tiles 0, 1")])
def test_a_bad_bucket_is_told_with_its_tiles_and_the_rows_that_drew_them(num_buckets, tile, tiles):
    layer = hashed(planted(one_scaled), num_buckets=num_buckets, tile=tile, seed=4)
    (offender,) = check_gradients(layer, INPUTS).offenders
    rows = np.unique(np.argwhere(all_positions(layer)[0] == 4)[:, 0])
    assert 1 < len(rows) <= 6
    listed = ", ".join(map(str, rows))
    assert offender.note.startswith(f"in {tiles}, drawn by rows {listed}; shared by ")


# ------------------------------------------------------------------------------ other gradients


@pytest.mark.parametrize("kind", [HashedLinear, Linear, Tanh])
@every_size
def test_gradient_of_the_inputs(kind, max_coordinates):
    def damage(layer, inputs, grad_outputs, grad_inputs):
        grad_inputs[1:] *= 1.001

    kind, arguments = planted(damage, kind), {"dtype": np.float64}
    if not issubclass(kind, Tanh):
        arguments |= {"in_features": IN, "out_features": OUT}
    if issubclass(kind, HashedLinear):
        arguments |= {"num_buckets": BUCKETS}
    report = check_gradients(randomize(kind(**arguments), 1), INPUTS, max_coordinates=max_coordinates)
    assert_caught(report, {"inputs": {(n, j) for n in (1, 2) for j in range(IN)}})


def test_a_single_number_of_the_gradient_of_the_inputs():
    def damage(layer, inputs, grad_outputs, grad_inputs):
        grad_inputs[2, 1] *= -1

    assert_caught(check_gradients(hashed(planted(damage)), INPUTS), {"inputs": {(2, 1)}})


@pytest.mark.parametrize("factor", [1.001, 2.0, 1 / BATCH])
@every_size
def test_bias_of_its_own(factor, max_coordinates):
    def damage(layer, *_):
        layer.grads["bias"] *= factor

    dense = randomize(planted(damage, Linear)(IN, OUT, dtype=np.float64), 1)
    for layer in (dense, hashed(planted(damage), bias="free")):
        report = check_gradients(layer, INPUTS, max_coordinates=max_coordinates)
        assert_caught(report, {"bias": range(OUT)})
    whole, place = network(dense, "middle")
    report = check_gradients(whole, INPUTS[:, :4], max_coordinates=max_coordinates)
    assert_caught(report, {f"{place}.bias": range(OUT)})


def test_dense_weight_transposed():
    def damage(layer, *_):
        layer.grads["weight"][:] = layer.grads["weight"].T.copy()

    layer = randomize(planted(damage, Linear)(IN, IN, dtype=np.float64), 1)
    places = {(i, j) for i in range(IN) for j in range(IN) if i != j}
    assert_caught(check_gradients(layer, INPUTS), {"weight": places})


def test_a_factor_on_the_way_down_is_wrong_in_all_that_lies_below():
    def damage(layer, inputs, grad_outputs, grad_inputs):
        grad_inputs *= 1.001

    whole, place = network(hashed(planted(damage)), "middle")
    report = check_gradients(whole, INPUTS[:, :4])
    wrong = {array.name for array in report.arrays if array.status == "WRONG"}
    assert wrong == {"inputs", "0.weight"} and place > 0
    assert re.search(r"0.weight: all \d wrong buckets are 1.001 times", report.diagnosis[0])


@pytest.mark.parametrize("tile", TILES.values(), ids=TILES)
def test_a_factor_in_the_package_itself(tile, monkeypatch, share_always):
    module = shared if tile > 1 else panels
    right = module.gradients

    def wrong(inputs, weight, map, grad_outputs, grad_weight, *rest):
        right(inputs, weight, map, grad_outputs, grad_weight, *rest)
        grad_weight *= 1.001

    monkeypatch.setattr(module, "gradients", wrong)
    report = check_gradients(hashed(bias="none", tile=tile), INPUTS)
    assert_caught(report, {"weight": range(BUCKETS)}, f"all {BUCKETS} wrong buckets are 1.001 times")


def test_a_loss_whose_gradient_is_not_its_own():
    def loss(outputs, targets):
        return np.square(outputs - targets).sum(), outputs - targets

    report = check_gradients(hashed(), INPUTS, loss=loss, targets=np.ones((BATCH, OUT)))
    assert {array.status for array in report.arrays} == {"WRONG"}
    assert f"all {BUCKETS} wrong buckets are 0.5 times what they should be" in report.diagnosis[0]
    assert_raises(report)


# ------------------------------------------------------------------------------- dropped panels


@pytest.fixture
def panels_only(monkeypatch):
    """No product is too small for panels, and none is shared."""
    monkeypatch.setattr(panels, "SMALL_BATCH", 0)
    monkeypatch.setattr(panels, "SMALL_WORK", 0)


@pytest.fixture
def small_panels(monkeypatch, panels_only):
    monkeypatch.setattr(panels, "PANEL_SIZE", 6)
    monkeypatch.setattr(panels, "PANEL_SUMMED", 2)


def drop_last_block(monkeypatch, length):
    """Let the backward pass skip the last block of a dimension of that length; return the block."""
    blocks, gradients = panels._blocks, panels.gradients
    dropped = []

    def shorter(found, *arguments):
        every = blocks(found, *arguments)
        assert len(every) > 1 or found != length
        if found != length:
            return every
        dropped.append(every[-1])
        return every[:-1]

    def without_last(parts, *arguments):
        for part in parts:
            if part.grad_inputs is not None:
                part.grad_inputs[...] = 0  # what no panel fills has any contents
        with monkeypatch.context() as patch:
            patch.setattr(panels, "_blocks", shorter)
            gradients(parts, *arguments)

    monkeypatch.setattr(panels, "gradients", without_last)
    return dropped


@pytest.mark.parametrize("tile", [1, 5])
@pytest.mark.parametrize(
    "bias, max_coordinates",
    [("none", 1000), ("free", 1000), ("hashed", 1000), ("none", 10)],
)
def test_dropped_last_panel_of_rows(bias, max_coordinates, tile, small_panels, monkeypatch):
    layer = hashed(num_buckets=12, bias=bias, tile=tile)
    dropped = drop_last_block(monkeypatch, OUT)
    report = check_gradients(layer, INPUTS, max_coordinates=max_coordinates)
    rows = range(*dropped[0])
    assert 0 < len(rows) < OUT
    buckets = layer.bucket_map(np.array(rows)[:, None], np.arange(layer.columns))[0]
    places = {"weight": np.unique(buckets), "inputs": np.ndindex(BATCH, IN)}
    lines = f"row{'s' * (len(rows) > 1)} {', '.join(str(row) for row in rows)} of V left out"
    assert_caught(report, places, f"^weight: {lines}$")


@pytest.mark.parametrize("bias, tile", [("none", 1), ("free", 1), ("hashed", 1), ("free", 5)])
def test_dropped_last_panel_of_columns(bias, tile, small_panels, monkeypatch):
    layer = hashed(num_buckets=12, bias=bias, tile=tile)
    dropped = drop_last_block(monkeypatch, IN)
    report = check_gradients(layer, INPUTS)
    order = np.argsort(layer.bucket_map.places)  # of the columns in a panel
    columns = sorted(order[slice(*dropped[0])].tolist())
    assert 0 < len(columns) < IN
    buckets = layer.bucket_map(np.arange(OUT)[:, None], np.array(columns))[0]
    places = {"weight": np.unique(buckets), "inputs": {(n, j) for n in range(BATCH) for j in columns}}
    lines = f"column{'s' * (len(columns) > 1)} {', '.join(str(column) for column in columns)} of V left out$"
    assert_caught(report, places, f"^weight: {lines}")


def test_dropped_last_panel_among_many_buckets(panels_only, monkeypatch):
    layer = randomize(HashedLinear(120, 100, compression=1 / 10, bias="none", dtype=np.float64), 1)
    monkeypatch.setattr(panels, "PANEL_SUMMED", 4)
    monkeypatch.setattr(panels, "PANEL_SIZE", 480)
    dropped = drop_last_block(monkeypatch, 100)
    inputs = np.random.default_rng(0).normal(size=(2, 120))
    report = check_gradients(layer, inputs, max_coordinates=100)
    rows = range(*dropped[0])
    assert 1 < len(rows) < 10
    lost = layer.bucket_map(np.array(rows)[:, None], np.arange(120))[0]
    wrong = {offender.index[0] for offender in report.offenders if offender.name == "weight"}
    assert len(wrong) > 10 and wrong <= set(lost.ravel().tolist())
    assert report.diagnosis == [f"weight: rows {', '.join(map(str, rows))} of V left out"]


def test_dropped_panel_inside_a_network(small_panels, monkeypatch):
    whole, place = network(hashed(num_buckets=12, bias="none"), "middle")
    drop_last_block(monkeypatch, OUT)
    report = check_gradients(whole, INPUTS[:, :4])
    assert_raises(report)
    assert {array.name for array in report.arrays if array.offenders} == {
        "inputs",
        "0.weight",
        f"{place}.weight",
    }
    assert any(re.match(rf"{place}\.weight: rows .*\b{OUT - 1} of V left out", s) for s in report.diagnosis)


# ------------------------------------------------------------------- right values, wrong arrays


class Identity(Tanh):
    """Outputs are the inputs, but in memory of their own."""

    def _forward(self, inputs, training):
        return inputs.copy(), inputs

    def _backward(self, saved, grad_outputs, need_grad_inputs):
        return grad_outputs.copy()


def aliased_from_the_start(dtype):
    layer = hashed(dtype=dtype)
    layer.grads["weight"] = layer.params["weight"]
    return layer


def aliased_parameter(layer, *_):
    layer.params["weight"][...], layer.grads["weight"] = layer.grads["weight"], layer.params["weight"]


def two_gradients_of_one_buffer(layer, *_):
    buffer = np.concatenate([layer.grads["weight"], layer.grads["bias"]])
    layer.grads["weight"], layer.grads["bias"] = buffer[:BUCKETS], buffer[BUCKETS - 1 : -1]
    layer.grads["weight"][...] = buffer[:BUCKETS]


def accumulated(kind=HashedLinear):
    class Accumulated(kind):
        def _backward(self, *arguments):
            before = {name: grad.copy() for name, grad in self.grads.items()}
            grad_inputs = super()._backward(*arguments)
            for name, grad in before.items():
                self.grads[name] += grad
            return grad_inputs

    return Accumulated


class OverTheInputs(Identity):
    def _backward(self, saved, grad_outputs, need_grad_inputs):
        grad_inputs = saved[...]
        grad_inputs[...] = grad_outputs
        return grad_inputs


class OverTheGradOutputs(Identity):
    def _backward(self, saved, grad_outputs, need_grad_inputs):
        return grad_outputs


def change_inputs(layer, inputs, grad_outputs, grad_inputs):
    inputs *= 2


def change_grad_outputs(layer, inputs, grad_outputs, grad_inputs):
    grad_outputs[0] = 0


def change_parameters(layer, *_):
    layer.params["weight"] *= 0.999


ARRAYS = {
    "gradient is the parameter, from the start": (
        aliased_from_the_start,
        r"gradient of weight and the array weight share memory",
    ),
    "gradient is the parameter, from backward on": (
        lambda dtype: hashed(planted(aliased_parameter), dtype=dtype),
        r"gradient of weight and the array weight share memory",
    ),
    "two gradients overlap": (
        lambda dtype: hashed(planted(two_gradients_of_one_buffer), bias="free", dtype=dtype),
        r"gradient of weight and the gradient of bias share memory",
    ),
    "grad_inputs are the inputs": (
        OverTheInputs,
        r"gradient of inputs and (the array )?inputs share memory",
    ),
    "grad_inputs are the grad_outputs": (
        OverTheGradOutputs,
        r"gradient of inputs and (the array )?grad_outputs share memory",
    ),
    "gradients accumulate": (
        lambda dtype: hashed(accumulated(), dtype=dtype),
        r"gradient of weight .*accumulate",
    ),
    "a dense bias accumulates": (
        lambda dtype: randomize(accumulated(Linear)(IN, OUT, dtype=dtype), 1),
        r"gradient of bias .*accumulate",
    ),
    "inputs are changed": (  # of a dense layer, which keeps them: a small hashed one keeps a copy
        lambda dtype: randomize(planted(change_inputs, Linear)(IN, OUT, dtype=dtype), 1),
        r"change inputs",
    ),
    "grad_outputs are changed": (
        lambda dtype: hashed(planted(change_grad_outputs), dtype=dtype),
        r"change grad_outputs",
    ),
    "parameters are changed": (
        lambda dtype: hashed(planted(change_parameters), dtype=dtype),
        r"change .*weight",
    ),
}


@pytest.mark.parametrize("make, problem", ARRAYS.values(), ids=ARRAYS)
@both_dtypes
def test_arrays_that_alias_accumulate_or_change(make, problem, dtype):
    report = check_gradients(make(dtype), INPUTS)
    assert any(re.search(problem, found) for found in report.problems), report.problems
    assert_raises(report)
    assert "problem: " in str(report)


def test_gradients_of_two_layers_that_share_memory():
    def share(layer, *_):
        layer.grads["weight"] = BUFFER
        BUFFER[...] = 1

    BUFFER = np.zeros(BUCKETS)
    first = planted(share)(IN, IN, num_buckets=BUCKETS, seed=1, dtype=np.float64)
    second = planted(share)(IN, OUT, num_buckets=BUCKETS, seed=2, dtype=np.float64)
    report = check_gradients(Network([first, second]), INPUTS)
    assert any("of 0.weight and the gradient of 1.weight share memory" in line for line in report.problems)


def test_gradients_of_two_layers_that_share_memory_from_the_start():
    layers = [HashedLinear(IN, IN, num_buckets=BUCKETS, seed=seed, dtype=np.float64) for seed in (1, 2)]
    layers[0].grads["weight"] = layers[1].grads["weight"]
    report = check_gradients(Network(layers), INPUTS)
    assert any("of 0.weight and the gradient of 1.weight share memory" in line for line in report.problems)


def test_an_aliased_array_inside_a_network():
    whole, place = network(hashed(planted(aliased_parameter)), "middle")
    report = check_gradients(whole, INPUTS[:, :4])
    assert any(f"of {place}.weight and the array {place}.weight" in line for line in report.problems)


def test_a_right_layer_has_none_of_these_problems():
    for layer in (hashed(), hashed(bias="free", dtype=np.float32), Identity(np.float64)):
        assert check_gradients(layer, INPUTS).problems == []


# --------------------------------------------------------------------- wrong in float32 only


def damage_in_float32(monkeypatch, damage):
    """Let the kernel `aggregate` see a damaged panel."""
    right = numpy_cpu.KERNELS["element"]

    def aggregate(grad_panel, slots, span, grad_weight):
        if grad_panel.dtype == np.float32:
            grad_panel = damage(grad_panel.copy())
        right.aggregate(grad_panel, slots, span, grad_weight)

    monkeypatch.setattr(kernels, "get", lambda map: right._replace(aggregate=aggregate))


def assert_only_float32(report, name):
    assert not any(array.offenders for array in report.arrays if array.precision == "float64")
    assert [a.name for a in report.arrays if a.status == "WRONG" and a.precision == "float32"] == [name]
    assert all(offender.precision.startswith("float32") for offender in report.offenders)


def test_a_factor_in_the_float32_kernel(panels_only, monkeypatch):
    damage_in_float32(monkeypatch, lambda panel: 1.001 * panel)
    report = check_gradients(hashed(dtype=np.float32, bias="none"), INPUTS)
    assert_only_float32(report, "weight")
    assert_caught_in_float32(report, range(BUCKETS), f"all {BUCKETS} wrong buckets are 1.001 times")
    assert check_gradients(hashed(bias="none"), INPUTS).ok


def test_a_row_dropped_by_the_float32_kernel(panels_only, monkeypatch):
    def damage(panel):
        panel[-1] = 0
        return panel

    damage_in_float32(monkeypatch, damage)
    layer = hashed(dtype=np.float32, bias="none", num_buckets=12)
    report = check_gradients(layer, INPUTS)
    assert_only_float32(report, "weight")
    buckets = np.unique(layer.bucket_map(OUT - 1, np.arange(IN))[0])
    assert_caught_in_float32(report, buckets, f"row {OUT - 1} of V left out")


@pytest.mark.parametrize("max_coordinates", [1000, 0])
def test_one_number_wrong_in_float32(max_coordinates):
    def damage(layer, inputs, grad_outputs, grad_inputs):
        if layer.dtype == np.float32:
            grad_inputs[1, 2] *= 1.001

    layer = hashed(planted(damage), dtype=np.float32)
    report = check_gradients(layer, INPUTS, max_coordinates=max_coordinates)
    assert_only_float32(report, "inputs")
    assert [offender.index for offender in report.offenders] == [(1, 2)]


def test_no_virtual_weight_is_named_by_chance():
    # Among a hundred sharers of a bucket one contributes about 2 % of its sum.
    def damage(layer, *_):
        if layer.dtype == np.float32:
            layer.grads["weight"][::200] *= 1 + 0.02 * np.arange(1, 6)

    layer = planted(damage)(300, 330, compression=1 / 100)
    report = check_gradients(layer, np.random.default_rng(0).normal(size=(4, 300)))
    assert len(report.diagnosis) == 5 and not re.search(r"V\(", "".join(report.diagnosis))
    assert re.search(r"bucket 0: 1\.0\d* times what it should be", "".join(report.diagnosis))


def test_a_factor_of_all_buckets_in_float32_only():
    def damage(layer, *_):
        layer.grads["weight"] *= 1.02 if layer.dtype == np.float32 else 1

    layer = planted(damage)(300, 330, compression=1 / 100)
    report = check_gradients(layer, np.random.default_rng(0).normal(size=(4, 300)))
    assert report.diagnosis == ["weight: all 32 wrong buckets are 1.02 times what they should be"]


def test_sentences_that_are_left_out_are_counted():
    def damage(layer, *_):
        layer.grads["weight"] *= 1 + 0.1 * np.arange(BUCKETS)

    report = check_gradients(hashed(planted(damage)), INPUTS)
    assert len(report.diagnosis) == 7 and report.diagnosis[-1] == f"weight: and {BUCKETS - 1 - 6} more"


def test_a_hundred_thousand_wrong_virtual_weights_take_under_ten_seconds():
    def damage(layer, *_):
        layer.grads["weight"] *= 1.001

    layer = planted(damage)(300, 330, compression=1 / 100, dtype=np.float64)
    start = time.process_time()
    report = check_gradients(layer, np.random.default_rng(0).normal(size=(4, 300)))
    assert time.process_time() - start < 10
    assert str(report).startswith("gradient check: at least 32 wrong")


def assert_caught_in_float32(report, buckets, diagnosis):
    assert {offender.index for offender in report.offenders} == {(int(bucket),) for bucket in buckets}
    assert re.search(diagnosis, "\n".join(report.diagnosis)), report.diagnosis
    assert_raises(report)
