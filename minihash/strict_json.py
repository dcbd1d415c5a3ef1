"""JSON as its standard has it: without NaN and infinity, at which strict readers stop."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

TAG = "float"  # of {"float": "nan"}, which stands for a number that has no other form


def dumps(value: Any, **options: Any) -> str:
    """Return `json.dumps(value, **options)` with null for NaN and infinity."""
    return json.dumps(_replaced(value, lambda number: None), allow_nan=False, **options)


def tagged(value: Any) -> Any:
    """Return lists and dicts with `{"float": "nan"}`, "inf" or "-inf" for what is not finite."""
    return _replaced(value, lambda number: {TAG: str(float(number))})


def untagged(value: Any) -> Any:
    """Return what `tagged` was given; tuples are lists."""
    if isinstance(value, dict):
        if value.keys() == {TAG} and value[TAG] in ("nan", "inf", "-inf"):
            return float(value[TAG])
        return {name: untagged(one) for name, one in value.items()}
    return [untagged(one) for one in value] if isinstance(value, list) else value


def _replaced(value: Any, replace: Callable[[float], Any]) -> Any:
    """Return a value as JSON holds it: NumPy's numbers as Python's, and with `replace` what is not finite."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, dict):
        return {name: _replaced(one, replace) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(one, replace) for one in value]
    return replace(value) if isinstance(value, float) and not math.isfinite(value) else value
