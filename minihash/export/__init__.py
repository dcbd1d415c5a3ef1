"""Networks for elsewhere: `to_c` writes one as C99 for a device, `to_onnx` as an ONNX model for runtimes."""

from minihash.export.c import to_c
from minihash.export.onnx import to_onnx

__all__ = ["to_c", "to_onnx"]
