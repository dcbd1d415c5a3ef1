"""ONNX graphs as plain data: operators in the order of computation, and constants.

A `Value` is what an operator returns. It has Python's arithmetic, so that formulas read as in docs/format.md;
nothing is computed here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Node:
    """An operator, the names of its inputs and outputs, and its attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass
class Graph:
    """A graph that grows: every method returns the value that it adds."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def constant(self, name: str, array: np.ndarray) -> Value:
        """Add a constant array; whoever uses a name again means the same array."""
        self.constants.setdefault(name, array)
        return Value(self, name, array.dtype)

    def number(self, value: Any, dtype: Any) -> Value:
        """Add a number, or a short list of them, named after itself: every one is stored once."""
        array = np.array(value, dtype)
        return self.constant(f"{array.dtype}({array.tolist()})", array)

    def apply(self, operator: str, *operands: Any, dtype: Any = None, **attributes: Any) -> Value:
        """Add an operator; operands that are numbers, or lists, get the type of the first, a value.

        `dtype` is the result's, by default the first operand's.
        """
        first = operands[0]
        inputs = [item if isinstance(item, Value) else self.number(item, first.dtype) for item in operands]
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(Node(operator, tuple(item.name for item in inputs), (name,), attributes))
        return Value(self, name, np.dtype(first.dtype if dtype is None else dtype))

    def range(self, start: int, stop: int) -> Value:
        """Add start … stop − 1, as uint32 (ONNX has int64 ranges alone)."""
        return self.apply("Range", self.number(start, np.int64), stop, 1).cast(np.uint32)

    def smallest(self, values: Value, count: int) -> tuple[Value, Value]:
        """Add the smallest `count` along the last axis, ascending, and their places; of int64."""
        name = f"TopK_{len(self.nodes)}"
        inputs = (values.name, self.number([count], np.int64).name)
        outputs = (name, f"{name}_places")
        self.nodes.append(Node("TopK", inputs, outputs, {"largest": 0, "sorted": 1}))
        return Value(self, outputs[0], np.dtype(np.int64)), Value(self, outputs[1], np.dtype(np.int64))


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of a graph: its name and the type of its numbers."""

    graph: Graph
    name: str
    dtype: np.dtype

    def __add__(self, other: Any) -> Value:
        return self.graph.apply("Add", self, other)

    def __sub__(self, other: Any) -> Value:
        return self.graph.apply("Sub", self, other)

    def __mul__(self, other: Any) -> Value:
        return self.graph.apply("Mul", self, other)

    def __mod__(self, other: Any) -> Value:
        return self.graph.apply("Mod", self, other)

    def __xor__(self, other: Any) -> Value:
        return self.graph.apply("BitwiseXor", self, other)

    def __lshift__(self, bits: int) -> Value:
        return self.graph.apply("BitShift", self, bits, direction="LEFT")

    def __rshift__(self, bits: int) -> Value:
        return self.graph.apply("BitShift", self, bits, direction="RIGHT")

    def __neg__(self) -> Value:
        return self.graph.apply("Neg", self)

    def cast(self, dtype: Any) -> Value:
        """Add a conversion to another type."""
        return self.graph.apply("Cast", self, dtype=dtype, to=np.dtype(dtype))

    def gather(self, places: Value) -> Value:
        """Add `self[places]`; `places` is int64."""
        return self.graph.apply("Gather", self, places, axis=0)

    def transpose(self) -> Value:
        """Add the transpose of a matrix."""
        return self.graph.apply("Transpose", self, perm=[1, 0])

    def reshape(self, *shape: int) -> Value:
        """Add a reshape; −1 is what is left."""
        return self.graph.apply("Reshape", self, self.graph.number(shape, np.int64))

    def append_columns(self, count: int, value: int) -> Value:
        """Add a matrix with some more columns on the right, all of one number."""
        if not count:
            return self
        return self.graph.apply("Pad", self, self.graph.number([0, 0, 0, count], np.int64), value)


def product(inputs: Value, matrix: Value, bias: Value | None = None) -> Value:
    """Add `inputs · matrixᵀ + bias`."""
    operands = (inputs, matrix) if bias is None else (inputs, matrix, bias)
    return inputs.graph.apply("Gemm", *operands, transB=1)
