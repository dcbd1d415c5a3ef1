"""A classifier of digits that errs on less than 3 %, on a chip with 32 KB of flash and 2 KB of RAM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from c_tools import HARNESS, Library, require, run, write_digits
from test_c_targets import AVR, CORTEX, SMALL, both_streams, simulate, sizes, sources

from minihash import datasets, fit, mlp, schedules
from minihash.export import to_c
from minihash.network import Network
from minihash.optimizers import Adam
from minihash.quantization import quantize

pytestmark = pytest.mark.slow  # trains, and simulates a chip

STACK = 200  # bytes
DIGITS = 20
TILES = {"element": 1, "tiles": 99}
#: On the chip at a time: what weights and places of columns leave of its flash memory has room for no more.
ROOM = {1: 2, 99: 1}


@pytest.fixture(scope="module", params=TILES.values(), ids=TILES)
def classifier(request: pytest.FixtureRequest, digits: datasets.Dataset) -> Network:
    """784-384-10 with a sixth of the weights, in four bits: 25 KB."""
    network = mlp(
        [784, 384, 10],
        compression=1 / 6,
        tile=request.param,
        dropout=(0.235, 0.1),
        input_scale=digits.input_scale,
        class_names=digits.class_names,
    )
    rate = 0.00425
    optimizer, schedule = Adam(rate, beta1=0.82), schedules.one_cycle(rate)
    rows = digits.train_and_validation()
    fit(network, rows, epochs=60, optimizer=optimizer, schedule=schedule, progress=False)
    return quantize(network, 4)


@pytest.fixture(scope="module")
def folder(classifier: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chip")
    to_c(classifier, path)
    return path


def test_it_errs_on_less_than_3_percent(classifier: Network, folder: Path, digits: datasets.Dataset) -> None:
    """Of 10,000 test digits, counted by the same C on this computer; no label differs from Python's."""
    images, labels = digits.test
    found = np.array(Library(folder, classifier, "-O2").classify(images))
    assert (found == classifier.predict(images).argmax(axis=1)).all()
    accuracy = (found == labels).mean()
    print(f"{classifier.layers[1]!r}: {100 * accuracy:.2f} %")
    assert len(images) == 10_000 and accuracy >= 0.97


def test_it_fits_an_atmega328p_and_runs_there(
    classifier: Network, folder: Path, images: np.ndarray, tmp_path: Path
) -> None:
    require("avr-gcc", "avr-size", "simavr")
    wanted = classifier.predict(images[:DIGITS]).argmax(axis=1).tolist()
    found, cycles, room = [], [], ROOM[classifier.layers[1].tile]
    for first in range(0, DIGITS, room):
        write_digits(tmp_path, images[first : first + room])
        program = tmp_path / "program.elf"
        compiler = ["avr-gcc", f"-mmcu={SMALL}", *AVR, "-Wl,--gc-sections", "-DNO_SELFTEST"]
        code = [HARNESS / "avr_predict.c", folder / "model.c"]
        paths = [f"-I{path}" for path in (folder, tmp_path, HARNESS)]
        run(*compiler, *paths, "-o", program, *code, "-lm")
        flash, ram = sizes(program)
        assert flash <= 32 * 1024 and ram + STACK <= 2 * 1024
        for label, count in simulate(SMALL, program):
            found.append(label)
            cycles.append(count)
    assert found == wanted
    print(f"{flash} bytes of flash, {ram} of RAM, {np.mean(cycles) / 1e6:.1f} million cycles")


def test_it_runs_on_a_cortex_m(
    classifier: Network, folder: Path, images: np.ndarray, tmp_path: Path
) -> None:
    require("arm-none-eabi-gcc", "qemu-system-arm")
    write_digits(tmp_path, images[:DIGITS])
    compiler = ["arm-none-eabi-gcc", "-std=c99", *CORTEX, "-T", HARNESS / "cortex_m.ld"]
    paths = [f"-I{folder}", f"-I{tmp_path}", "-o", tmp_path / "program.elf"]
    run(*compiler, *paths, *sources("cortex_m.c", folder), "-lm")
    machine = "-M mps2-an385 -nographic -monitor none -serial none -semihosting -kernel".split()
    found = both_streams("qemu-system-arm", *machine, tmp_path / "program.elf")
    assert found == "0" + "".join(map(str, classifier.predict(images[:DIGITS]).argmax(axis=1)))
