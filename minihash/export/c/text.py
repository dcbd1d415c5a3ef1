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
LITERAL = 96  # characters of a string, in a line with its indent
LEAST_SCALE = 1e-30  # of a feature: below, the inputs that it scales to a number may be beyond float32
LEAST_PLAIN, LEAST_LONG = 1e-4, 1e6  # between them no exponent
#: Types in C, and what reads a number of flash memory.
C_TYPES = {
    "float32": ("float", "READ_FLOAT"),
    "int8": ("int8_t", "READ_I8"),
    "uint8": ("uint8_t", "READ_U8"),
    "uint16": ("uint16_t", "READ_U16"),
    "uint32": ("uint32_t", "READ_U32"),
    "int32": ("int32_t", "READ_I32"),
}


@functools.lru_cache(maxsize=None)
def template(file: str) -> str:
    """Return the text of a template of this package."""
    return resources.files("minihash.export.c").joinpath("templates", file).read_text("utf-8")


@functools.lru_cache(maxsize=None)
def _sections(text: str) -> dict[str, str]:
    """Return the sections of a template by name; what is above the first has the name ""."""
    found: dict[str, list[str]] = {"": []}
    lines = found[""]
    for line in text.splitlines(keepends=True):
        if line.startswith(SECTION):
            lines = found.setdefault(line[len(SECTION) :].strip(), [])
        else:
            lines.append(line)
    return {name: "".join(lines).strip("\n") + "\n" for name, lines in found.items()}


def fill(text: str, section: str = "", **fields: Any) -> str:
    """Return a section of a template's text with its `$fields` filled in."""
    return string.Template(_sections(text)[section]).substitute(fields)


def c_type(dtype: np.dtype) -> str:
    """Return the type of an array's numbers in C."""
    return C_TYPES[dtype.name][0]


def number(value: Any) -> str:
    """Return a float32 as the shortest literal that reads back as the same bits.

    `str` would do what np.set_printoptions says.
    """
    value = np.float32(value)
    if value == 0 or LEAST_PLAIN <= abs(value) < LEAST_LONG:
        return f"{np.format_float_positional(value, unique=True, trim='0')}f"
    return f"{np.format_float_scientific(value, unique=True, trim='-', exp_digits=2)}f"


def strings(text: str) -> list[str]:
    """Return a text as string literals of UTF-8, one after the other, none longer than a line.

    Quotes, backslashes and question marks (two would begin a trigraph) are escaped, and what is not printable
    ASCII is octal: always three digits, so that a digit behind it is none of them.
    """
    letters = [_letter(byte) for byte in text.encode("utf-8", "surrogatepass")]
    parts, part = [], ""
    for letter in letters:
        if len(part) + len(letter) > LITERAL:
            parts.append(f'"{part}"')
            part = ""
        part += letter
    return [*parts, f'"{part}"']


def _letter(byte: int) -> str:
    """Return a byte inside a string literal."""
    letter = chr(byte)
    if letter in '"\\?':
        return f"\\{letter}"
    return letter if 32 <= byte < 127 else f"\\{byte:03o}"


def indent(lines: Iterable[str]) -> str:
    """Return lines of a function's body."""
    return "\n".join(f"    {line}" if line else "" for line in lines)


def values(array: np.ndarray) -> str:
    """Return the numbers of an array for its initialiser, in lines of at most WIDTH characters."""
    array = array.ravel()
    ending = "u" if array.dtype.kind == "u" else ""
    whole = (f"{value}{ending}" for value in array.tolist())
    numbers = map(number, array) if array.dtype.kind == "f" else whole
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
        head = f"static const {c_type(self.array.dtype)} {self.name}[{self.array.size}] IN_FLASH"
        return f"{head} = {{\n{values(self.array)}\n}};\n"

    def read(self, index: str) -> str:
        """Return the expression of its number at `index`."""
        return f"{C_TYPES[self.array.dtype.name][1]}(&{self.name}[{index}])"
