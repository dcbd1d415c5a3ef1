"""The target C: networks as C99 for devices.

writer.py and source.py make the files, loops.py the order of computation as C; layer.py, hashed.py and
forms.py have the layers.
"""

from typing import Any

from minihash.export.targets import Target, register


def write(network: Any, path: str, **options: Any) -> str:
    """Write a network with `to_c`; return its report, and the names of the files."""
    from minihash.export.c.writer import to_c

    report = to_c(network, path, **options)
    return f"{report}\nwrote {', '.join(report.files)} in {path}"


OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"metavar": "NAME", "help": "c: of the files and in front of the functions (default: model)"},
    "weights": {
        "choices": ("float32", "int8", "int4"),
        "help": "c: how buckets are kept (default: as the model has them)",
    },
    "training": {
        "action": "store_true",
        "help": "c: also write a function that trains on the device; the weights are in RAM then",
    },
}
register(Target("c", write, "a header, a source, a self-test, an example, a Makefile", OPTIONS, folder=True))
