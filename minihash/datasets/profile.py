"""What the columns of a table hold, found by reading it once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from minihash.encoding import TRUTH, Cells, Column, called, is_empty, numbers_of, texts_of

MAX_WORDS = 64  # of a column of features: each takes an input of its own
MAX_LABELS = 2**16  # of a target
INDEX_NAME = "Unnamed: "  # which pandas gives to an index that it has read


class Table(Protocol):
    """A file of columns.

    path, names, width : of the file; no names where it has no header.
    decimal : the decimal sign of texts.
    """

    @property
    def path(self) -> str: ...

    @property
    def width(self) -> int: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def decimal(self) -> str: ...

    def chunks(self) -> Iterator[tuple[Sequence[int], Sequence[Cells]]]:
        """Yield the lines or rows, by number, that come next, and the cells of each column in them."""
        ...


class Profile:
    """What one column holds.

    name : as messages call it.
    rows, empty : cells so far, and those among them that are empty; `first_empty` is the line of the first.
    numbers : whether all others are numbers.
    words : the different texts, None where they are more than `most`.
    """

    def __init__(self, name: str, most: int, decimal: str) -> None:
        self.name, self.most, self.decimal = name, most, decimal
        self.rows, self.empty, self.first_empty = 0, 0, 0
        self.numbers = True
        self.words: set[str] | None = set()
        self.not_a_number = ""  # with its line, of a column that has numbers too
        self._sum, self._has_number = 0.0, False
        self._counts: list[np.ndarray] | None = [] if not name or name.startswith(INDEX_NAME) else None

    def add(self, lines: Sequence[int], cells: Cells) -> None:
        """Take more cells into account."""
        if self.numbers:
            self._add_numbers(lines, cells)
        if not self.numbers or self.words is not None:
            self._add_texts(lines, cells)
        self.rows += len(lines)

    def _add_numbers(self, lines: Sequence[int], cells: Cells) -> None:
        values = numbers_of(cells, self.decimal)
        if isinstance(values, str):
            self.numbers = False
            place = list(cells).index(values)
            self._has_number = self._has_number or place > 0
            self.not_a_number = f"{ascii(values.strip()[:30])} in line {lines[place]}"
            return
        empty = np.isnan(values)
        self._note_empty(lines, empty)
        self._sum += float(values[~empty].sum())
        self._has_number = self._has_number or not empty.all()
        if self._counts is not None:
            self._counts.append(values)

    def _add_texts(self, lines: Sequence[int], cells: Cells) -> None:
        texts = [text.strip() for text in texts_of(cells)]
        if not self.numbers:
            self._note_empty(lines, np.array([is_empty(text) for text in texts], bool))
        if self.words is not None:
            self.words.update(text for text in set(texts) if not is_empty(text))
            if len(self.words) > self.most:
                self.words = None

    def _note_empty(self, lines: Sequence[int], empty: np.ndarray) -> None:
        if not self.empty and empty.any():
            self.first_empty = lines[int(empty.argmax())]
        self.empty += int(empty.sum())

    @property
    def counts_rows(self) -> bool:
        """Whether this is the index of a frame: without a name, and another whole number in each row."""
        if not self._counts or not self.numbers:
            return False
        values = np.concatenate(self._counts)
        return bool((values == np.rint(values)).all()) and len(np.unique(values)) == len(values)

    def column(self, fill: bool) -> Column:
        """Return how the column becomes inputs; `fill`: an empty cell becomes the mean of the others.

        Raises
        ------
        ValueError with the column if it has no value at all, or too many words.
        """
        if self.empty == self.rows:
            raise ValueError(f"{called(self.name)} is empty, wanted values, or to drop it")
        if self.numbers:
            mean = self._sum / (self.rows - self.empty)
            return Column(self.name, fill=mean if fill else None)
        words = self._words(called(self.name), "numbers, fewer words, or to drop it")
        numbers = sum(not isinstance(numbers_of([word], self.decimal), str) for word in words)
        if 2 * numbers >= len(words):  # it is rather a number that is damaged than a word
            raise ValueError(f"{called(self.name)} has numbers, but {self.not_a_number} is none")
        return Column(self.name, "words", words, fill=0.0 if fill else None)

    def labels(self) -> tuple[str, ...] | None:
        """Return the names of the classes of a target of words; None if it has numbers.

        Raises
        ------
        ValueError with the column if there are too many.
        """
        if self.numbers and not (self.words and all(word.lower() in TRUTH for word in self.words)):
            return None
        return self._words(f"target {self.name!r}", "numbers, or fewer classes")

    def _words(self, what: str, wanted: str) -> tuple[str, ...]:
        if self.words is None and self._has_number:
            raise ValueError(f"{what} has numbers, but {self.not_a_number} is none, wanted {wanted}")
        if self.words is None:
            many = f"has more than {self.most} different words, such as {self.not_a_number}"
            raise ValueError(f"{what} {many}, wanted {wanted}")
        return tuple(sorted(self.words))


def check_empty(profiles: Sequence[Profile]) -> None:
    """Refuse columns with empty cells."""
    if found := [one for one in profiles if one.empty]:
        first, others = found[0], ", ".join(called(one.name) for one in found[1:5])
        cells = f"{called(first.name)} has {first.empty:,} empty cell{'s' * (first.empty > 1)}"
        too = f", and {others}{', …' * (len(found) > 5)} too" if others else ""
        wanted = "wanted none, or missing: mean or drop"
        raise ValueError(f"{cells} (line {first.first_empty}){too}, {wanted}")
