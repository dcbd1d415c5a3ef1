"""Targets in their own units: what a network that scales outputs trains on, predicts, measures, keeps."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minihash import Network, evaluate, fit, fused, load, losses, mlp, save
from minihash.gradient_check import check_gradients
from minihash.layers import Linear
from minihash.quantization import fine_tune, quantize
from minihash.schema import Schema
from minihash.training.history import Callback, History

RNG = np.random.default_rng(5)
INPUTS = RNG.normal(size=(300, 4))
MEAN, SPREAD = np.array([1.7e9, -3.0, 20.0]), np.array([10.0, 1e-3, 400.0])
STANDARD = np.tanh(INPUTS @ RNG.normal(size=(4, 3)))  # targets without units
TARGETS = MEAN + SPREAD * STANDARD
WEIGHT = RNG.integers(0, 3, 300).astype(float)


def network_of(outputs: int = 3, **scaling: Any) -> Network:
    return mlp([4, 16, outputs], compression=1 / 2, seed=3, **scaling)


def scaled(outputs: int = 3, **others: Any) -> Network:
    return network_of(outputs, output_scale=SPREAD[:outputs], output_shift=MEAN[:outputs], **others)


def test_predictions_are_in_units_and_forward_is_not() -> None:
    plain, network = network_of(), scaled()
    outputs = plain.predict(INPUTS)
    assert np.array_equal(network.forward(INPUTS), plain.forward(INPUTS))
    assert np.array_equal(network.forward_rows(INPUTS), outputs) and outputs.dtype == np.float32
    found = network.predict(INPUTS)
    assert found.dtype == np.float64 and np.array_equal(found, outputs.astype(float) * SPREAD + MEAN)
    assert len(np.unique(found[:, 0])) == len(np.unique(outputs[:, 0])) > 250
    assert np.abs(network.standardize(found) - outputs).max() < 1e-6
    network = network_of(output_scale=2, output_shift=1)
    assert np.array_equal(network.predict(INPUTS), outputs.astype(float) * 2 + 1)


@pytest.mark.parametrize("one", [{}, {"output_scale": np.ones(3), "output_shift": [0, 0, 0]}])
def test_without_a_scaling_nothing_changes(one: dict[str, Any], tmp_path: Path) -> None:
    network, targets = network_of(**one), STANDARD.astype(np.float32)
    outputs = network.forward_rows(INPUTS)
    assert not network.scales_outputs and network.standardize(targets) is targets
    assert network.to_units(outputs) is outputs and network.predict(INPUTS).dtype == np.float32
    save(network, tmp_path / "model")
    assert b"output_sc" not in (tmp_path / "model").read_bytes()


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("small", [True, False])  # of a fused step, and layer by layer
def test_training_is_that_of_standardised_targets(weight: Any, small: bool, monkeypatch: Any) -> None:
    if not small:
        monkeypatch.setattr(fused, "LIMIT", 1)
    assert bool(fused.obstacle(scaled())) == (not small)
    found = []
    for network, targets in ((scaled(), TARGETS), (network_of(), scaled().standardize(TARGETS))):
        data = INPUTS, targets, weight
        history = fit(network, data, data, loss="mean_squared_error", epochs=3)
        found.append((network.params, history["loss"], history["validation_loss"], history["validation_r2"]))
    (params, *curves), (wanted, *wanted_curves) = found
    assert all(np.array_equal(array, wanted[name]) for name, array in params.items())
    assert curves[:2] == wanted_curves[:2] and curves[2] == pytest.approx(wanted_curves[2], rel=1e-6)


def test_scores_are_in_units() -> None:
    network = scaled()
    found = evaluate(network, (INPUTS, TARGETS, WEIGHT), loss="mean_squared_error")
    missed, share = network.predict(INPUTS) - TARGETS, WEIGHT / WEIGHT.sum()
    squares = share @ missed**2
    assert found["mae"] == pytest.approx((share @ np.abs(missed)).mean())
    assert found["rmse"] == pytest.approx(np.sqrt(squares).mean())
    apart = share @ (TARGETS - share @ TARGETS) ** 2
    assert found["r2"] == pytest.approx((1 - squares / apart).mean())
    assert found["loss"] == pytest.approx((squares / SPREAD**2).mean())


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_a_target_far_from_0_is_learned(shape: tuple[int, ...]) -> None:
    """1.7e9 ± 10: to a network of float32 without a shift the targets would be one number."""
    targets = TARGETS[:, 0].reshape(shape)
    with pytest.raises(ValueError, match="^column 0 of train targets has the standard deviation"):
        fit(network_of(1), (INPUTS, targets), loss="mean_squared_error")
    network = mlp([4, 32, 1], output_scale=10, output_shift=1.7e9, seed=1)
    fit(network, (INPUTS, targets), loss="mean_squared_error", epochs=60, batch_size=32)
    scores = evaluate(network, (INPUTS, targets))
    assert scores["r2"] > 0.9 and scores["mae"] < scores["rmse"] < 3 and scores["loss"] < 0.1
    assert network.task == "regression"


def test_a_shift_that_leaves_targets_too_coarse_is_refused() -> None:
    with pytest.raises(ValueError, match="^column 0 of train targets less output_shift has the standard"):
        fit(network_of(1, output_shift=1e9), (INPUTS, TARGETS[:, 0]), loss="mean_squared_error")


def test_a_loss_of_ones_own_is_of_standardised_targets_too() -> None:
    seen = []

    def loss(outputs: Any, targets: Any) -> tuple[float, np.ndarray]:
        seen.append(targets)
        return losses.mean_squared_error(outputs, targets)

    network = scaled()
    fit(network, (INPUTS, TARGETS), loss=loss, epochs=1)
    evaluate(network, (INPUTS, TARGETS), loss=loss)
    assert max(np.abs(targets).max() for targets in seen) < 1.01
    with pytest.raises(ValueError, match=r"^targets has shape \(128,\), wanted \(rows, 3\)"):
        fit(network, (INPUTS, TARGETS[:, 0]), loss=loss, epochs=1)


@pytest.mark.parametrize(
    "scaling, found",
    [
        ({"output_scale": 0}, "output_scale is 0, wanted a number > 0"),
        ({"output_scale": [1, -2, 3]}, "output_scale is -2, wanted a number > 0"),
        ({"output_scale": [1, 2]}, r"output_scale has shape \(2,\) \(int64\), wanted a number or 3 of them"),
        ({"output_shift": np.nan}, "output_shift is not finite"),
        ({"output_shift": "1"}, r"output_shift has shape \(\) \(<U1\), wanted a number or 3 of them"),
        ({"output_shift": np.ma.array([1, 2, 3], mask=[0, 1, 0])}, "output_shift has 1 masked entries"),
        ({"output_shift": 1, "class_names": "abc"}, "class_names are given and outputs are scaled"),
    ],
)
def test_what_is_no_scaling_is_refused(scaling: dict[str, Any], found: str) -> None:
    with pytest.raises(ValueError, match=f"^{found}"):
        network_of(**scaling)


def test_other_tasks_are_refused() -> None:
    network, labels = scaled(), np.arange(300) % 3
    refused = "^task is 'classification' and outputs are scaled, wanted 'regression'"
    with pytest.raises(ValueError, match=refused):
        network.schema = Schema("classification")
    with pytest.raises(ValueError, match="^task is 'multilabel' and outputs are scaled"):
        Network(network.layers, output_shift=1, schema=Schema("multilabel"))
    for call in (fit, evaluate):
        with pytest.raises(ValueError, match="^loss is 'softmax_cross_entropy' and the network scales"):
            call(network, (INPUTS, labels), loss="softmax_cross_entropy")
    assert network.schema is None


def test_what_is_made_of_a_network_scales_as_it_does() -> None:
    network = scaled(input_shift=0.5)
    wanted = network.predict(INPUTS)
    double = network.astype("float64")
    assert np.abs((double.predict(INPUTS) - wanted) / SPREAD).max() < 1e-5
    layers = [layer.copy() for layer in network.layers]
    assert np.array_equal(network.with_layers(layers).predict(INPUTS), wanted)
    assert np.abs((quantize(network).predict(INPUTS) - wanted) / SPREAD).max() < 0.1
    assert np.array_equal(pickle.loads(pickle.dumps(network)).predict(INPUTS), wanted)


def test_a_fine_tune_is_of_standardised_targets() -> None:
    network = scaled()
    fit(network, (INPUTS, TARGETS), loss="mean_squared_error", epochs=5)
    small, history = fine_tune(network, (INPUTS, TARGETS), epochs=1)
    assert history["loss"][0] < 2 and small.scales_outputs


def test_a_network_pickled_before_there_was_a_scaling_has_none() -> None:
    network = network_of()
    del network.output_scale, network.output_shift
    assert np.array_equal(pickle.loads(pickle.dumps(network)).predict(INPUTS), network_of().predict(INPUTS))


def test_gradients_are_those_of_standardised_targets() -> None:
    network = scaled().astype("float64")
    targets = network.standardize(TARGETS[:6])
    check_gradients(network, INPUTS[:6], loss="mean_squared_error", targets=targets).raise_for_errors()
    check_gradients(network, INPUTS[:6]).raise_for_errors()


# ------------------------------------------------------------------------------------------------ files


def description(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["minihash"])


@pytest.mark.parametrize("scale, shift", [(SPREAD, MEAN), (2.5, 0.0), (1.0, -3.0), (1.0, MEAN)])
def test_files(scale: Any, shift: Any, tmp_path: Path) -> None:
    network = network_of(output_scale=scale, output_shift=shift)
    save(network, tmp_path / "model")
    assert description(tmp_path / "model")["format"] == 3  # which earlier versions refuse
    found = load(tmp_path / "model")
    assert np.array_equal(found.predict(INPUTS), network.predict(INPUTS))
    for name in ("output_scale", "output_shift"):
        kept, own = getattr(found, name), getattr(network, name)
        assert np.array_equal(kept, own) and kept.shape == own.shape and not kept.flags.writeable


def test_inspect_shows_the_scaling(tmp_path: Path, run: Any) -> None:
    save(scaled(), tmp_path / "model")
    shown = run("inspect", tmp_path / "model")[1]
    assert "output scale: 0.001 to 400, output shift: -3 to 1.7e+09\n" in shown
    save(network_of(), tmp_path / "plain")
    assert "output" not in run("inspect", tmp_path / "plain")[1]


# ------------------------------------------------------------------------------------------ checkpoints


class Cut(Callback):
    """Ends a training in the middle, if it is told to."""

    cut = False

    def on_epoch_end(self, network: Network, history: History) -> bool:
        if self.cut and len(history) == 2:
            raise ConnectionError("cut")
        return False


def test_a_resumed_training_has_the_same_bits_and_the_same_scaling(tmp_path: Path) -> None:
    def train(network: Network, cut: bool = False) -> Network:
        callback = Cut()
        callback.cut = cut
        options = {"epochs": 3, "checkpoint": tmp_path / "state", "resume": True, "callbacks": [callback]}
        fit(network, (INPUTS, TARGETS), loss="mean_squared_error", **options)
        return network

    whole = scaled()
    fit(whole, (INPUTS, TARGETS), loss="mean_squared_error", epochs=3)
    with pytest.raises(ConnectionError):
        train(scaled(), cut=True)
    for name, array in train(scaled()).params.items():
        assert np.array_equal(array, whole.params[name])
    with pytest.raises(ValueError, match=r"has a training with scaling \d+, wanted \d+"):
        train(network_of(output_scale=SPREAD, output_shift=MEAN + 1))


def test_a_layer_alone_scales_too() -> None:
    network = Network([Linear(4, 2)], output_scale=[1, 2], output_shift=3)
    assert np.array_equal(network.predict(INPUTS), network.forward_rows(INPUTS) * np.array([1.0, 2.0]) + 3)
