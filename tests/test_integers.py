"""Networks in whole numbers: scales, predictions, what is refused. test_format.py has the bits."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash import HashedLinear, Network, evaluate, fit, load, mlp, save
from minihash.calibration import least_error_scale, with_roundings
from minihash.integers import LIMIT, integers_of, is_whole, multiplier_of
from minihash.layers import Dropout, Linear, QuantizedHashedLinear, ReLU, Rounding, Sigmoid, Tanh
from minihash.optimizers import Adam
from minihash.quantization import fine_tune, quantize

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (300, 16)).astype(np.uint8)
LABELS = (PIXELS[:, 0] > 127) * 1 + (PIXELS[:, 1] > 127)


def network(**options: Any) -> Network:
    made = mlp([16, 24, 3], compression=1 / 2, seed=1, **{"input_scale": 1 / 255, **options})
    fit(made, (PIXELS, LABELS), optimizer="adam", learning_rate=0.01, epochs=30, progress=False)
    return made


@pytest.fixture(scope="module")
def trained() -> Network:
    return network()


# ------------------------------------------------------------------------------------ the arithmetic


@given(st.floats(2.0**-31, 2.0**29, exclude_max=True))
def test_a_multiplier_is_the_ratio_to_31_bits(ratio: float) -> None:
    multiplier, shift = multiplier_of(ratio)
    assert 2**30 <= multiplier < 2**31 and 1 <= shift <= 62
    assert abs(Fraction(multiplier, 2**shift) / Fraction(ratio) - 1) <= Fraction(1, 2**31)


@pytest.mark.parametrize("ratio", [2.0**31, 2.0**-33, 1e300])
def test_other_ratios_are_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="^layers.3. has scales in the ratio .*, wanted one from 2.-31 to"):
        multiplier_of(ratio, "layers[3]")


@pytest.mark.parametrize("tile", [1, 4])
@pytest.mark.parametrize("bits", [8, 4])
def test_no_sum_is_larger_than_its_bound(bits: int, tile: int) -> None:
    made = quantize(network(tile=tile), bits, rows=PIXELS)
    whole = integers_of(made.layers)
    numbers = whole.inputs(np.vstack([PIXELS, np.full((1, 16), 255)]) / 255.0)
    for stage in whole.stages:
        sums = stage.layer.sums(numbers.astype(np.float64))
        assert 0 < np.abs(sums).max() <= stage.bound < LIMIT
        numbers = stage(numbers)


def test_predictions_are_those_of_whole_numbers_whatever_the_batch(trained: Network) -> None:
    made = quantize(trained, 8, rows=PIXELS)
    assert is_whole(made.layers) and not is_whole(quantize(trained).layers) and not is_whole(trained.layers)
    found = made.predict(PIXELS)
    scale = integers_of(made.layers).stages[-1].scale
    sums = found.astype(np.float64) / scale
    np.testing.assert_allclose(sums, np.rint(sums), atol=1e-3)  # multiples of the scale, in float32
    for rows in (1, 7, 299):
        parts = [made.predict(PIXELS[row : row + rows]) for row in range(0, 300, rows)]
        np.testing.assert_array_equal(np.concatenate(parts), found)


def test_it_is_near_the_network_of_floats(trained: Network) -> None:
    made, ref = quantize(trained, 8, rows=PIXELS), trained.predict(PIXELS)
    assert np.abs(made.predict(PIXELS) - ref).max() < 0.05 * np.abs(ref).max()
    errors = [evaluate(one, (PIXELS, LABELS))["error"] for one in (trained, made)]
    assert abs(errors[0] - errors[1]) < 0.02


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_tables_of_activations(activation: str) -> None:
    made = network(activation=activation)
    whole, ref = quantize(made, 8, rows=PIXELS), made.predict(PIXELS)
    assert np.abs(whole.predict(PIXELS) - ref).max() < 0.05 * np.abs(ref).max()
    ((lowest, table),) = integers_of(whole.layers).stages[0].tables
    assert lowest == -128 and len(table) == 256 and (np.diff(table) >= 0).all()


def test_features_and_targets_have_their_units() -> None:
    """Standardised features become whole numbers by a scale each; outputs are in the targets' units."""
    inputs = RNG.normal([5, -300], [0.01, 90], (400, 2)).astype(np.float64)
    targets = 1e4 + 700 * np.tanh((inputs[:, 0] - 5) / 0.01)
    shift, scale = inputs.mean(axis=0), 1 / inputs.std(axis=0)
    units = {"input_shift": shift, "input_scale": scale, "output_shift": 1e4, "output_scale": 700}
    made = mlp([2, 30, 1], compression=1 / 2, **units)
    fit(made, (inputs, targets), loss="mean_squared_error", learning_rate=0.01, epochs=60, progress=False)
    whole = quantize(made, 8, rows=inputs)
    assert (whole.layers[0].low, whole.layers[0].high) == (-128, 127)
    scores = [evaluate(one, (inputs, targets))["r2"] for one in (made, whole)]
    assert scores[0] > 0.95 and scores[1] > scores[0] - 0.01


# ------------------------------------------------------------------------------------ scales


VALUES = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=50)


