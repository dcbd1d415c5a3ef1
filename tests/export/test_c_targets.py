"""Exported C on other machines: a big-endian one, a Cortex-M3 and AVR, simulated."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_tools import HARNESS, WARNINGS, close, predict_with, require, run, write_digits
from test_c_predict import EVERY_LAYER
from test_c_training import parameters, step

from minihash import Network, datasets, mlp
from minihash.export import to_c
from minihash.layers import HashedLinear, Sigmoid, Tanh
from minihash.optimizers import SGD

pytestmark = pytest.mark.slow  # needs cross compilers and simulators

AVR = "-std=c99 -Os -Wall -Wextra -Wpedantic -Werror -ffunction-sections -fdata-sections".split()
CORTEX = "-mcpu=cortex-m3 -mthumb -Os -ffunction-sections -nostartfiles -Wl,--gc-sections".split()
SMALL = "atmega328p"  # 32 KB of flash, 2 KB of RAM
LARGE = "atmega2560"  # 256 and 8


def sources(program: str, folder: Path) -> list[Path]:
    """What a program on a chip is made of."""
    return [HARNESS / program, folder / "model.c", folder / "model_selftest.c"]


def macro(folder: Path, name: str) -> int:
    """A number of the header."""
    found = re.search(rf"#define MODEL_{name} (\d+)", (folder / "model.h").read_text())
    assert found
    return int(found[1])


def both_streams(*simulator: str | Path) -> str:
    """Run a simulator; return what it printed, and what the chip did, wherever it says that."""
    return subprocess.run(
        simulator, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=True, text=True
    ).stdout


# ------------------------------------------------------------------------------------ other computers


def test_big_endian(trained: Network, exported: Path, images: np.ndarray, tmp_path: Path) -> None:
    require("powerpc-linux-gnu-gcc", "qemu-ppc")
    program = tmp_path / "predict"
    compiler = ["powerpc-linux-gnu-gcc", *WARNINGS, "-O2", "-static", f"-I{exported}"]
    run(*compiler, "-o", program, *sources("predict.c", exported), "-lm")
    found = predict_with(["qemu-ppc", program], images[:100], 10, order=">")
    assert close(found, trained.predict(images[:100]))


def test_big_endian_every_layer(tmp_path: Path) -> None:
    require("powerpc-linux-gnu-gcc", "qemu-ppc")
    network = Network(EVERY_LAYER)
    to_c(network, tmp_path)
    compiler = ["powerpc-linux-gnu-gcc", *WARNINGS, "-O2", "-static", f"-I{tmp_path}"]
    run(*compiler, "-o", tmp_path / "predict", *sources("predict.c", tmp_path), "-lm")
    inputs = np.random.default_rng(0).normal(size=(10, 20))
    found = predict_with(["qemu-ppc", tmp_path / "predict"], inputs, 10, order=">")
    assert close(found, network.predict(inputs))


def test_cortex_m(trained: Network, exported: Path, images: np.ndarray, tmp_path: Path) -> None:
    require("arm-none-eabi-gcc", "qemu-system-arm")
    write_digits(tmp_path, images[:20])
    compiler = ["arm-none-eabi-gcc", *WARNINGS, *CORTEX, "-T", HARNESS / "cortex_m.ld"]
    paths = [f"-I{exported}", f"-I{tmp_path}", "-o", tmp_path / "program.elf"]
    run(*compiler, *paths, *sources("cortex_m.c", exported), "-lm")
    machine = "-M mps2-an385 -nographic -monitor none -serial none -semihosting -kernel".split()
    found = both_streams("qemu-system-arm", *machine, tmp_path / "program.elf")
    assert found == "0" + "".join(map(str, trained.predict(images[:20]).argmax(axis=1)))


@pytest.mark.parametrize("training", [False, True])
def test_no_double_and_no_wide_product(training: bool, tmp_path: Path) -> None:
    """Nothing that a chip without a floating-point unit would need a library for, beyond float."""
    require("arm-none-eabi-gcc")
    to_c(Network(EVERY_LAYER), tmp_path, training=training)
    compiler = ["arm-none-eabi-gcc", *WARNINGS, "-mcpu=cortex-m0", "-Os"]
    run(*compiler, "-c", "-o", tmp_path / "model.o", tmp_path / "model.c")
    needed = run("arm-none-eabi-nm", "-u", tmp_path / "model.o").split()[1::2]
    allowed = {"expf", "logf", "tanhf", "memset", "memcpy", "__aeabi_ui2f", "__aeabi_i2f"}
    allowed |= {f"__aeabi_{kind}idiv{more}" for kind in ("", "u") for more in ("", "mod")}  # of a place
    assert needed and all(name in allowed or name.startswith("__aeabi_f") for name in needed), needed


# ---------------------------------------------------------------------------------------------- AVR


def simulate(chip: str, program: Path) -> list[list[int]]:
    """Run a program on a simulated chip; return the numbers that it wrote, line by line."""
    output = both_streams("simavr", "-m", chip, "-f", "16000000", program)
    return [[int(word) for word in line.split()] for line in re.findall(r"\x1b\[32m([\d ]+)\.", output)]


def sizes(file: Path) -> tuple[int, int]:
    """Bytes of flash and of static RAM."""
    text, data, bss = map(int, run("avr-size", file).splitlines()[1].split()[:3])
    return text + data, data + bss


def build_avr(chip: str, program: str, folder: Path, include: Path, *flags: str) -> Path:
    path = include / "program.elf"
    paths = [f"-I{folder}", f"-I{include}", f"-I{HARNESS}", "-o", path]
    compiler = ["avr-gcc", f"-mmcu={chip}", *AVR, "-Wl,--gc-sections", *flags]
    run(*compiler, *paths, *sources(program, folder), "-lm")
    return path


def test_avr_predicts(trained: Network, exported: Path, images: np.ndarray, tmp_path: Path) -> None:
    require("avr-gcc", "avr-size", "simavr")
    count = 8
    write_digits(tmp_path, images[:count])
    program = build_avr(SMALL, "avr_predict.c", exported, tmp_path)
    flash, ram = sizes(program)
    assert flash < 32 * 1024 and ram + 200 < 2 * 1024
    (selftest,), *found = simulate(SMALL, program)
    assert selftest == 0
    assert [label for label, _ in found] == trained.predict(images[:count]).argmax(axis=1).tolist()
    print(f"{trained.layers[0]!r}: {np.mean([cycles for _, cycles in found]):,.0f} cycles")


@pytest.mark.parametrize("flags", [(), ("-DMODEL_MOMENTUM",)], ids=str)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layers", ["every", "hashed", "shared products", "segments", "one layer"])
def test_avr_sizes_are_as_stated(layers: str, training: bool, flags: tuple[str, ...], tmp_path: Path) -> None:
    require("avr-gcc", "avr-size")
    if layers == "every":
        network = Network(EVERY_LAYER)
    elif layers == "one layer":
        one = [HashedLinear(20, 9, num_buckets=21, tile=7), Sigmoid() if training else Tanh()]
        network = Network([*one, *([] if training else [Sigmoid()])], input_scale=np.linspace(1, 2, 20))
    else:
        tile = {"hashed": 1, "shared products": [19, 5], "segments": [8, 4]}[layers]
        network = mlp([40, 20, 10], compression=0.25, tile=tile)
    to_c(network, tmp_path, training=training)
    file = tmp_path / "model.o"
    run("avr-gcc", f"-mmcu={LARGE}", *AVR, *flags, "-c", "-o", file, tmp_path / "model.c")
    flash, ram = sizes(file)
    text = (tmp_path / "model.h").read_text()
    stated = [int(number) for number in re.findall(r"#define MODEL_RAM_BYTES (\d+)", text)]
    assert ram == (stated[0] if flags else stated[-1])
    assert 0 < flash - macro(tmp_path, "FLASH_BYTES") <= macro(tmp_path, "CODE_BYTES")


def test_avr_refuses_more_constants_than_it_can_address(tmp_path: Path) -> None:
    """Beyond 64 KB addresses of 16 bits would wrap around, and nobody would say so."""
    require("avr-gcc")
    to_c(mlp([40, 300, 300, 300, 10], num_buckets=[5000, 5000, 5000, 800]), tmp_path)
    with pytest.raises(AssertionError, match="more constants than addresses of 16 bits reach"):
        run("avr-gcc", f"-mmcu={LARGE}", *AVR, "-c", "-o", tmp_path / "model.o", tmp_path / "model.c")


@pytest.mark.parametrize("tile", [1, 22])
def test_avr_trains(tile: int, digits: datasets.Dataset, tmp_path: Path) -> None:
    require("avr-gcc", "avr-size", "simavr")
    passes, rate = 6, 0.1
    images = digits.train[0][:10].reshape(-1, 28, 28)[:, 2:26, 2:26]
    images = images.reshape(-1, 8, 3, 8, 3).mean(axis=(2, 4)).round().reshape(-1, 64).astype(np.float32)
    labels = digits.train[1][:10]
    network = mlp([64, 64, 10], compression=1 / 8, tile=[tile, 1], input_scale=1 / 255, seed=1)
    to_c(network, tmp_path, training=True)
    write_digits(tmp_path, images, labels)
    flags = [f"-DPASSES={passes}", f"-DLEARNING_RATE={rate}f"]
    program = build_avr(LARGE, "avr_train.c", tmp_path, tmp_path, *flags)
    assert sizes(program)[1] + 300 < 4 * 1024  # where the dense network's weights alone need 19 KB
    (before,), (after,), *bits = simulate(LARGE, program)
    assert before == np.count_nonzero(network.predict(images).argmax(axis=1) != labels)
    optimizer = SGD(rate)
    for _ in range(passes):
        for x, label in zip(images, labels):
            step(network, optimizer, x, int(label))
    assert after == np.count_nonzero(network.predict(images).argmax(axis=1) != labels)
    assert after < before / 4
    found = np.array(bits, np.uint32)[:, 0].view(np.float32)
    assert np.abs(found - parameters(network)).max() < 1e-4
