"""A stand-in for CuPy: arrays that never become NumPy's by themselves, and that count what is moved.

The module itself is the array module: `strict.zeros(3)` is a strict array, `strict.exp(x)` takes and gives
one. NumPy's functions refuse strict arrays, and strict functions and operators refuse NumPy's, as CuPy's
do: only `asarray` and `asnumpy` move numbers, `.item()` and `bool()` too. What was used is kept in `USED`, so
that a test can ask CuPy whether it has it.
"""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

MOVED: collections.Counter[str] = collections.Counter()  # "in" and "out"
USED: set[tuple[str, frozenset[str]]] = set()  # names of functions, and of the keywords they were called with
USED_OF_ARRAYS: set[str] = set()  # names of attributes and methods

ALLOCATED = ("empty", "zeros", "ones", "full", "arange", "empty_like", "zeros_like")


class ndarray:  # noqa: N801: CuPy's name
    """Numbers on a device that is none."""

    __array_ufunc__ = None  # NumPy's operators leave the work to ours
    __array_priority__ = 100

    def __init__(self, values: np.ndarray) -> None:
        assert isinstance(values, np.ndarray)
        self._values = values

    @property
    def __cuda_array_interface__(self) -> dict:
        return {}

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise TypeError("implicit conversion to a NumPy array: use asnumpy")

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        raise TypeError(f"{function.__name__} of NumPy was called with an array of a device")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self._values, name)
        USED_OF_ARRAYS.add(name)  # `hasattr` may ask for what frames have: that is no use of an array's
        if name == "item":
            MOVED["out"] += 1
            return found
        if callable(found):
            return lambda *arguments, **options: _call(found, arguments, options)
        return _wrapped(found)

    @property
    def dtype(self) -> np.dtype:
        return self._values.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self._values.shape

    @property
    def size(self) -> int:
        return self._values.size

    @property
    def nbytes(self) -> int:
        return self._values.nbytes

    @property
    def ndim(self) -> int:
        return self._values.ndim

    def __len__(self) -> int:
        return len(self._values)

    def __bool__(self) -> bool:
        MOVED["out"] += 1
        return bool(self._values)

    def __float__(self) -> float:
        MOVED["out"] += 1
        return float(self._values)

    def __getitem__(self, index: Any) -> Any:
        return _wrapped(self._values[_inner(index)])

    def __setitem__(self, index: Any, values: Any) -> None:
        self._values[_inner(index)] = _inner(values)

    def __iter__(self) -> Any:
        raise TypeError("an array of a device is read one number after another")

    def __deepcopy__(self, memo: Any) -> ndarray:
        return ndarray(self._values.copy())


def _add_operators() -> None:
    binary = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift lt le gt ge eq ne".split()
    names = [f"__{name}__" for name in (*binary, "neg", "pos", "abs", "invert")]
    names += [f"__{prefix}{name}__" for name in binary[:13] for prefix in "ri"]

    def operator(name: str) -> Any:
        def apply(self: ndarray, *others: Any) -> Any:
            inner = [_inner(other) for other in others]
            result = getattr(self._values, name)(*inner)
            if result is NotImplemented:
                raise TypeError(f"{name} of an array of a device and {type(others[0]).__name__}")
            if name.startswith("__i") and name not in ("__invert__",):
                assert result is self._values
                return self
            return _wrapped(result)

        return apply

    for name in names:
        if hasattr(np.ndarray, name):
            setattr(ndarray, name, operator(name))


def _inner(value: Any) -> Any:
    """Return NumPy's arrays for strict ones, in containers too; refuse NumPy's own."""
    if isinstance(value, ndarray):
        return value._values
    if isinstance(value, np.ndarray):
        raise TypeError("an array of NumPy among those of a device: use asarray")
    if isinstance(value, (tuple, list)):
        return type(value)(_inner(one) for one in value)
    return value


def _wrapped(value: Any) -> Any:
    """Return strict arrays for NumPy's; numbers of NumPy are arrays without dimensions, as in CuPy."""
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    if isinstance(value, tuple) and any(isinstance(one, np.ndarray) for one in value):
        return tuple(_wrapped(one) for one in value)
    return value


def _call(function: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    inner = [_inner(value) for value in arguments], {name: _inner(value) for name, value in options.items()}
    result = function(*inner[0], **inner[1])
    if options.get("out") is not None:
        return options["out"]
    return _wrapped(result)


def asarray(value: Any, dtype: Any = None) -> ndarray:
    """Return `value` on the device."""
    USED.add(("asarray", frozenset({"dtype"} if dtype is not None else ())))
    if isinstance(value, ndarray):
        return value if dtype is None else ndarray(value._values.astype(dtype, copy=False))
    MOVED["in"] += 1
    return ndarray(np.array(value, dtype))


def asnumpy(array: ndarray) -> np.ndarray:
    """Return an array of the device on the host."""
    USED.add(("asnumpy", frozenset()))
    MOVED["out"] += 1
    return array._values.copy()


def __getattr__(name: str) -> Any:
    """Return NumPy's function of that name, for strict arrays."""
    function = getattr(np, name)  # AttributeError, if there is none
    if not callable(function) or isinstance(function, type):
        raise AttributeError(f"strict has no {name}")

    def strict(*arguments: Any, **options: Any) -> Any:
        USED.add((name, frozenset(options)))
        if not any(isinstance(value, ndarray) for value in (*arguments, *options.values())):
            assert name in ALLOCATED, f"{name} of no array of a device"
        return _call(function, arguments, options)

    return strict


_add_operators()
