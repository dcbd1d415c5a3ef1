"""Exported C of networks in whole numbers: the bits of Python, no float, on this computer and on chips."""

from __future__ import annotations

import ctypes
import itertools
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_tools import HARNESS, SANITIZERS, WARNINGS, require, run, write_digits
from test_c_targets import AVR, CORTEX, SMALL, both_streams, macro, simulate, sizes, sources

from minihash import Network, datasets, fit, mlp, schedules
from minihash.export import to_c, to_onnx
from minihash.integers import Integers, integers_of
from minihash.layers import Rounding
from minihash.optimizers import Adam
from minihash.quantization import quantize
from minihash.schema import Schema

pytestmark = pytest.mark.slow  # needs compilers

READER = {np.uint8: ctypes.CFUNCTYPE(ctypes.c_uint8, ctypes.c_uint32)}
READER[np.int8] = ctypes.CFUNCTYPE(ctypes.c_int8, ctypes.c_uint32)
INTEGERS = ["-DINPUT_T=uint8_t", "-DNUMBER_T=int32_t"]
RNG = np.random.default_rng(0)
BIASES, ACTIVATIONS = ("hashed", "free", "none"), ("relu", "tanh", "sigmoid")
KINDS = list(itertools.product([1, 4, "auto"], BIASES, ACTIVATIONS, [8, 4], [True, False]))


class Library:
    """A model in whole numbers, compiled with sanitizers into a shared library."""

    def __init__(self, folder: Path, whole: Integers) -> None:
        require("gcc")
        files = [folder / "model.c", folder / "model_selftest.c"]
        flags = [flag for flag in SANITIZERS if "address" not in flag] + ["-fsanitize=undefined"]
        run("gcc", *WARNINGS, *flags, "-O1", "-shared", "-fPIC", "-o", folder / "model.so", *files)
        self.library, self.outputs = ctypes.CDLL(str(folder / "model.so")), macro(folder, "OUTPUTS")
        self.dtype = np.uint8 if whole.high > 127 else np.int8

    def sums(self, numbers: np.ndarray) -> np.ndarray:
        inputs, found = numbers.astype(self.dtype), np.empty((len(numbers), self.outputs), np.int32)
        for x, out in zip(inputs, found):
            self.library.model_predict(x.ctypes, out.ctypes)
        return found

    def streamed(self, numbers: np.ndarray) -> np.ndarray:
        inputs, found = numbers.astype(self.dtype), np.empty((len(numbers), self.outputs), np.int32)
        for x, out in zip(inputs, found):
            self.library.model_predict_stream(READER[self.dtype](lambda j, x=x: int(x[j])), out.ctypes)
        return found


def made(
    tile: Any, bias: str, activation: str, bits: int, pixels: bool, signed: bool, sizes: list[int]
) -> tuple[Network, np.ndarray]:
    """A network in whole numbers, and inputs."""
    scaling: dict = {"input_scale": 1 / 255} if pixels else {"input_scale": 2.0, "input_shift": 0.5}
    map = {"compression": 1 / 4, "bias": bias, "tile": tile, "signed": signed}
    network = mlp(sizes, activation=activation, seed=len(sizes), **map, **scaling)
    for name, array in network.params.items():
        if name.endswith("bias"):
            array[...] = RNG.normal(size=array.shape)
    inputs = RNG.integers(0, 256, (40, sizes[0])).astype("u1") if pixels else RNG.normal(size=(40, sizes[0]))
    return quantize(network, bits, rows=inputs), inputs


@pytest.mark.parametrize("layers, step", [([20, 30, 7, 3], 1), ([20, 5, 3], 5), ([12, 5], 5)], ids=str)
@pytest.mark.parametrize("signed", [True, False])
def test_the_same_sums_as_in_python(layers: list[int], step: int, signed: bool, tmp_path: Path) -> None:
    for place, kind in enumerate(KINDS[signed::step] if step > 1 else KINDS[signed::2]):
        network, inputs = made(*kind, signed, layers)
        whole = integers_of(network.layers)
        extreme = np.array([[whole.low], [whole.high], [0]]) * np.ones((1, layers[0]), int)
        scaled = (inputs - network.input_shift) * network.input_scale
        numbers = np.vstack([whole.inputs(scaled), extreme])
        to_c(network, tmp_path / str(place))
        library = Library(tmp_path / str(place), whole)
        np.testing.assert_array_equal(library.sums(numbers), whole.sums(numbers), str(kind))
        np.testing.assert_array_equal(library.streamed(numbers[-5:]), whole.sums(numbers[-5:]), str(kind))
        assert library.library.model_selftest() == 0


