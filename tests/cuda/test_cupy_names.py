"""CuPy has what is asked of it: names and keywords that its stand-in (tests/strict.py) was used with."""

from __future__ import annotations

import configparser
import inspect
import itertools
import re
from pathlib import Path

import cupy
import numpy as np
import pytest
import strict
import test_devices
from strict_card import StrictCard

from minihash import fit, virtual_matrix
from minihash.kernels import devices, numpy_cpu, panels
from minihash.optimizers import SGD, Adam


@pytest.fixture(scope="module", autouse=True)
def used():
    """Use every layer, loss and optimizer once."""
    strict.USED.clear()
    strict.USED_OF_ARRAYS.clear()
    card = StrictCard(numpy_cpu)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "SMALL_WORK", -1)
        patch.setattr(virtual_matrix, "ADDITION", 0)  # products are shared, or rows put in order
        for make, batch in itertools.product(test_devices.LAYERS.values(), (1, 3, 20)):
            layer = make()
            layer.to(card)
            outputs = layer.forward(np.ones((batch, test_devices.FEATURES)), training=True)
            layer.backward(outputs)
    for loss, *arrays in test_devices.LOSSES.values():
        loss(*map(card.put, arrays), card.put(np.ones(test_devices.BATCH)))
        loss(*map(card.put, arrays))
    for optimizer in (Adam(weight_decay=0.1), SGD(0.1, 0.9, nesterov=True)):
        network = test_devices.network_of().to(card)
        fit(network, test_devices.digits(), test_devices.digits(), optimizer=optimizer, epochs=1)


def test_much_was_used():
    names = {name for name, _ in strict.USED}
    assert {"asarray", "asnumpy", "matmul", "exp", "where", "empty_like", "sum"} <= names
    assert {"T", "astype", "view", "reshape", "sum", "real"} <= strict.USED_OF_ARRAYS


def test_cupy_has_the_functions_and_their_keywords():
    for name, keywords in strict.USED:
        function = getattr(cupy, name)
        if isinstance(function, cupy.ufunc):
            assert keywords <= {"out"}, name
        else:
            assert keywords <= inspect.signature(function).parameters.keys(), name


def test_arrays_of_cupy_have_the_methods():
    assert not [name for name in strict.USED_OF_ARRAYS if not hasattr(cupy.ndarray, name)]


def test_its_libraries_are_found():
    """Those of the packages that the extra `cuda` brings; they need no driver to be loaded."""
    devices.load_libraries()
    from cupy_backends.cuda.libs import cublas  # noqa: F401


def test_the_extra_and_the_code_want_the_same_versions():
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[2] / "setup.cfg")
    extra = config["options.extras_require"]["cuda"] + config["options"]["install_requires"]
    for package, (low, high) in devices.VERSIONS.items():
        bounds = [line for line in extra.split() if re.match(rf"{package}\W", line)]
        stated = ",".join(re.sub(r"^[\w-]+(\[\w+\])?", "", line) for line in bounds)
        bounds = re.findall(r"(>=|<)([\d.]+)", stated)
        found = {sign: tuple(map(int, bound.split("."))) for sign, bound in bounds}
        assert found[">="][: len(low)] in (low, low[:1]) and found["<"] in (high, high[:1]), package


def test_a_card_without_a_driver_is_one_line():
    """CuPy is here, a card is not: what the user is told."""
    from minihash import mlp

    if cupy.cuda.is_available():
        pytest.skip("there is a card")
    with pytest.raises(OSError, match="^device cuda: cudaError.*; wanted an NVIDIA GPU and its driver$"):
        mlp([3, 2]).to("cuda")
