"""Networks for elsewhere: `to_c` writes one as C99 for a device, `to_onnx` as an ONNX model for runtimes.

Every package in here is a target: it registers itself in targets.py when it is imported, and imports NumPy
only to write. What targets share is in known.py (what is refused) and plan.py (the order of computation).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minihash.export.c.writer import to_c
    from minihash.export.onnx.writer import to_onnx

__all__ = ["to_c", "to_onnx"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(f"minihash.export.{name.removeprefix('to_')}.writer"), name)
    raise AttributeError(f"module 'minihash.export' has no attribute {name!r}")
