"""Every kernel compiled for two chips, without one: what it costs, and that it is what docs/cuda.md says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import compiled
import pytest
from compiled import CHIPS, DOUBLE, KERNELS, build

TABLE = (Path(__file__).parents[2] / "docs" / "cuda.md").read_text("utf-8")
VARIANTS = list(compiled.variants())
#: What the panel driver cuts out of larger arrays.
IN_PARTS = ("multiply", "drop", "_outer", "_add_product")

every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=["-".join(map(str, v)) for v in VARIANTS])
every_chip = pytest.mark.parametrize("chip", CHIPS)


def check(program, dtype):
    assert program.stack == program.spilled == 0
    assert program.registers <= 64  # with blocks of 256 threads a chip can be full
    assert program.opcodes and "ld.local" not in program.ptx
    assert not re.search(r"(div|rem)\.[us]64", program.ptx)
    if dtype == "float32":
        assert ".f64" not in program.ptx
        assert not [opcode for opcode in program.opcodes if DOUBLE.search(opcode)]


@every_variant
@every_chip
def test_no_spills_no_division_and_no_doubles_for_float32(variant, chip):
    name, dtype, whole = variant
    check(build(name, dtype, chip, whole=whole), dtype)


@pytest.mark.parametrize("name", IN_PARTS)
def test_the_same_for_parts_of_larger_arrays(name):
    check(build(name, "float32", "sm_90", layout="A"), "float32")


@every_variant
def test_the_table_is_what_the_compiler_says(variant):
    assert compiled.row(*variant) in TABLE.splitlines()


def test_the_table_has_nothing_else():
    rows = [line for line in TABLE.splitlines() if re.match(r"\| `\w+` \| float", line)]
    assert len(rows) == len(VARIANTS)


def test_the_checks_see_doubles():
    program = build("expand", "float64", "sm_80")
    assert ".f64" in program.ptx
    with pytest.raises(AssertionError):
        check(build("multiply", "float64", "sm_80"), "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_are_atomic(dtype):
    """Without returning what was there before: RED; in shared memory there is no such float instruction."""
    opcodes = build("aggregate", dtype, "sm_90").opcodes
    assert [opcode for opcode in opcodes if opcode.startswith("RED")]
    assert [opcode for opcode in opcodes if opcode.startswith("ATOMS")]


def test_without_a_card_kernels_are_there_but_do_not_start():
    """Importing them asks for nothing; minihash itself does not import them."""
    code = """
        import sys
        import numpy as np
        import minihash, minihash.kernels.numba_cpu
        assert "minihash.kernels.numba_cuda" not in sys.modules and "numba.cuda" not in sys.modules
        from minihash.kernels import numba_cuda
        try:
            numba_cuda.KERNELS["element"].locate((0, 5, True), (0, 0), np.zeros((3, 4), np.uint32))
        except Exception as error:
            assert type(error).__name__ == "CudaSupportError", error
        else:
            raise AssertionError("there is a card")
    """
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(line[8:] for line in code.splitlines())],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_every_kernel_is_compiled():
    public = {name for name in KERNELS if not name.startswith("_")}
    of_shared_products = {"arrange_back", "gather"}  # the others are made of some
    assert public == {"locate", "expand", "aggregate", "multiply", "drop"} | of_shared_products
