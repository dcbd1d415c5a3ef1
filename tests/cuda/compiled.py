"""What the kernels cost when compiled, without a card: registers, shared memory, instructions.

Run as a script it prints the table of docs/cuda.md. It needs the packages that .ci/cuda installs.
"""

from __future__ import annotations

import functools
import inspect
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from cuda import pathfinder
from numba import cuda, types

from minihash.kernels import numba_cuda, shared_cuda
from minihash.kernels.cuda_launching import Kernel

CHIPS = {"sm_80": (8, 0), "sm_90": (9, 0)}
DTYPES = {"float32": (types.float32, types.int32), "float64": (types.float64, types.int64)}
KERNELS = {
    name: value
    for module in (numba_cuda, shared_cuda)
    for name, value in vars(module).items()
    if isinstance(value, Kernel)
}
KEY = types.Tuple((types.int64, types.int64, types.boolean))
DROP_KEY = types.UniTuple(types.int64, 3)
DOUBLE = re.compile(r"\bD(?:ADD|MUL|FMA|SETP|MNMX)\b|\.F64|64H")  # what float32 has no use for


class Program(NamedTuple):
    """A kernel for one chip."""

    ptx: str
    registers: int
    shared: int  # bytes, but for what the launcher asks for
    stack: int  # bytes
    spilled: int  # bytes, stores and loads
    opcodes: list[str]


def argument_types(kernel, dtype, layout="C", whole=False):
    """Return the types of a kernel's arguments, by their names; `whole`: sums of whole numbers."""
    number, integer = DTYPES[dtype]
    matrix = types.Array(integer if whole else number, 2, layout)
    vector, totals = types.Array(number, 1, "C"), types.Array(types.int64, 1, "C")
    known = {
        **dict.fromkeys(("panel", "inputs", "outputs", "grad_outputs", "grad_inputs"), matrix),
        **dict.fromkeys(("arranged", "grad_arranged", "grad_products"), matrix),
        **{"products": types.Array(number, 3, "C"), "keys": types.uint64[::1], "starts": types.uint32[::1]},
        **{"places": types.uint32[::1], "signs": types.int8[::1], "tile": types.int64},
        **{"weight": vector, "grad_panel": matrix, "grad_weight": totals if whole else vector},
        **{"scale": number, "key": DROP_KEY if kernel.body.__name__ == "drop" else KEY},
        **dict.fromkeys(("origin", "span"), types.UniTuple(types.int64, 2)),
        **{"slots": types.uint32[:, ::1]},
        **dict.fromkeys(("work", "totals", "peak"), totals),
        **{"integers": types.Array(integer, 2, "C"), "point": types.UniTuple(types.int64, 4)},
    }
    return tuple(known[name] for name in inspect.signature(kernel.body).parameters)


def run(tool, *arguments):
    path = pathfinder.find_nvidia_binary_utility(tool)
    assert path, f"{tool} is missing: docs/cuda.md says what to install"
    done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@functools.cache
def build(name, dtype, chip, layout="C", whole=False):
    """Compile one kernel for one chip."""
    kernel = KERNELS[name]
    ptx, _ = cuda.compile_ptx(kernel.body, argument_types(kernel, dtype, layout, whole), cc=CHIPS[chip])
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx)
        said = run("ptxas", "-v", f"-arch={chip}", source, "-o", binary)
        listing = run("nvdisasm", "-c", binary)

    def figure(pattern):
        return sum(map(int, re.findall(pattern, said)))

    opcodes = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", listing)
    return Program(
        ptx=ptx,
        registers=figure(r"Used (\d+) registers"),
        shared=figure(r"(\d+) bytes smem"),
        stack=figure(r"(\d+) bytes stack frame"),
        spilled=figure(r"(\d+) bytes spill"),
        opcodes=[opcode for opcode in opcodes if opcode != "NOP"],
    )


def variants():
    """Return what there is to compile: name, dtype, and whether whole numbers are summed."""
    for name, kernel in KERNELS.items():
        floats = argument_types(kernel, "float32") != argument_types(kernel, "float64")
        for dtype in DTYPES if floats else ["float32"]:
            yield name, dtype, False
            if isinstance(kernel, numba_cuda.Aggregate):
                yield name, dtype, True


def row(name, dtype, whole):
    """Return a row of the table in docs/cuda.md."""
    programs = [build(name, dtype, chip, whole=whole) for chip in CHIPS]
    figures = [f" {program.registers} | {len(program.opcodes)} |" for program in programs]
    return f"| `{name}` | {dtype}{', whole' * whole} |{''.join(figures)} {programs[0].shared} |"


if __name__ == "__main__":
    for variant in variants():
        print(row(*variant))
