"""What the tests of exported C share: compilers, a compiled model as a Python object, networks to export."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from minihash import testing
from minihash.hashing import layer_seed
from minihash.layers import Dropout, HashedLinear, Layer, Linear, ReLU, Sigmoid, Tanh
from minihash.layers.hashed_linear import BIASES
from minihash.network import Network

HARNESS = Path(__file__).parent / "harness"
WARNINGS = "-std=c99 -Wall -Wextra -Wpedantic -Wdouble-promotion -Wconversion -Werror".split()
SANITIZERS = "-g -fsanitize=address,undefined -fno-sanitize-recover=all".split()
FLOATS = ctypes.POINTER(ctypes.c_float)
READER = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_uint32)
WRITER = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_float)


def require(*tools: str) -> None:
    """Skip the test if a program is missing; CI installs all of them (.ci/run)."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def run(*command: Any, **arguments: Any) -> str:
    """Run a program that must succeed; return what it printed."""
    found = subprocess.run([str(word) for word in command], capture_output=True, **arguments)
    assert found.returncode == 0, found.stderr.decode() + found.stdout.decode()
    return found.stdout.decode()


def predict_with(program: Sequence[Any], inputs: np.ndarray, outputs: int, order: str = "<") -> np.ndarray:
    """Give rows of inputs to the program of harness/predict.c; return what it answers."""
    text = subprocess.run(
        [str(word) for word in program], input=inputs.astype(f"{order}f4").tobytes(), capture_output=True
    )
    assert text.returncode == 0 and not text.stderr, text.stderr.decode()
    return np.frombuffer(text.stdout, f"{order}f4").reshape(len(inputs), outputs).astype(np.float32)


def close(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether outputs agree within 1e-5 · max(1, the largest)."""
    return bool(np.abs(found - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max()))


class Library:
    """A model compiled into a shared library, and its functions."""

    def __init__(self, folder: Path, network: Network, *flags: str, name: str = "model") -> None:
        require("gcc")
        sources = [folder / f"{name}.c", folder / f"{name}_selftest.c"]
        path = folder / f"{name}.so"
        run("gcc", *WARNINGS, "-O1", "-shared", "-fPIC", *flags, "-o", path, *sources, "-lm")
        self.network, self.name, self.library = network, name, ctypes.CDLL(str(path))
        self.inputs = next(layer.in_features for layer in network.layers if layer.in_features)

    def function(self, name: str, result: Any = None) -> Any:
        function = self.library[f"{self.name}_{name}"]
        function.restype = result
        return function

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        inputs = np.ascontiguousarray(inputs, np.float32)
        outputs = np.empty((len(inputs), self.network.out_features), np.float32)
        predict = self.function("predict")
        for x, out in zip(inputs, outputs):
            predict(x.ctypes.data_as(FLOATS), out.ctypes.data_as(FLOATS))
        return outputs

    def predict_stream(self, x: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """The outputs of one row, and the order in which its inputs were asked for."""
        asked: list[int] = []

        def read(j: int) -> float:
            asked.append(j)
            return float(x[j])

        out = np.empty(self.network.out_features, np.float32)
        self.function("predict_stream")(READER(read), out.ctypes.data_as(FLOATS))
        return out, asked

    def classify(self, inputs: np.ndarray) -> list[int]:
        classify = self.function("classify", ctypes.c_int)
        return [classify(np.float32(x).ctypes.data_as(FLOATS)) for x in inputs]

    def selftest(self) -> int:
        return self.function("selftest", ctypes.c_int)()

    def train_step(self, x: np.ndarray, label: int) -> float:
        return self.function("train_step", ctypes.c_float)(np.float32(x).ctypes.data_as(FLOATS), label)

    def set(self, name: str, value: float) -> None:
        ctypes.c_float.in_dll(self.library, f"{self.name}_{name}").value = value

    def parameters(self) -> np.ndarray:
        found: dict[int, float] = {}
        self.function("read_parameters")(WRITER(found.__setitem__))
        assert list(found) == list(range(len(found)))
        return np.array(list(found.values()), np.float32)

    def load_parameters(self, values: np.ndarray) -> None:
        self.function("load_parameters")(READER(lambda place: float(values[place])))


# ------------------------------------------------------------------------------------ networks

ACTIVATIONS = (ReLU, Tanh, Sigmoid)
KINDS = (HashedLinear, HashedLinear, HashedLinear, Linear)


@st.composite
def weight_layers(draw: st.DrawFn, shape: tuple[int, int], seed: int) -> Layer:
    """A layer with weights of any kind, and biases that are not 0."""
    kind = draw(st.sampled_from(KINDS))
    arguments: dict[str, Any] = {"seed": seed}
    if kind is Linear:
        arguments["bias"] = draw(st.booleans())
    else:
        bias = draw(st.sampled_from(BIASES))
        virtual = shape[1] * (shape[0] + (bias == "hashed"))
        arguments |= {"bias": bias, "signed": draw(st.booleans())}
        arguments["num_buckets"] = draw(st.integers(1, virtual))
        longest = min(virtual // shape[1], arguments["num_buckets"])
        arguments["tile"] = draw(st.one_of(st.just(1), st.integers(1, longest)))
    layer = kind(*shape, **arguments)
    if "bias" in layer.params:
        layer.params["bias"][...] = np.random.default_rng(seed).uniform(-1, 1, shape[1])
    return layer


@st.composite
def networks(draw: st.DrawFn, training: bool = False) -> Network:
    """Networks of all that C export knows, in any order; with `training`, such as can be trained there."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=2, max_size=5))
    if training:
        sizes[-1] = max(2, sizes[-1])
    seed = draw(testing.seeds())
    layers: list[Layer] = [kind() for kind in draw(st.lists(st.sampled_from(ACTIVATIONS), max_size=1))]
    for position, shape in enumerate(zip(sizes, sizes[1:])):
        layers.append(draw(weight_layers(shape, layer_seed(position, seed))))
        most = 1 if training else 2
        layers += [kind() for kind in draw(st.lists(st.sampled_from(ACTIVATIONS), max_size=most))]
        if not training and draw(st.booleans()):
            layers.append(Dropout(0.5))
    scales = st.sampled_from([1.0, 0.5, np.linspace(0.5, 2, sizes[0])])
    shifts = st.sampled_from([0.0, -0.25, np.linspace(-1, 1, sizes[0])])
    outputs: dict[str, Any] = {}
    if not training and draw(st.booleans()):
        of_outputs = st.sampled_from([0.25, 1.0, np.linspace(0.5, 20, sizes[-1])])
        outputs = {"output_scale": draw(of_outputs), "output_shift": draw(of_outputs) - 1}
    return Network(layers, input_scale=draw(scales), input_shift=draw(shifts), **outputs)


def write_digits(folder: Path, images: np.ndarray, labels: np.ndarray | None = None) -> None:
    """Write digits.h for a program that has its digits in flash memory."""
    rows = ",\n".join("{" + ",".join(map(str, row)) + "}" for row in images.astype(np.uint8))
    text = f"#include <stdint.h>\n#define DIGITS {len(images)}\n"
    text += f"static const uint8_t digits[DIGITS][{images.shape[1]}] PROGMEM = {{{rows}}};\n"
    if labels is not None:
        text += f"static const uint8_t labels[DIGITS] PROGMEM = {{{','.join(map(str, labels))}}};\n"
    (folder / "digits.h").write_text(text)