@pytest.mark.parametrize("kind", KINDS[::7], ids=str)
def test_no_float_and_no_library_of_mathematics(kind: tuple, tmp_path: Path) -> None:
    require("arm-none-eabi-gcc", "avr-gcc")
    to_c(made(*kind, True, [20, 30, 7, 3])[0], tmp_path)
    source = (tmp_path / "model.c").read_text().lower().replace("read_float", "")
    assert not any(word in source for word in ("double", "math.h", "float"))
    allowed = {"memset", "memcpy", "__aeabi_lmul", "__aeabi_lasr", "__aeabi_llsr", "__aeabi_llsl"}
    allowed |= {f"__aeabi_{kind}idiv{more}" for kind in ("", "u") for more in ("", "mod")}  # of a place
    compiler = ["arm-none-eabi-gcc", *WARNINGS, "-mcpu=cortex-m0", "-Os"]
    run(*compiler, "-c", "-o", tmp_path / "m.o", tmp_path / "model.c")
    assert set(run("arm-none-eabi-nm", "-u", tmp_path / "m.o").split()[1::2]) <= allowed
    run("avr-gcc", "-mmcu=atmega328p", *AVR, "-c", "-o", tmp_path / "avr.o", tmp_path / "model.c")
    needed = run("avr-nm", "-u", tmp_path / "avr.o").split()[1::2]
    assert not [name for name in needed if "sf" in name or "float" in name or name in ("exp", "tanh")]


def test_a_row_that_is_no_whole_number_is_refused(tmp_path: Path) -> None:
    network, _ = made(1, "hashed", "relu", 8, True, True, [4, 5, 3])
    network.schema = Schema("classification", feature_names=tuple("abcd"))
    to_c(network, tmp_path)
    files = [tmp_path / name for name in ("main.c", "model.c", "model_selftest.c")]
    run("gcc", *WARNINGS, "-O1", "-o", tmp_path / "main", *files)

    def answer(text: str) -> tuple[int, str, str]:
        found = subprocess.run([tmp_path / "main"], input=text, capture_output=True, text=True)
        return found.returncode, found.stdout, found.stderr.removeprefix("model: self-test passed\n")

    sums = integers_of(network.layers).sums(np.array([[0, 255, 7, 1]]))[0]
    assert answer("0 255 7 1\n") == (0, " ".join(map(str, sums)) + "\n", "")
    for word in ("256", "-1", "0.5", "nan"):
        line = f"model: line 1 has no whole number from 0 to 255 but {word}\n"
        assert answer(f"0 {word} 7 1\n") == (1, "", line)


def test_what_is_refused(tmp_path: Path) -> None:
    network, _ = made(1, "hashed", "relu", 8, True, True, [4, 5, 3])
    with pytest.raises(ValueError, match="^training is True and the weights are quantised"):
        to_c(network, tmp_path / "c", training=True)
    with pytest.raises(ValueError, match="^weights is 'int4' and the network is quantised"):
        to_c(network, tmp_path / "c", weights="int4")
    with pytest.raises(ValueError, match=r"^layers\[0\] is a Rounding, wanted layers that ONNX has"):
        to_onnx(network, tmp_path / "model.onnx")
    floats = Network([Rounding(0.5), *mlp([4, 3], num_buckets=5).layers])
    with pytest.raises(ValueError, match=r"^layers\[0\] is a Rounding, wanted layers that C has a form of"):
        to_c(floats, tmp_path / "c")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------ on other machines

TILES = {"element": 1, "tiles": 98}


