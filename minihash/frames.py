"""Tables with named columns and their columns, such as DataFrame and Series of pandas, made arrays.

They are known by their members: no package of tables is imported.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

MISSING = ("NAType", "NoneType", "NaTType")


def labels_of(value: Any) -> tuple[Any, ...] | None:
    """Return the labels of a table's columns; None of what is no table."""
    if type(value) is np.ndarray or not (hasattr(value, "columns") and hasattr(value, "dtypes")):
        return None
    return tuple(value.columns)


def names_of(value: Any) -> tuple[str, ...] | None:
    """Return the names of a table's columns; None of what is no table, and where labels are no words."""
    labels = labels_of(value)
    return labels if labels and all(isinstance(label, str) for label in labels) else None


def in_order(name: str, value: Any, wanted: Sequence[str] | None) -> Any:
    """Return a table with its columns in the order of these names; without names, and else, what is given.

    Raises
    ------
    ValueError with the first column that is missing, or that nobody wants.
    """
    names = names_of(value)
    if wanted is None or names is None or names == tuple(wanted):
        return value
    set_of_names, set_of_wanted = set(names), set(wanted)
    if missing := [column for column in wanted if column not in set_of_names]:
        raise ValueError(f"{name} has no column {missing[0]!r}, wanted it, or an array to go by place")
    if strangers := [column for column in names if column not in set_of_wanted]:
        raise ValueError(f"{name} has a column too many, {strangers[0]!r}, wanted it left out")
    return value[list(wanted)]


def only_column(value: Any) -> Any:
    """Return the column of a table of one, and anything else as it is."""
    return next(columns(value))[1] if len(labels_of(value) or ()) == 1 else value


def plain(name: str, value: Any) -> Any:
    """Return a table as an array (rows, columns) of numbers, a column as (rows,); anything else as it is.

    Raises
    ------
    ValueError with the first entry of a table that is no number, its column and row.
    """
    if labels_of(value):
        first = list(value.dtypes)[0]
        if isinstance(first, np.dtype) and first.kind in "fiub" and len(set(map(str, value.dtypes))) == 1:
            return np.asarray(value)  # without a copy, most likely
        return np.column_stack([_numbers(f"{name} column {label!r}", one) for label, one in columns(value)])
    if hasattr(value, "to_numpy"):
        column = np.asarray(value)
        return _of_objects(name, column) if column.dtype.kind == "O" else column
    return value


def columns(table: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the labels of a table and its columns."""
    pairs = table.items() if hasattr(table, "items") else ((label, table[label]) for label in table.columns)
    return iter(pairs)


def is_number(entry: Any) -> bool:
    """Tell whether an entry of a column of objects is a number, NaN among them, or True or False."""
    return isinstance(entry, (numbers.Real, np.bool_))


def is_missing(entry: Any) -> bool:
    """Tell whether an entry of a column of objects says that there is none."""
    return type(entry).__name__ in MISSING or (is_number(entry) and entry != entry)


def _of_objects(name: str, column: np.ndarray) -> np.ndarray:
    """Return a column of objects that are all numbers as numbers, another as it is; refuse missing ones."""
    entries = column.tolist()
    for row, entry in enumerate(entries):
        if type(entry).__name__ in MISSING:  # NaN among numbers is told later
            wanted = "a value: fill it, or leave out its row"
            raise ValueError(f"{name} is {entry!r} in row {row}, wanted {wanted}")
    return np.array(entries) if all(map(is_number, entries)) else column


def _numbers(name: str, column: Any) -> np.ndarray:
    """Return a column as numbers; refuse one with others."""
    values = np.asarray(column)
    if values.dtype.kind in "OUST":
        values = _of_objects(name, values.astype(object))
        for row, entry in enumerate(values.tolist()):
            if not is_number(entry):
                hint = "pandas.get_dummies makes numbers of words"
                raise ValueError(f"{name} is {entry!r} in row {row}, wanted a number: {hint}")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {values.dtype}, wanted real numbers")
    return values
