"""What a network costs on a device: bytes of flash and RAM, multiplications, hashes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minihash import text
from minihash.export.c import training
from minihash.export.c.layer import CLayer, index_bytes
from minihash.export.c.text import Constant
from minihash.export.plan import Plan
from minihash.network import Network

FLOAT = 4  # bytes
CODE = {False: (1200, 600), True: (1600, 1400)}  # without and with training: bytes at most, and bytes a layer
STACK = 200  # bytes at most
HEADER = ("layer", "shape", "flash", "multiply-adds", "additions", "hashes")


@dataclass(frozen=True)
class Report:
    """Size and work of an exported network; as text a table and what it adds up to.

    Attributes
    ----------
    summary : what it is, in a line.
    rows : of the table, one a layer.
    inputs, outputs : numbers in and out.
    flash : bytes of constants: parameters and tables.
    code : bytes of code at most, compiled by avr-gcc -Os; elsewhere about as much.
    ram : bytes of static variables in `name.c`. The stack comes on top.
    ram_momentum : the same with momentum, or None where nothing is trained.
    multiply_adds, additions, hashes : of one inference at most; inputs that are 0 are skipped.
    rounded : the dtype of the network where that was rounded, else "".
    whole : whether it computes in whole numbers.
    files : names of what was written.
    """

    summary: str
    rows: tuple[tuple[str, ...], ...]
    inputs: int
    outputs: int
    flash: int
    code: int
    ram: int
    ram_momentum: int | None
    multiply_adds: int
    additions: int
    hashes: int
    rounded: str = ""
    whole: bool = False
    files: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, plan: Plan, network: Network, tables: list[Constant], given: np.dtype, whole: bool = False
    ) -> Report:
        """Return the report of a plan; `given` is the dtype from which the network was rounded.

        tables : constants beside those of the layers.
        whole : whether it computes in whole numbers.
        """
        index = index_bytes(plan.layers)
        own = sum(layer.variables + layer.indices * index for layer in plan.layers)
        ram = FLOAT * (sum(plan.buffers.values()) + plan.outputs) + own
        momentum = None
        code, code_each = CODE[plan.training]
        if plan.training:
            ram += FLOAT * training.floats(plan)
            momentum = ram + FLOAT * (training.count(plan) + 1)
        return cls(
            summary=f"{network.num_parameters:,} stored weights for {network.num_virtual:,}.",
            rows=tuple(map(_row, plan.layers)),
            inputs=plan.layers[0].layer.in_features,
            outputs=plan.outputs,
            flash=sum(map(_flash, plan.layers)) + sum(table.array.nbytes for table in tables),
            code=code + code_each * len(plan.layers),
            ram=ram,
            ram_momentum=momentum,
            multiply_adds=sum(layer.multiply_adds for layer in plan.layers),
            additions=sum(layer.additions for layer in plan.layers),
            hashes=sum(layer.hashes for layer in plan.layers),
            rounded=given.name if given != np.float32 else "",
            whole=whole,
        )

    def ram_macro(self, prefix: str) -> str:
        """Return the C macro of the bytes of static variables."""
        if self.ram_momentum is None:
            return f"#define {prefix}_RAM_BYTES {self.ram}\n"
        return (
            f"#ifdef {prefix}_MOMENTUM\n#define {prefix}_RAM_BYTES {self.ram_momentum}\n"
            f"#else\n#define {prefix}_RAM_BYTES {self.ram}\n#endif\n"
        )

    def __str__(self) -> str:
        momentum = "" if self.ram_momentum is None else f" ({self.ram_momentum:,} with momentum)"
        rounded = [f"numbers: float32, rounded from {self.rounded}"] if self.rounded else []
        floats = "; its routines for floats are about 2,000 bytes more"
        if self.whole:
            rounded, floats = ["numbers: whole, sums of 32 bits"], ""
        return "\n".join(
            [
                text.table(HEADER, self.rows, left=2),
                "",
                f"flash: {self.flash:,} bytes of weights and tables, and at most {self.code:,} of code",
                f"RAM: {self.ram:,} bytes{momentum} of variables, and at most {STACK} of stack",
                f"work: {self.multiply_adds:,} multiply-adds, {self.additions:,} additions, "
                f"{self.hashes:,} hashes; less for inputs of 0",
                f"code and stack: on AVR, by gcc -Os{floats}",
                *rounded,
            ]
        )


def _flash(layer: CLayer) -> int:
    arrays = [*layer.parameters.values(), *(table.array for table in layer.tables)]
    return sum(array.nbytes for array in arrays)


def _row(layer: CLayer) -> tuple[str, ...]:
    inner = layer.layer
    shape = f"{inner.in_features} -> {inner.out_features}"
    name = type(inner).__name__
    work = layer.multiply_adds, layer.additions, layer.hashes
    return (name, shape, *(f"{number:,}" for number in (_flash(layer), *work)))
