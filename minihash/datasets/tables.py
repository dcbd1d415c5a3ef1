"""Tables of a user's own: which column is what, and their rows as numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from minihash import checks
from minihash.datasets.kinds import kind_of
from minihash.datasets.parquet import open_parquet
from minihash.datasets.profile import MAX_LABELS, MAX_WORDS, Profile, Table, check_empty
from minihash.datasets.text_table import open_text
from minihash.encoding import Cells, Column, called, is_empty, label_of, numbers_of, texts_of
from minihash.files import naming_values
from minihash.schema import Schema
from minihash.text import counted, meant

LISTED = 20  # columns of a message
TARGETS = ("target", "label", "class", "y")  # names that say so themselves


@dataclass(frozen=True)
class Layout:
    """Which columns of a table are what.

    columns : the features, in the order of the network's inputs.
    places : where they are in the file, from 0.
    target : where the target is; None where there is none.
    target_name : as messages call it.
    labels : the classes of a target of words; None: it has numbers.
    missing : of `MISSING`, what is done about empty cells; None: they are refused.
    left_out : names of columns that are neither.
    """

    columns: tuple[Column, ...]
    places: tuple[int, ...]
    target: int | None
    target_name: str
    labels: tuple[str, ...] | None = None
    missing: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the network's inputs."""
        return tuple(name for column in self.columns for name in column.inputs)

    @property
    def is_simple(self) -> bool:
        """Whether each column but the target is a number, in the order of the file, and none may be empty."""
        numbers = all(column.kind == "number" and column.fill is None for column in self.columns)
        width = len(self.places) + (self.target is not None)
        return numbers and self.places == _others(width, self.target)

    def describe(self) -> str:
        """Return what the features are and what is left out, in words."""
        features = counted(len(self.columns), "feature")
        if len(self.inputs) != len(self.columns):
            features += f" ({len(self.inputs)} inputs)"
        if not self.left_out:
            return features
        return f"{features}, {counted(len(self.left_out), 'column')} left out ({', '.join(self.left_out)})"

    def notes(self) -> list[str]:
        """Return what became of words, in sentences."""
        return [
            f"{column.called}: {len(column.words)} words, an input each ({', '.join(column.words)})"
            for column in self.columns
            if column.kind == "words"
        ]


