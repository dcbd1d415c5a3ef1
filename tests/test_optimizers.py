"""Optimizers: against Torch's published numbers and plain loops, and by their laws."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minihash import fit, mlp, optimizers
from minihash.optimizers import SGD, Adam
from minihash.quantization import StraightThrough

VALUES = hnp.arrays(np.float64, hnp.array_shapes(max_dims=2, max_side=4), elements=st.floats(-9, 9))
RECIPES = {
    "sgd": lambda **more: SGD(0.1, **more),
    "momentum": lambda **more: SGD(0.1, momentum=0.5, **more),
    "nesterov": lambda **more: SGD(0.1, momentum=0.5, nesterov=True, **more),
    "adam": lambda **more: Adam(0.01, **more),
}
every_recipe = pytest.mark.parametrize("recipe", RECIPES)


def gradient(params):
    """Of the toy problem Σ_d c_d x_d², c = (0.1, 0.2, 0.3), for each parameter."""
    return {name: 2 * np.array([0.1, 0.2, 0.3]) * value for name, value in params.items()}


# Ten steps on the toy problem from (1, 1, 1), computed by Torch's optim package. Published in
# Lasagne, lasagne/tests/test_updates.py, class TestUpdateFunctions, at commit 0d1015e.
TORCH = {
    "sgd": [0.81707280688755, 0.6648326359915, 0.5386151140949],
    "momentum": [0.6848486952183, 0.44803321781003, 0.27431190123502],
    "nesterov": [0.67466543592725, 0.44108468114241, 0.2769002108997],
    "adam": [0.90034972009036, 0.90034967993061, 0.90034966654402],
}


@every_recipe
def test_equals_torch(recipe):
    optimizer = RECIPES[recipe]()
    params = {"A": np.ones(3), "B": np.ones(3)}
    for _ in range(10):
        optimizer.step(params, gradient(params))

    # Torch's Adam added ε before the bias correction: a difference in the eighth digit
    rtol = 1e-7 if recipe == "adam" else 1e-12
    np.testing.assert_allclose(params["A"], TORCH[recipe], rtol=rtol)
    np.testing.assert_array_equal(params["A"], params["B"])


# -------------------------------------------------------------------------------- plain loops


def naive_lasagne_momentum(x, c, learning_rate, momentum, nesterov, steps):
    """The other form, of Lasagne and Sutskever: the learning rate is inside the velocity."""
    velocity = 0.0
    for _ in range(steps):
        g = 2 * c * x
        velocity = momentum * velocity - learning_rate * g
        x += momentum * velocity - learning_rate * g if nesterov else velocity
    return x


@pytest.mark.parametrize("nesterov", [False, True])
@settings(deadline=None, max_examples=30)
@given(
    momentum=st.floats(0.01, 0.99),
    learning_rate=st.floats(1e-3, 0.3),
    steps=st.integers(1, 12),
)
def test_sgd_equals_lasagnes_form_at_a_constant_rate(nesterov, momentum, learning_rate, steps):
    optimizer = SGD(learning_rate, momentum=momentum, nesterov=nesterov)
    params = {"w": np.ones(3)}
    for _ in range(steps):
        optimizer.step(params, gradient(params))
    for value, c in zip(params["w"], (0.1, 0.2, 0.3)):
        ref = naive_lasagne_momentum(1.0, c, learning_rate, momentum, nesterov, steps)
        assert value == pytest.approx(ref, rel=1e-10, abs=1e-12)


def test_a_change_of_the_rate_takes_hold_at_once():
    # v = 1, then 0.9 + 1 = 1.9; Lasagne's form would go 0.9 · 1 + 0.1 · 1 in the second step
    optimizer = SGD(1.0, momentum=0.9)
    params = {"w": np.zeros(1)}
    optimizer.step(params, {"w": np.ones(1)})
    optimizer.learning_rate = 0.1
    optimizer.step(params, {"w": np.ones(1)})
    assert params["w"][0] == pytest.approx(-(1.0 + 0.1 * 1.9), rel=1e-15)


def test_sgd_does_not_dampen():
    optimizer = SGD(1.0, momentum=0.9)
    params = {"w": np.zeros(1)}
    for _ in range(400):
        optimizer.step(params, {"w": np.ones(1)})
    np.testing.assert_allclose(optimizer.state["w"]["velocity"], [10.0], rtol=1e-12)


def test_adam_equals_the_plain_loop():
    grads = np.random.default_rng(0).normal(size=(20, 3))
    beta1, beta2, epsilon, learning_rate = 0.8, 0.95, 1e-4, 0.03
    ref = [1.0, -2.0, 0.5]
    for d in range(3):
        m = v = 0.0
        for t in range(1, 21):
            g = grads[t - 1, d]
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g * g
            corrected = m / (1 - beta1**t), v / (1 - beta2**t)
            ref[d] -= learning_rate * corrected[0] / (math.sqrt(corrected[1]) + epsilon)

    optimizer = Adam(learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
    params = {"w": np.array([1.0, -2.0, 0.5])}
    for grad in grads:
        optimizer.step(params, {"w": grad})
    np.testing.assert_allclose(params["w"], ref, rtol=1e-12)
    assert optimizer.steps == 20


# ---------------------------------------------------------------------------------------- laws


@settings(deadline=None)
@given(VALUES, st.floats(1e-4, 1), st.floats(1e-3, 1e3))
def test_first_step_of_adam_has_the_size_of_the_learning_rate(grad, learning_rate, scale):
    grad = scale * np.where(np.abs(grad) < 1e-2, 1e-2, grad)  # far above ε
    params = {"w": np.zeros_like(grad)}
    Adam(learning_rate).step(params, {"w": grad})
    np.testing.assert_allclose(params["w"], -learning_rate * np.sign(grad), rtol=2e-3)


@every_recipe
@settings(deadline=None, max_examples=30)
@given(start=VALUES, weight_decay=st.floats(1e-6, 2), data=st.data())
def test_weight_decay_adds_the_weights_to_the_gradient(recipe, start, weight_decay, data):
    decayed, added = {"w": start.copy()}, {"w": start.copy()}
    first, second = RECIPES[recipe](weight_decay=weight_decay), RECIPES[recipe]()
    for _ in range(3):
        grad = data.draw(hnp.arrays(np.float64, start.shape, elements=st.floats(-9, 9)))
        first.step(decayed, {"w": grad})
        second.step(added, {"w": grad + weight_decay * added["w"]})
    np.testing.assert_allclose(decayed["w"], added["w"], rtol=1e-12, atol=1e-12)


@every_recipe
def test_gradients_are_neither_changed_nor_kept(recipe):
    optimizer = RECIPES[recipe](weight_decay=0.1)
    params = {"w": np.ones(3)}
    grad = np.array([1.0, -2.0, 3.0])
    grad.flags.writeable = False  # writing would raise
    for _ in range(2):
        optimizer.step(params, {"w": grad})
    slots = optimizer.state.get("w", {}).values()
    assert not any(np.shares_memory(array, grad) for array in [params["w"], *slots])


@every_recipe
@pytest.mark.parametrize("grad_dtype", [np.float32, np.float64])
def test_float32_stays_float32_and_is_updated_in_place(recipe, grad_dtype):
    optimizer = RECIPES[recipe](weight_decay=0.1)
    optimizer.learning_rate = np.float64(0.1)  # a schedule may well return NumPy's scalars
    weight = np.ones((2, 3), dtype=np.float32)
    params = {"w": weight}
    for _ in range(3):
        optimizer.step(params, {"w": np.ones((2, 3), dtype=grad_dtype)})

    assert params["w"] is weight
    assert weight.dtype == np.float32 and (weight < 1).all()
    assert all(slot.dtype == np.float32 for slot in optimizer.state.get("w", {}).values())


@every_recipe
def test_a_step_does_not_depend_on_the_other_parameters(recipe):
    together, alone = RECIPES[recipe](), RECIPES[recipe]()
    both, one = {"a": np.ones(3), "b": 5 * np.ones(3)}, {"b": 5 * np.ones(3)}
    for _ in range(4):
        together.step(both, gradient(both))
        alone.step(one, gradient(one))
    np.testing.assert_array_equal(both["b"], one["b"])


@every_recipe
def test_goes_on_from_a_copy_of_its_state(recipe):
    ref = {"w": np.ones(3)}
    optimizer = RECIPES[recipe]()
    for _ in range(5):
        optimizer.step(ref, gradient(ref))
    params = copy.deepcopy(ref)
    resumed = RECIPES[recipe]()
    resumed.state, resumed.steps = copy.deepcopy(optimizer.state), optimizer.steps

    for _ in range(5):
        optimizer.step(ref, gradient(ref))
        resumed.step(params, gradient(params))
    np.testing.assert_array_equal(params["w"], ref["w"])
    assert resumed.steps == 10


def test_slots_are_made_at_the_first_step():
    names = {"momentum": {"velocity"}, "adam": {"first_moment", "second_moment"}, "sgd": set()}
    for recipe, slots in names.items():
        optimizer = RECIPES[recipe]()
        assert optimizer.state == {} and optimizer.steps == 0
        optimizer.step({"w": np.ones(2)}, {"w": np.ones(2)})
        assert set(optimizer.state.get("w", {})) == slots and optimizer.steps == 1


@every_recipe
def test_learning_rate_zero_moves_nothing(recipe):
    optimizer = RECIPES[recipe]()
    optimizer.learning_rate = 0.0
    params = {"w": np.ones(3)}
    optimizer.step(params, gradient(params))
    np.testing.assert_array_equal(params["w"], np.ones(3))


# -------------------------------------------------------------------------------------- errors


@every_recipe
@pytest.mark.parametrize(
    "grads, message",
    [
        ({"w": np.ones(3)}, "'b' is only in params"),
        ({"w": np.ones(3), "b": np.ones(2), "c": np.ones(1)}, "'c' is only in grads"),
        ({"w": np.ones(1), "b": np.ones(2)}, r"grads has shape \(1,\) for 'w', wanted \(3,\)"),
        ({"w": np.ones((3, 1)), "b": np.ones(2)}, r"grads has shape \(3, 1\) for 'w'"),
    ],
)
def test_refuses_gradients_of_other_parameters(recipe, grads, message):
    optimizer = RECIPES[recipe]()
    params = {"b": np.ones(2), "w": np.ones(3)}
    with pytest.raises(ValueError, match=message):
        optimizer.step(params, grads)
    assert optimizer.steps == 0 and optimizer.state == {}
    assert all((value == 1).all() for value in params.values())


@pytest.mark.parametrize("recipe", ["momentum", "nesterov", "adam"])
def test_refuses_a_change_of_parameters(recipe):
    optimizer = RECIPES[recipe]()
    optimizer.step({"w": np.ones(1)}, {"w": np.ones(1)})
    with pytest.raises(ValueError, match=r"has shape \(1,\) for 'w', wanted \(3,\)"):
        optimizer.step({"w": np.ones(3)}, {"w": np.ones(3)})
    with pytest.raises(ValueError, match="params: 'b' is new"):
        both = {"w": np.ones(1), "b": np.ones(1)}
        optimizer.step(both, both)
    with pytest.raises(ValueError, match="params: 'w' is missing"):
        optimizer.step({}, {})
    assert optimizer.steps == 1


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SGD(-0.1), "learning_rate is -0.1"),
        (lambda: SGD(math.nan), "learning_rate is nan"),
        (lambda: SGD(math.inf), "learning_rate is inf"),
        (lambda: SGD("fast"), "learning_rate is 'fast'"),
        (lambda: SGD(1.5e6), r"learning_rate is 1.5e\+06"),
        (lambda: Adam(weight_decay=1.5e6), r"weight_decay is 1.5e\+06"),
        (lambda: SGD(momentum=1.5), "momentum is 1.5"),
        (lambda: SGD(momentum=-0.5), "momentum is -0.5"),
        (lambda: SGD(weight_decay=-1), "weight_decay is -1"),
        (lambda: SGD(nesterov=True), "nesterov is True with momentum 0"),
        (lambda: SGD(momentum=0.9, nesterov="yes"), "nesterov is 'yes', wanted True or False"),
        (lambda: Adam(learning_rate=-1), "learning_rate is -1"),
        (lambda: Adam(beta1=1.0), "beta1 is 1"),
        (lambda: Adam(beta2=-0.1), "beta2 is -0.1"),
        (lambda: Adam(epsilon=0), "epsilon is 0"),
        (lambda: Adam(weight_decay=math.nan), "weight_decay is nan"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_the_largest_numbers_are_taken():
    assert SGD(1e6, weight_decay=1e6).learning_rate == Adam(1e6).learning_rate == 1e6
    assert SGD(momentum=1.0).momentum == 1.0 and Adam(beta1=0.999999, epsilon=1.0).epsilon == 1.0


# ---------------------------------------------------------------------------------- of one's own


class SignDescent:
    """It has what an optimizer needs, and no base class."""

    slots = ("velocity",)

    def __init__(self, learning_rate, decay=0.9):
        self.learning_rate, self.decay = learning_rate, decay
        self.steps, self.state = 0, {}

    def settings(self):
        return {"decay": self.decay}

    def step(self, params, grads):
        self.steps += 1
        for name, param in params.items():
            own = self.state.setdefault(name, {"velocity": np.zeros_like(param)})
            own["velocity"][...] = self.decay * own["velocity"] + grads[name]
            param -= self.learning_rate * np.sign(own["velocity"])


def fitted(epochs, optimizer, **options):
    data = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    network = mlp([3, 5, 2], seed=1)
    options = {"batch_size": 10, "progress": False, "optimizer": optimizer, **options}
    return network, fit(network, data, epochs=epochs, **options)


def test_fit_takes_anything_that_steps(tmp_path):
    """Its rate follows the schedule, and a checkpoint keeps its slots and settings."""
    assert isinstance(SignDescent(0.1), optimizers.Optimizer)
    rates = []

    def schedule(done):
        rates.append(0.01 * (1 - done))
        if len(rates) - 16 == 10:  # after the sixteen by which a checkpoint knows it
            raise ConnectionError("cut")
        return rates[-1]

    with pytest.raises(ConnectionError):
        fitted(3, SignDescent(1.0), schedule=schedule, checkpoint=tmp_path)
    whole, _ = fitted(3, SignDescent(1.0), schedule=lambda done: 0.01 * (1 - done))
    optimizer = SignDescent(1.0)
    resumed, history = fitted(3, optimizer, schedule=schedule, checkpoint=tmp_path, resume=True)
    assert optimizer.steps == 12 and len(history) == 3
    for name, array in whole.params.items():
        np.testing.assert_array_equal(array, resumed.params[name])
    with pytest.raises(ValueError, match=r"has a training with optimizer \['SignDescent', {'decay': 0.9}\]"):
        fitted(3, SignDescent(1.0, decay=0.5), schedule=schedule, checkpoint=tmp_path, resume=True)


def test_what_an_optimizer_lacks_is_named():
    class Half:
        learning_rate, steps, state = 0.1, 0, {}

        def step(self, params, grads):
            raise AssertionError

    with pytest.raises(ValueError, match=r"wanted one such as Adam\(\): it has no slots, settings$"):
        fitted(1, Half())
    with pytest.raises(ValueError, match=r"wanted one such as Adam\(\): it has no slots, settings$"):
        StraightThrough(Half(), mlp([4, 8, 2], compression=1 / 2), 8)


def test_rounding_goes_through_an_optimizer_of_ones_own():
    through = StraightThrough(SignDescent(0.5), mlp([4, 8, 2], compression=1 / 2), 8)
    assert isinstance(through, optimizers.Optimizer)
    assert through.settings() == {"bits": 8} and through.learning_rate == 0.5


def test_get():
    assert optimizers.get("sgd") is SGD
    assert optimizers.get("adam") is Adam
    with pytest.raises(ValueError, match="optimizer.*'lbfgs'.*'sgd', 'adam'"):
        optimizers.get("lbfgs")


@pytest.mark.parametrize(
    "make, name, value",
    [
        *((make, name, 1e6 + 0.5) for make in (SGD, Adam) for name in ("learning_rate", "weight_decay")),
        (SGD, "momentum", 1.25),
        *((Adam, name, 1.0) for name in ("beta1", "beta2")),
        (Adam, "epsilon", 1.5),
    ],
)
def test_numbers_just_above_the_largest_are_refused(make, name, value):
    with pytest.raises(ValueError, match=f"^{name} is 1.*, wanted 0 <=? {name} <= "):
        make(**{name: value})


def test_averages_of_adam_that_forget_quickly():
    """β₁ = 0.25 keeps a quarter, and so adds three quarters: after g = 1 and 3 m is 0.1875 + 2.25."""
    optimizer, params = Adam(beta1=0.25, beta2=0.25), {"w": np.zeros(1)}
    for gradient in (1.0, 3.0):
        optimizer.step(params, {"w": np.array([gradient])})
    assert optimizer.state["w"]["first_moment"].tolist() == [0.25 * 0.75 + 0.75 * 3]
    assert optimizer.state["w"]["second_moment"].tolist() == [0.25 * 0.75 + 0.75 * 9]


def test_gradients_may_be_of_a_subclass_of_arrays():
    class Marked(np.ndarray):
        """Where it came from, say."""

    params = {"w": np.ones(2)}
    SGD(0.5).step(params, {"w": np.ones(2).view(Marked)})
    assert params["w"].tolist() == [0.5, 0.5]


def test_the_learning_rates_that_nobody_chose():
    assert (SGD().learning_rate, Adam().learning_rate) == (0.1, 0.001)
