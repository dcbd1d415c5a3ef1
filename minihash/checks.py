"""Checks of arguments: each returns the value in its normal form or raises a ValueError of one line."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from minihash import frames
from minihash.arrays import as_array


def integer(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` as an int with `low <= value < high`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}, wanted an integer")
    if not low <= number < high:
        raise ValueError(f"{name} is {number}, wanted {low} <= {name} < {high}")
    return number


def number(name: str, value: Any, low: float, high: float, *, open_low: bool = False) -> float:
    """Return `value` as a float with `low <= value <= high` (`low < value` where `open_low`)."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = None
    if result is None or isinstance(value, (str, bool)):
        raise ValueError(f"{name} is {value!r}, wanted a number")
    if not (low <= result <= high) or (open_low and result == low):
        relation = "<" if open_low else "<="
        raise ValueError(f"{name} is {result:g}, wanted {low:g} {relation} {name} <= {high:g}")
    return result


def boolean(name: str, value: Any) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} is {value!r}, wanted True or False")
    return bool(value)


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """Return `value` if it is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, wanted one of {', '.join(map(repr, allowed))}")
    return str(value)


def floating_dtype(name: str, value: Any) -> np.dtype:
    """Return `value` as a dtype of parameters: float32 or float64, or complex128 for complex steps."""
    try:
        dtype = np.dtype("V" if value is None else value)  # NumPy takes None for float64
    except TypeError:
        raise ValueError(f"{name} is {value!r}, wanted float32 or float64") from None
    if dtype not in (np.float32, np.float64, np.complex128):
        raise ValueError(f"{name} is {dtype}, wanted float32 or float64")
    return dtype


def array(name: str, value: Any) -> Any:
    """Return `value` as an array, where it is, of a DataFrame or a Series too; refuse masked entries."""
    if type(value) is np.ndarray:  # as nearly always: a small layer takes hardly longer than this question
        return value
    if hasattr(value, "toarray"):
        raise ValueError(f"{name} is a sparse matrix, wanted an array: {name.split()[-1]}.toarray()")
    value = frames.plain(name, unmasked(name, value))
    try:
        return as_array(value)
    except ValueError:
        if not isinstance(value, (list, tuple)):
            raise
        raise ValueError(f"{name} has rows of different lengths, wanted as many numbers in each") from None


def unmasked(name: str, value: Any) -> Any:
    """Return `value` as it is; refuse masked entries, which as an array of NumPy would not be masked."""
    if isinstance(value, np.ma.MaskedArray) and (count := np.ma.count_masked(value)):
        raise ValueError(f"{name} has {count} masked entries, wanted none: fill them or leave out their rows")
    return value


def matrix(name: str, value: Any, columns: int | None, dtype: np.dtype) -> np.ndarray:
    """Return `value` as an array (batch, columns) of `dtype`, where it is; a copy only if needed."""
    inputs = array(name, value)
    _check_matrix(name, inputs, columns, complex_too=dtype.kind == "c")
    if inputs.dtype == dtype:
        return inputs
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
        return inputs.astype(dtype)


def _check_matrix(name: str, array: np.ndarray, columns: int | None, complex_too: bool = False) -> None:
    if array.ndim != 2 or (columns is not None and array.shape[1] != columns):
        wanted = f"(batch, {'features' if columns is None else columns})"
        hint = _reshaped(name.split()[-1], array.shape, columns)
        raise ValueError(f"{name} has shape {array.shape}, wanted {wanted}{hint}")
    if array.dtype.kind not in "fiub" and not (complex_too and array.dtype.kind == "c"):
        hint = f": {name.split()[-1]}.astype(float)" if array.dtype.kind == "O" else ""
        raise ValueError(f"{name} has dtype {array.dtype}, wanted real numbers{hint}")


def _reshaped(name: str, shape: tuple[int, ...], columns: int | None) -> str:
    """Return what may have been meant by an array that is not (batch, columns); "" if nobody knows."""
    if columns is None:
        return ""
    if len(shape) == 1 and columns in (1, shape[0]):
        return f": {name}[:, None] is a column" if columns == 1 else f": {name}[None] is a row"
    if len(shape) == 2 and shape[0] == columns:
        return f": perhaps {name}.T"
    if len(shape) > 2 and math.prod(shape[1:]) == columns:
        return f": {name}.reshape(len({name}), -1)"
    return ""


def data(name: str, value: Any, columns: int | None, dtype: np.dtype) -> np.ndarray:
    """Return `value` as an array (rows, columns) of real numbers, finite in `dtype`, in the dtype it has."""
    labels = frames.labels_of(value)
    rows = np.asarray(array(name, value))
    _check_matrix(name, rows, columns)
    limit = np.finfo(dtype).max
    # NaN passes through max and min; a mask as large as the data is made only when it is needed.
    if rows.dtype.kind == "f" and rows.size and not max(rows.max(), -rows.min()) <= limit:
        row, column = divmod(int((np.abs(rows) <= limit).argmin()), rows.shape[1])
        where = f"row {row}" if labels is None else f"column {labels[column]!r} of row {row}"
        raise ValueError(f"{name} has NaN or infinity in {where}, wanted finite {dtype} numbers")
    return rows


def one_or_each(name: str, value: Any, count: int | None) -> np.ndarray:
    """Return a number, or one for each of `count`, as a float64 array () or (count,), read-only."""
    given = np.asarray(array(name, value))
    if given.dtype.kind not in "fiub" or given.shape not in ((), (count,)):
        wanted = f"a number or {count} of them"
        raise ValueError(f"{name} has shape {given.shape} ({given.dtype}), wanted {wanted}")
    if not np.isfinite(given).all():
        raise ValueError(f"{name} is not finite")
    numbers = given.astype(np.float64)
    numbers.setflags(write=False)  # a device may have a copy
    return numbers
