"""Text of C: templates that are cut into sections, numbers, constant arrays."""

from __future__ import annotations

import functools
import string
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

SECTION = "//: "  # starts a line that names the section below it
WIDTH = 110
C_TYPES = {
    "float32": "float",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "uint16": "uint16_t",
    "uint32": "uint32_t",
}
READERS = {
    "float32": "READ_FLOAT",
    "int8": "READ_I8",
    "uint8": "READ_U8",
    "uint16": "READ_U16",
    "uint32": "READ_U32",
}


@functools.lru_cache(maxsize=None)
def _sections(file: str) -> dict[str, str]:
    """Return the sections of a template by name; what is above the first has the name ""."""
    text = resources.files("minihash.export").joinpath("templates", file).read_text("utf-8")
    found: dict[str, list[str]] = {"": []}
    lines = found[""]
    for line in text.splitlines(keepends=True):
        if line.startswith(SECTION):
            lines = found.setdefault(line[len(SECTION) :].strip(), [])
        else:
            lines.append(line)
    return {name: "".join(lines).strip("\n") + "\n" for name, lines in found.items()}


def fill(file: str, section: str = "", **fields: Any) -> str:
    """Return a section of a template with its `$fields` filled in."""
    return string.Template(_sections(file)[section]).substitute(fields)


def number(value: Any) -> str:
    """Return a float32 as a literal that reads back as the same bits."""
    return f"{np.float32(value)!s}f"


def indent(lines: Iterable[str]) -> str:
    """Return lines of a function's body."""
    return "\n".join(f"    {line}" if line else "" for line in lines)


def values(array: np.ndarray) -> str:
    """Return the numbers of an array for its initialiser, in lines of at most WIDTH characters."""
    array = array.ravel()
    ending = "u" if array.dtype.kind == "u" else ""
    numbers = map(number, array) if array.dtype.kind == "f" else (f"{value}{ending}" for value in array)
    lines, line = [], "   "
    for text in numbers:
        if len(line) + len(text) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {text},"
    return "\n".join([*lines, line])


@dataclass(frozen=True)
class Constant:
    """An array that stays in flash memory."""

    name: str
    array: np.ndarray  # of a dtype in C_TYPES

    def declaration(self) -> str:
        """Return its definition."""
        kind = C_TYPES[self.array.dtype.name]
        head = f"static const {kind} {self.name}[{self.array.size}] IN_FLASH"
        return f"{head} = {{\n{values(self.array)}\n}};\n"

    def read(self, index: str) -> str:
        """Return the expression of its number at `index`."""
        return f"{READERS[self.array.dtype.name]}(&{self.name}[{index}])"


def smallest_unsigned(array: np.ndarray) -> np.ndarray:
    """Return the array in the smallest unsigned type that holds it."""
    return array.astype(np.min_scalar_type(int(array.max())))