@dataclass
class Seen:
    """What was met while a table was read: rows left out, and words that are not known, by column."""

    dropped: int = 0
    unknown: dict[str, set[str]] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Return it in sentences."""
        notes = [f"{self.dropped:,} rows with empty cells are left out"] if self.dropped else []
        for column, words in self.unknown.items():
            first = ", ".join(map(repr, sorted(words)[:3])) + ", …" * (len(words) > 3)
            notes.append(f"{called(column)} has words that training did not have ({first}): taken for none")
        return notes


def open_table(path: str | os.PathLike[str], header: bool | None = None) -> Table:
    """Open a text or Parquet file as a table."""
    if kind_of(path) == "parquet":
        return open_parquet(path)
    return open_text(path, header)


def name_of(table: Table, place: int) -> str:
    """Return what messages call a column: its name, or its number, counted from 0."""
    return (table.names[place] if table.names else "") or f"column {place}"


def find_column(table: Table, option: str, wanted: str | int) -> int:
    """Return where a column is that is given by its name, or its number, from 0; −1 is the last.

    Raises
    ------
    ValueError with the columns if there is none.
    """
    names = table.names
    if isinstance(wanted, str) and wanted in names:
        return names.index(wanted)
    if isinstance(wanted, int) or re.fullmatch(r"-?\d+", wanted):
        return checks.integer(option, int(wanted), -table.width, table.width) % table.width
    has = f"the columns {_listed(names)}" if names else f"{table.width} columns, and no names"
    raise ValueError(f"{option} is {wanted!r}, and {table.path} has {has}{meant(str(wanted), names)}")


def _listed(names: Sequence[str]) -> str:
    """Return the names of columns, of many the first ones."""
    more = f", … ({len(names)})" if len(names) > LISTED else ""
    return ", ".join(name or "(no name)" for name in names[:LISTED]) + more


def find_target(table: Table, target: str | int | None) -> int:
    """Return where the target is: as given; by a name of `TARGETS`; of a file without names the first column.

    Raises
    ------
    ValueError with the columns if there is no such column, or names do not tell which it is.
    """
    if target is not None:
        return find_column(table, "target", target)
    if not table.names:
        return 0
    named = [place for place, name in enumerate(table.names) if name.lower() in TARGETS]
    if len(named) != 1:
        which = "none is" if not named else f"{len(named)} are"
        columns = f"has the columns {_listed(table.names)}"
        raise ValueError(f"{table.path}: {columns}: {which} called {', '.join(TARGETS)}: wanted a target")
    return named[0]


def simple_layout(table: Table, target: int | None) -> Layout:
    """Return the layout of a table in which all columns are numbers."""
    places = _others(table.width, target)
    columns = tuple(Column(name_of(table, place)) for place in places)
    return Layout(columns, places, target, "" if target is None else name_of(table, target))


def _others(width: int, target: int | None) -> tuple[int, ...]:
    return tuple(place for place in range(width) if place != target)


def learn_layout(
    table: Table, target: int, drop: Sequence[str | int] = (), missing: str | None = None
) -> Layout:
    """Read a table once, and return what its columns are.

    Raises
    ------
    ValueError with the file and the column that has empty cells and no `missing` to say what becomes of them,
    too many words, or no value; or if no features are left.
    """
    dropped = {find_column(table, "drop", one) for one in drop}
    if target in dropped:
        raise ValueError(f"drop has {name_of(table, target)!r}, which is the target")
    profiles = {
        place: Profile(table.names[place] if table.names else name_of(table, place), most, table.decimal)
        for place in range(table.width)
        if place not in dropped
        for most in [MAX_LABELS if place == target else MAX_WORDS]
    }
    for lines, cells in table.chunks():
        for place, profile in profiles.items():
            profile.add(lines, cells[place])
    if not profiles[target].rows:
        raise ValueError(f"{table.path}: has no rows, wanted one at least")
    index = [place for place, one in profiles.items() if place != target and one.counts_rows]
    features = [place for place in profiles if place != target and place not in index]
    with naming_values(table.path):
        for place in (*features, target):
            profiles[place].name = name_of(table, place)
        if not missing:
            check_empty([profiles[place] for place in (*features, target)])
        columns = tuple(profiles[place].column(missing == "mean") for place in features)
        labels = profiles[target].labels()
    if not features:
        raise ValueError(f"{table.path}: has no column but the target, wanted features")
    left_out = tuple(table.names[place] or "index" for place in (*index, *sorted(dropped)) if table.names)
    return Layout(columns, tuple(features), target, name_of(table, target), labels, missing, left_out)


def layout_like(
    table: Table,
    schema: Schema,
    labels: tuple[str, ...] | None,
    *,
    header: bool | None,
    needs_target: bool,
    target: str | int | None = None,
) -> Layout:
    """Return where a table has the columns that a network was trained with.

    By their names, in any order and among others, where both have names; else by their places.

    Parameters
    ----------
    schema : of the network, with columns.
    labels : names of the network's classes; None if it has none.
    header : what was said about it; a model with names takes a file without only where that is said.
    needs_target : whether the file must have the target.
    target : its column, of a file that has none of the model's name.

    Raises
    ------
    ValueError with the file and what it lacks.
    """
    assert schema.table is not None
    names, (columns, places), place = table.names, schema.table, schema.target
    if names and schema.header:
        lacking = [column.name for column in columns if column.name not in names]
        if lacking:
            wanted = ", ".join(map(repr, lacking))
            raise ValueError(f"{table.path}: has the columns {_listed(names)}, wanted {wanted} too")
        places = tuple(names.index(column.name) for column in columns)
        place = names.index(schema.target_name) if schema.target_name in names else None
        if place is None and target is not None:
            place = find_column(table, "target", target)
    else:
        if schema.header and header is None:
            lacks = "has no names of columns, and the model was trained with a header"
            raise ValueError(f"{table.path}: {lacks}: wanted one, or --no-header")
        places, place = _places_like(table, schema, places)
    if place is None and needs_target:
        raise ValueError(f"{table.path}: has no target, wanted the column {schema.target_name!r}")
    name = schema.target_name or ""
    return Layout(columns, places, place, name, labels, schema.missing)


def _places_like(
    table: Table, schema: Schema, places: tuple[int, ...]
) -> tuple[tuple[int, ...], int | None]:
    """Return the places of the features and of the target in a file without names."""
    assert schema.columns is not None and schema.target is not None
    if table.width == schema.columns:
        return places, schema.target
    if table.width == schema.columns - 1:
        return tuple(place - (place > schema.target) for place in places), None
    wanted = f"{schema.columns} as in training, or {schema.columns - 1} without the target"
    raise ValueError(f"{table.path}: has {table.width} columns, wanted {wanted}")


def read_rows(
    table: Table, layout: Layout, seen: Seen, keep: Sequence[int] = ()
) -> Iterator[tuple[np.ndarray, list[list[str]]]]:
    """Yield some rows after the other as numbers, and the cells of the columns to keep.

    The target is the first number, if there is one, and then come the inputs. What was met goes into `seen`.

    Raises
    ------
    ValueError with the file, the line and the column of a cell that cannot be.
    """
    with naming_values(table.path):
        for lines, cells in table.chunks():
            kept = [[text.strip() for text in texts_of(cells[place])] for place in keep]
            yield _encode(table, layout, lines, cells, seen), kept


def _encode(
    table: Table, layout: Layout, lines: Sequence[int], cells: Sequence[Cells], seen: Seen
) -> np.ndarray:
    if isinstance(cells, np.ndarray) and layout.is_simple and layout.labels is None:  # all of it numbers
        return cells[[*([] if layout.target is None else [layout.target]), *layout.places]].T
    blocks, empty = [], np.zeros(len(lines), bool)
    if layout.target is not None:
        targets = encode_targets(layout, cells[layout.target], table.decimal)
        blocks.append(targets[:, None])
        empty |= _empty(layout, layout.target_name, lines, np.isnan(targets), None)
    for column, place in zip(layout.columns, layout.places):
        inputs, none, unknown = column.encode(cells[place], table.decimal, lines)
        if unknown:
            seen.unknown.setdefault(column.name, set()).update(unknown)
        blocks.append(inputs)
        empty |= _empty(layout, column.name, lines, none, column.fill)
    rows = np.concatenate(blocks, axis=1)
    seen.dropped += int(empty.sum())
    return rows[~empty] if empty.any() else rows


def _empty(
    layout: Layout, name: str, lines: Sequence[int], empty: np.ndarray, fill: float | None
) -> np.ndarray:
    """Return which rows have to go for their empty cells in a column; ValueError if they may not."""
    if fill is not None:
        return np.zeros(len(empty), bool)
    if empty.any() and (layout.missing is None or layout.target is None):
        line = lines[int(empty.argmax())]
        way = ": the model was trained without such rows" if layout.missing else ""
        raise ValueError(f"{called(name)} has an empty cell in line {line}, wanted a value{way}")
    return empty


def encode_targets(layout: Layout, cells: Cells, decimal: str) -> np.ndarray:
    """Return targets as numbers, NaN for the empty ones: of words, the number of the class.

    Raises
    ------
    ValueError for a word that is no class, or no number where numbers are wanted.
    """
    if layout.labels is None:
        numbers = numbers_of(cells, decimal)
        if isinstance(numbers, str):
            raise ValueError(f"target {layout.target_name!r} has {ascii(numbers[:30])}, wanted a number")
        return numbers
    place_of = {label: place for place, label in enumerate(layout.labels)}
    texts = [text.strip() for text in texts_of(cells)]
    words = all(isinstance(numbers_of([label]), str) for label in layout.labels)
    targets = np.array([place_of.get(text, -1) for text in texts], np.float64)
    for place in np.flatnonzero(targets < 0).tolist():
        text = texts[place]
        targets[place] = np.nan if is_empty(text) else place_of.get(_as_number(text), -1)
        if targets[place] < 0 and words and text.isdecimal() and int(text) < len(layout.labels):
            targets[place] = int(text)  # classes by their numbers
        if targets[place] < 0:
            known = ", ".join(map(repr, layout.labels[:10])) + ", …" * (len(layout.labels) > 10)
            found = f"target {layout.target_name!r} has {ascii(text[:30])}"
            raise ValueError(f"{found}, wanted one of {known}")
    return targets


def _as_number(text: str) -> str:
    """Return 3.0 as the class "3" is called."""
    number = numbers_of([text])
    return text if isinstance(number, str) else label_of(number[0])
