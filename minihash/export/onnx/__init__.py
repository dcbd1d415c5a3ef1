"""The target ONNX: networks as models for runtimes; docs/onnx.md says what these make of them.

writer.py makes the file, forms.py and hashed.py the operators, graph.py is what they are written with.
"""

import os
from typing import Any

from minihash.export.targets import Target, register


def write(network: Any, path: str, **options: Any) -> str:
    """Write a network with `to_onnx`; return the name and the size of the file."""
    from minihash.export.onnx.writer import to_onnx

    to_onnx(network, path, **options)
    return f"wrote {path}, {os.path.getsize(path):,} bytes"


DENSE = "onnx: write whole matrices, for runtimes without the operators that compute the hash"
register(Target("onnx", write, "one file", {"dense": {"action": "store_true", "help": DENSE}}))