@given(VALUES, st.sampled_from([(-128, 127), (0, 255), (0, 7)]))
def test_the_scale_is_the_best_of_the_candidates(values: list[float], limits: tuple[int, int]) -> None:
    array, (low, high) = np.array(values, np.float32), limits
    largest = np.abs(array).max() / max(abs(low), high)
    scale = least_error_scale(array, low, high)

    def error(scale: float) -> float:
        whole = [min(max(math.floor(value / scale + 0.5), low), high) for value in values]
        return sum((scale * number - value) ** 2 for number, value in zip(whole, values))

    if largest > 1e-30:
        others = [error(float(np.float32(part * largest))) for part in np.linspace(0.2, 1, 81)]
        assert error(scale) <= min(others) * (1 + 1e-9) + 1e-12


def test_no_values_have_a_scale_too() -> None:
    assert least_error_scale(np.zeros((3, 2)), 0, 127) == 1.0


def test_where_it_rounds(trained: Network) -> None:
    made = with_roundings(network(dropout=(0.1, 0.2)), PIXELS)
    names = [type(layer).__name__ for layer in made.layers]
    assert names == "Rounding Dropout HashedLinear ReLU Rounding Dropout HashedLinear".split()
    first, second = (layer for layer in made.layers if isinstance(layer, Rounding))
    assert (first.scale, first.low, first.high) == (1 / 255, 0, 255)  # pixels stay what they are
    assert (second.low, second.high) == (0, 127)
    made = with_roundings(network(activation="tanh"), PIXELS / 255.0)
    names = [type(layer).__name__ for layer in made.layers]
    assert names == "Rounding HashedLinear Rounding Tanh Rounding HashedLinear".split()
    with pytest.raises(ValueError, match=r"^layers\[0\] is a Rounding, wanted for integers one of Hash"):
        with_roundings(made, PIXELS)


# ------------------------------------------------------------------------------------ the fine-tune and files


def test_a_fine_tune_passes_both_roundings(trained: Network) -> None:
    before = quantize(trained, 4, rows=PIXELS)
    errors = [evaluate(before, (PIXELS, LABELS))["loss"]]
    copy = Network([layer.copy() for layer in trained.layers], input_scale=1 / 255)
    made, history = fine_tune(
        copy, (PIXELS, LABELS), bits=4, integers=True, epochs=20, optimizer=Adam(3e-3), progress=False
    )
    errors.append(evaluate(made, (PIXELS, LABELS))["loss"])
    assert is_whole(made.layers) and errors[1] < 0.95 * errors[0] and len(history["loss"]) == 20
    assert [type(layer) for layer in copy.layers] == [HashedLinear, ReLU, HashedLinear]
    assert copy.task == made.task == "classification"


def test_a_file_predicts_the_same_bits(trained: Network, tmp_path: Any) -> None:
    made = quantize(trained, 4, rows=PIXELS)
    save(made, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "model.safetensors").predict(PIXELS), made.predict(PIXELS))


# ------------------------------------------------------------------------------------ what is refused


def coded(in_features: int = 4, out_features: int = 4, seed: int = 0) -> QuantizedHashedLinear:
    layer = QuantizedHashedLinear(in_features, out_features, num_buckets=5, seed=seed)
    layer.set_codes(np.arange(5), 0.5)
    return layer


R = Rounding(0.5)


@pytest.mark.parametrize(
    "layers, message",
    [
        ([ReLU(), coded()], r"layers\[0\] is a ReLU, wanted a Rounding of the inputs"),
        ([R, coded(), coded(seed=1)], r"layers\[2\] is a QuantizedHashedLinear behind other than a Rounding"),
        ([R, coded(), R, Tanh(), coded(seed=1)], r"layers\[4\] is a QuantizedHashedLinear behind other than"),
        ([R, coded(), Tanh(), R], r"layers\[2\] is a Tanh that whole numbers have no form of there"),
        ([R, coded(), ReLU(), Sigmoid(), R], r"layers\[3\] is a Sigmoid that whole numbers have no form of"),
        ([R, coded(), R, R], r"layers\[3\] is a Rounding that whole numbers have no form of there"),
        ([R, coded(), R, ReLU(), coded(seed=1)], r"layers\[3\] is a ReLU that whole numbers have no form of"),
        ([R, R, coded()], r"layers\[1\] is a Rounding that whole numbers have no form of there"),
        ([R, coded(), Linear(4, 4)], r"layers\[2\] is a Linear that whole numbers have no form of there"),
        ([R, coded(), ReLU()], "network ends in an activation, wanted a layer with weights or a Rounding"),
        ([R, Dropout(0.5)], "network has no layer with weights, wanted one at least"),
    ],
)
def test_orders_of_layers_that_are_refused(layers: list, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        integers_of(layers)


def test_predict_refuses_them_too() -> None:
    made = Network([Rounding(0.5), coded(), Tanh(), Rounding(0.1), coded(seed=1)])
    with pytest.raises(ValueError, match=r"^layers\[2\] is a Tanh that whole numbers have no form of there"):
        made.predict(np.zeros((1, 4)))


def test_sums_beyond_32_bits_are_refused() -> None:
    layer = QuantizedHashedLinear(2**17, 1, num_buckets=3, bias="none")
    layer.set_codes(np.array([127, 0, 0]), 1.0)
    integers_of([Rounding(1.0, low=0, high=127), layer])
    with pytest.raises(ValueError, match=r"^layers\[1\] has sums up to 4,244,766,720, wanted below 2,147,4"):
        integers_of([Rounding(1.0, low=0, high=255), layer])


def test_layers_that_integers_have_no_form_of_are_named() -> None:
    made = Network([HashedLinear(16, 4, num_buckets=5), Linear(4, 3)])
    with pytest.raises(ValueError, match=r"^layers\[1\] is a Linear, wanted for integers one of Hashed"):
        quantize(made, 8, rows=PIXELS)
