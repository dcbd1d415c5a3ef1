"""Layers of one's own in exports, with their forms for C and ONNX beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_tools import Library, close
from test_c_training import LEARNING_RATE, parameters, step
from test_onnx import predict

from minihash import Network
from minihash.export import to_c, to_onnx
from minihash.export.c.forms import FORMS as C_FORMS
from minihash.export.c.forms import Dense
from minihash.export.c.layer import CLayer
from minihash.export.onnx.forms import FORMS as ONNX_FORMS
from minihash.export.onnx.graph import Value, product
from minihash.export.plan import Activation
from minihash.layers import Dropout, HashedLinear, Layer, Linear, ReLU, Sigmoid, WeightLayer
from minihash.optimizers import SGD

# ------------------------------------------------------------------------------ a layer and its forms


class Circulant(WeightLayer):
    """`V[i, j] = weight[(i + j) mod in_features]`: every row is the one above, moved by one."""

    def __init__(self, in_features: int, out_features: int, **arguments: Any) -> None:
        super().__init__(in_features, out_features, **arguments)
        self._make_params(in_features)
        places = np.add.outer(np.arange(out_features), np.arange(in_features))
        self.places = places % in_features

    @classmethod
    def param_shapes(cls, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        return {"weight": (config["in_features"],), "bias": (config["out_features"],)}

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        return inputs @ self.weight[self.places].T + self.params["bias"], inputs

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> np.ndarray | None:
        grad_matrix = (grad_outputs.T @ saved).ravel()
        self.grads["weight"][...] = np.bincount(self.places.ravel(), grad_matrix, self.in_features)
        self.grads["bias"][...] = grad_outputs.sum(axis=0)
        return grad_outputs @ self.weight[self.places]


@C_FORMS.register(Circulant)
class CirculantInC(Dense):
    def place(self) -> str:
        return f"((size_t)i + j) % {self.layer.in_features}"


@ONNX_FORMS.register(Circulant)
def circulant(layer: Circulant, inputs: Value, weight: Value, bias: Value) -> Value:
    graph = inputs.graph
    rows = graph.range(0, layer.out_features).reshape(-1, 1).cast(np.int64)
    places = (rows + graph.range(0, layer.in_features).cast(np.int64)) % layer.in_features
    return product(inputs, weight.gather(places), bias)


class Gain(Layer):
    """`z_j = gain_j · a_j`: no matrix, and a parameter of another name."""

    def __init__(self, features: int, dtype: Any = np.float32) -> None:
        super().__init__(dtype)
        self.in_features = self.out_features = features
        self.params["gain"] = np.linspace(-2, 3, features).astype(dtype)

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        return self.params["gain"] * inputs, None

    def config(self) -> dict[str, Any]:
        return {**super().config(), "features": self.in_features}


@C_FORMS.register(Gain)
class GainInC(CLayer):
    template = """//: input
static void ${L}_begin(float *z)
{
    for (index_t i = 0; i < $out; i++)
        z[i] = 0.0f;
}

static void ${L}_add(float *z, index_t j, float a)
{
    z[j] = ${L}_gain(j) * a;
}
//: unit
static float ${L}_unit(const float *a, index_t i)
{
    return ${L}_gain(i) * a[i];
}
"""

    def sections(self) -> tuple[str, ...]:
        return ("input" if self.by_input else "unit",)


@ONNX_FORMS.register(Gain)
def multiplied(layer: Gain, inputs: Value, gain: Value) -> Value:
    return inputs * gain


class Swish(Layer):
    """`z = a · sigmoid(a)`."""

    def _forward(self, inputs: np.ndarray, training: bool) -> tuple[np.ndarray, Any]:
        return inputs / (1 + np.exp(-inputs)), None


SWISH = "static float swish(float z)\n{\n    return z / (1.0f + expf(-z));\n}\n"
C_FORMS.register(Swish)(Activation("swish", "swish", SWISH))
ONNX_FORMS.register(Swish)(lambda layer, inputs: inputs * inputs.graph.apply("Sigmoid", inputs))


# --------------------------------------------------------------------------------------------- tests


def network_of(*last: Layer) -> Network:
    """Own layers in either order of loops, between others and beside them."""
    layers = [
        Circulant(7, 9, seed=1),
        *(Swish(), Circulant(9, 12, seed=2)),
        *(ReLU(), Circulant(12, 5, seed=3), Dropout(0.5)),
    ]
    network = Network([Gain(7), *layers, Gain(5), *last], input_shift=0.5)
    for layer in network.layers:
        if isinstance(layer, Circulant):
            layer.params["bias"][...] = np.linspace(-1, 1, layer.out_features)
    return network


LAST = {"own": (), "mixed": (HashedLinear(5, 3, num_buckets=9, tile=3), Swish())}
with_others = pytest.mark.parametrize("last", LAST.values(), ids=LAST)
INPUTS = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)


@with_others
def test_own_layers_in_c(last: tuple[Layer, ...], tmp_path: Path) -> None:
    network = network_of(*last)
    report = to_c(network, tmp_path)
    assert [row[0] for row in report.rows[:2]] == ["Gain", "Circulant"]
    assert report.flash >= 4 * (7 + 7 + 9 + 9 + 12 + 12 + 5 + 5)
    library = Library(tmp_path, network)
    assert close(library.predict(INPUTS), network.predict(INPUTS)) and library.selftest() == 0


@pytest.mark.parametrize("dense", [False, True])
@with_others
def test_own_layers_in_onnx(last: tuple[Layer, ...], dense: bool) -> None:
    network = network_of(*last)
    assert close(predict(network, INPUTS, dense=dense), network.predict(INPUTS))


def test_own_layers_train_in_c(tmp_path: Path) -> None:
    network = Network([Circulant(7, 9, seed=1), Sigmoid(), Circulant(9, 4, seed=2), ReLU(), Linear(4, 3)])
    to_c(network, tmp_path, training=True)
    library, optimizer = Library(tmp_path, network), SGD(LEARNING_RATE)
    library.set("learning_rate", LEARNING_RATE)
    for label, x in enumerate(INPUTS):
        loss = step(network, optimizer, x, label % 3)
        assert library.train_step(x, label % 3) == pytest.approx(loss, rel=1e-4)
        assert close(library.parameters(), parameters(network))


def test_an_activation_without_a_slope_does_not_train(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="training wants the slope of an activation, swish has none"):
        to_c(network_of(), tmp_path / "c", training=True)
    assert not (tmp_path / "c").exists()


def test_a_form_of_two_kinds_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silu(Swish):
        pass

    monkeypatch.setattr(C_FORMS, "_forms", dict(C_FORMS._forms))
    C_FORMS.register(Silu)(C_FORMS.of_kind(Swish))
    to_c(Network([Linear(3, 4), Silu(), Linear(4, 2), Swish()]), tmp_path)
    assert (tmp_path / "model.c").read_text().count("static float swish(") == 1


def test_forms_are_of_exact_kinds(tmp_path: Path) -> None:
    class Twice(Circulant):
        """A subclass may compute something else."""

    found = r"layers\[0\] is a Twice, wanted layers that .*, Circulant, Gain, Swish"
    for write in (to_c, to_onnx):
        with pytest.raises(ValueError, match=found):
            write(Network([Twice(3, 2)]), tmp_path / "out")
    assert not list(tmp_path.iterdir())
