"""Columns of a table, as people keep it: numbers or words; and the inputs that they become."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minihash import checks, frames
from minihash.text import listed

KINDS = ("number", "words")
#: Texts of an empty cell, in small letters.
EMPTY = frozenset(("", "na", "n/a", "#n/a", "nan", "<na>", "nil", "null", "none", "missing", "?"))
TRUTH = {"false": 0.0, "true": 1.0}

#: Cells of a column: texts, or numbers with NaN for an empty cell.
Cells = Sequence[str] | np.ndarray


class Encoded(NamedTuple):
    """Inputs of some rows.

    inputs : (rows, inputs of the column) float64; NaN where `empty`, of a number without a fill.
    empty : (rows,) whether a cell is empty.
    unknown : words that the column does not know: they are none of its words.
    """

    inputs: np.ndarray
    empty: np.ndarray
    unknown: list[str]


@dataclass(frozen=True)
class Column:
    """A column of features, and how its cells become inputs of a network.

    Parameters
    ----------
    name : as messages call it.
    kind : "number", True is 1 and False 0; or "words", an input for each word, 1 where it is that.
    words : of "words", those that are known.
    fill : what an empty number becomes, and 0 for words: it is none of them; None: it is refused.
    """

    name: str
    kind: str = "number"
    words: tuple[str, ...] = ()
    fill: float | None = None

    def __post_init__(self) -> None:
        checks.choice("kind", self.kind, KINDS)
        words = tuple(self.words)
        if (self.kind == "words") != bool(words) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"words is {self.words!r}, wanted texts for a column of words, and for no other")
        if not isinstance(self.name, str):
            raise ValueError(f"name is {self.name!r}, wanted a text")
        if self.fill is not None:
            checks.number("fill", self.fill, -np.inf, np.inf)
        object.__setattr__(self, "words", words)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its inputs."""
        return tuple(f"{self.name}={word}" for word in self.words) or (self.name,)

    @property
    def called(self) -> str:
        """What messages call it: column 'age', or column 3 where the file has no names."""
        return called(self.name)

    def encode(self, cells: Cells, decimal: str = ".", lines: Sequence[int] = ()) -> Encoded:
        """Return what cells become; `lines` are the numbers of their lines, for messages.

        Raises
        ------
        ValueError with the column and the first cell that is no number.
        """
        if self.kind == "words":
            place_of = {word: place for place, word in enumerate(self.words)}
            texts = [text.strip() for text in texts_of(cells)]
            places = np.array([place_of.get(text, -1) for text in texts], np.int64)
            empty = (places < 0) & np.array([is_empty(text) for text in texts], bool)
            unknown = sorted({text for text, place, no in zip(texts, places, empty) if place < 0 and not no})
            return Encoded((places[:, None] == np.arange(len(self.words))) * 1.0, empty, unknown)
        values = numbers_of(cells, decimal)
        if isinstance(values, str):
            where = f" in line {lines[list(cells).index(values)]}" if lines else ""
            raise ValueError(f"{self.called} has {ascii(values[:30])}{where}, wanted a number")
        empty = np.isnan(values)
        if self.fill is not None:
            values = np.where(empty, self.fill, values)
        return Encoded(values[:, None], empty, [])


def encode_frame(name: str, frame: Any, columns: Sequence[Column]) -> np.ndarray:
    """Return the inputs (rows, inputs) float64 of a table such as a DataFrame, which has all these columns.

    They are found by their names, in any order; where labels are no text, by their places. What the network
    has not met in training is told by a warning.

    Raises
    ------
    ValueError with the column that is missing, one that nobody wants, or the first row of one that is empty
    or no number.
    """
    frame = frames.in_order(name, frame, [column.name for column in columns])
    if len(labels := frames.labels_of(frame) or ()) != len(columns):
        raise ValueError(f"{name} has {len(labels)} columns, wanted {len(columns)}")
    blocks = []
    for column, (label, given) in zip(columns, frames.columns(frame)):
        what = f"{name} column {label!r}"
        cells = cells_of(what, given, empty=column.fill is not None)
        try:
            inputs, empty, unknown = column.encode(cells)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
        if column.fill is None and empty.any():
            raise ValueError(f"{what} is empty in row {int(empty.argmax())}, wanted a value")
        if unknown:
            met = f"has words that training did not have ({listed(unknown, 3)})"
            warnings.warn(f"{what} {met}: taken for none", stacklevel=4)
        blocks.append(inputs)
    return np.concatenate(blocks, axis=1)


def cells_of(name: str, column: Any, *, empty: bool = False) -> Cells:
    """Return a column of a table such as a DataFrame as cells; a category is a word, even if it is a number.

    Raises
    ------
    ValueError with the row of a missing entry, unless there may be `empty` cells.
    """
    values = np.asarray(column)
    if values.dtype.kind in "fiub" and not is_category(column):
        return values
    if values.dtype.kind not in "fiubOUST":
        raise ValueError(f"{name} has dtype {values.dtype}, wanted numbers or words")
    texts = []
    for row, entry in enumerate(values.tolist()):
        if frames.is_missing(entry):
            if not empty:
                wanted = "a value: fill it, or leave out its row"
                raise ValueError(f"{name} is {entry!r} in row {row}, wanted {wanted}")
            texts.append("")
        else:
            number = frames.is_number(entry) and not isinstance(entry, (bool, np.bool_))
            texts.append(label_of(entry) if number else str(entry))
    return texts


def is_category(column: Any) -> bool:
    """Tell whether a column of a table is one of categories, as pandas has them."""
    return type(column.dtype).__name__ == "CategoricalDtype"


def called(name: str) -> str:
    """Return what messages call a column: by its name, or its number, of which its name is made."""
    return name if re.fullmatch(r"column \d+", name) else f"column {name!r}"


def is_empty(text: str) -> bool:
    """Tell whether a cell says that its value is not known."""
    return text.strip().lower() in EMPTY


def texts_of(cells: Cells) -> Sequence[str]:
    """Return cells as texts: a whole number without a point, an empty cell as nothing."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "fiub":
        return ["" if number != number else label_of(number) for number in cells.tolist()]
    return cells  # type: ignore[return-value]


def label_of(number: Any) -> str:
    """Return a number as the name of a class: 3.0 and 3 are "3"."""
    return str(int(number)) if number == int(number) else repr(float(number))


def numbers_of(cells: Cells, decimal: str = ".") -> np.ndarray | str:
    """Return cells as float64, NaN for the empty ones; or the first one that is no finite number."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "fiub":
        return cells.astype(np.float64)
    texts = [_point(text, decimal) for text in cells]
    try:
        values = np.array(texts, np.float64)
        if np.isfinite(values).all() and not any("_" in text for text in texts):
            return values
    except ValueError:  # the usual file has none of these: one by one takes longer
        pass
    numbers = np.array([_number(text) for text in texts])
    wrong = np.isinf(numbers)
    return str(cells[int(wrong.argmax())]) if wrong.any() else numbers


def _point(text: str, decimal: str) -> str:
    """Return a number with a decimal point; of "1.5" in a file with decimal commas, what is no number."""
    return text if decimal == "." else text.replace(".", "_").replace(decimal, ".")


def _number(text: str) -> float:
    """Return a finite number, 0 or 1 for False or True, NaN for an empty cell, infinity for anything else."""
    if is_empty(text):
        return np.nan
    if text.strip().lower() in TRUTH:
        return TRUTH[text.strip().lower()]
    try:
        value = np.inf if "_" in text else float(text)
    except ValueError:
        return np.inf
    return value if np.isfinite(np.float32(value)) else np.inf
