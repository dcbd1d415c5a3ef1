"""What fits on a board: flash, RAM and cycles of 784-100-10 on AVR, by compression and bits.

    python -m benchmarks.boards       # prints the table of docs/embedded.md; wants avr-gcc, avr-libc, simavr

Each network is exported, compiled with the harness of the tests and run on a simulated ATmega1284P for two
test digits. The weights are untrained: cycles depend on the pixels that are 0, and hardly on the weights.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import markdown
from minihash import datasets, mlp
from minihash.export import to_c

HARNESS = Path(__file__).parents[1] / "tests" / "export" / "harness"
FLAGS = "-std=c99 -Os -ffunction-sections -fdata-sections -Wl,--gc-sections -DNO_SELFTEST".split()
CHIP = "atmega1284p"
SIZES = [784, 100, 10]
DIGITS = 2
FACTORS, BUCKETS = (8, 16, 32, 64, 128, 256), ("float32", "int8", "int4")
TILES: dict[str, Any] = {"element": 1, "auto": "auto", "8 segments": [99, 1], "4 segments": [197, 1]}


def main() -> None:
    images = datasets.load("mnist-small").test[0][:DIGITS].astype(np.uint8)
    rows = []
    for factor, (name, tile), weights in itertools.product(FACTORS, TILES.items(), BUCKETS):
        network = mlp(SIZES, compression=1 / factor, tile=tile, input_scale=1 / 255)
        with tempfile.TemporaryDirectory() as folder:
            report = to_c(network, folder, weights=weights)
            place = (f"1/{factor}", name, weights, f"{report.flash:,}")
            try:
                flash, ram, cycles = measure(Path(folder), images)
                rows.append((*place, f"{flash:,}", f"{ram:,}", f"{cycles / 1e6:.1f}"))
            except subprocess.CalledProcessError as error:
                if "is too large" not in error.output:
                    raise
                rows.append((*place, "an array is too large", "", ""))
    header = ("compression", "tiles", "buckets", "weights", "flash", "RAM", "million cycles")
    print(markdown(header, rows))


def measure(folder: Path, images: np.ndarray) -> tuple[int, int, float]:
    """Return bytes of flash and of static RAM, the digits not counted, and the cycles of a digit."""
    digits = ",\n".join("{" + ",".join(map(str, image.ravel())) + "}" for image in images)
    declaration = f"static const uint8_t digits[DIGITS][{images[0].size}] PROGMEM = {{\n{digits}\n}};\n"
    text = f"#include <stdint.h>\n#define DIGITS {len(images)}\n{declaration}"
    (folder / "digits.h").write_text(text)
    program = folder / "program.elf"
    sources = HARNESS / "avr_predict.c", folder / "model.c"
    run("avr-gcc", f"-mmcu={CHIP}", *FLAGS, f"-I{folder}", f"-I{HARNESS}", "-o", program, *sources, "-lm")
    code, data, bss = map(int, run("avr-size", program).splitlines()[1].split()[:3])
    said = run("simavr", "-m", CHIP, "-f", "16000000", program)
    cycles = [int(found) for found in re.findall(r"\x1b\[32m\d+ (\d+)\.", said)]
    assert len(cycles) == len(images), said
    return code + data - images.nbytes, data + bss, float(np.mean(cycles))


def run(*command: str | Path) -> str:
    """Run a program that must succeed; return what it printed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    main()