@pytest.fixture(scope="module", params=TILES.values(), ids=TILES)
def classifier(request: pytest.FixtureRequest, digits: datasets.Dataset) -> Network:
    """784-100-10 at 1/16 in four bits, in whole numbers."""
    tile = [request.param, 1]
    network = mlp([784, 100, 10], compression=1 / 16, tile=tile, input_scale=digits.input_scale)
    optimizer, schedule = Adam(0.005), schedules.one_cycle(0.005)
    fit(network, digits.train, epochs=5, optimizer=optimizer, schedule=schedule, progress=False)
    return quantize(network, 4, rows=digits.train[0][:2048])


@pytest.fixture(scope="module")
def folder(classifier: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole")
    to_c(classifier, path)
    return path


def test_ten_thousand_digits(classifier: Network, folder: Path, digits: datasets.Dataset) -> None:
    whole = integers_of(classifier.layers)
    numbers = digits.test[0].astype(np.int64)
    found = Library(folder, whole).sums(numbers)
    assert len(found) == 10_000
    np.testing.assert_array_equal(found, whole.sums(numbers))
    assert (found.argmax(axis=1) == classifier.predict(digits.test[0]).argmax(axis=1)).all()


def test_big_endian(classifier: Network, folder: Path, digits: datasets.Dataset, tmp_path: Path) -> None:
    require("powerpc-linux-gnu-gcc", "qemu-ppc")
    compiler = ["powerpc-linux-gnu-gcc", *WARNINGS, *INTEGERS, "-O2", "-static", f"-I{folder}"]
    run(*compiler, "-o", tmp_path / "predict", *sources("predict.c", folder))
    images = digits.test[0][:200]
    command = ["qemu-ppc", str(tmp_path / "predict")]
    found = subprocess.run(command, input=images.tobytes(), capture_output=True, check=True).stdout
    sums = integers_of(classifier.layers).sums(images.astype(np.int64))
    np.testing.assert_array_equal(np.frombuffer(found, ">i4").reshape(-1, 10), sums)


def test_cortex_m(classifier: Network, folder: Path, images: np.ndarray, tmp_path: Path) -> None:
    require("arm-none-eabi-gcc", "qemu-system-arm")
    write_digits(tmp_path, images[:20])
    compiler = ["arm-none-eabi-gcc", *WARNINGS, *INTEGERS, *CORTEX, "-T", HARNESS / "cortex_m.ld"]
    paths = [f"-I{folder}", f"-I{tmp_path}", "-o", tmp_path / "program.elf"]
    run(*compiler, *paths, *sources("cortex_m.c", folder))
    machine = "-M mps2-an385 -nographic -monitor none -serial none -semihosting -kernel".split()
    found = both_streams("qemu-system-arm", *machine, tmp_path / "program.elf")
    assert found == "0" + "".join(map(str, classifier.predict(images[:20]).argmax(axis=1)))


def test_avr(classifier: Network, folder: Path, images: np.ndarray, tmp_path: Path) -> None:
    require("avr-gcc", "avr-size", "simavr")
    write_digits(tmp_path, images[:8])
    compiler = ["avr-gcc", f"-mmcu={SMALL}", *AVR, "-Wl,--gc-sections", *INTEGERS]
    paths = [f"-I{path}" for path in (folder, tmp_path, HARNESS)]
    run(*compiler, *paths, "-o", tmp_path / "program.elf", *sources("avr_predict.c", folder))
    (selftest,), *found = simulate(SMALL, tmp_path / "program.elf")
    assert selftest == 0  # the sums are those of Python
    assert [label for label, _ in found] == classifier.predict(images[:8]).argmax(axis=1).tolist()
    print(f"{classifier.layers[1]!r}: {np.mean([cycles for _, cycles in found]):,.0f} cycles")
    file = tmp_path / "model.o"
    run("avr-gcc", f"-mmcu={SMALL}", *AVR, "-c", "-o", file, folder / "model.c")
    flash, ram = sizes(file)
    assert ram == macro(folder, "RAM_BYTES")
    assert 0 < flash - macro(folder, "FLASH_BYTES") <= macro(folder, "CODE_BYTES")
