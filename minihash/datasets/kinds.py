"""Kinds of files that data come in, told apart by how they start."""

from __future__ import annotations

import os

from minihash.datasets.csv_rows import first_bytes, without_mark
from minihash.datasets.idx import GZIP
from minihash.datasets.store import MAGIC
from minihash.files import check_regular, naming

#: How a file starts -> its kind. What starts otherwise is text, or refused.
STARTS = {MAGIC: "store", b"\x93NUMPY": "npy", b"PK": "npz", b"\0\0": "idx", b"PAR1": "parquet"}
LOOKED_AT = 1024  # bytes: text has no zeros among them


def kind_of(path: str | os.PathLike[str]) -> str:
    """Return "store", "npy", "npz", "parquet", "idx" (packed by gzip or not) or "csv" (text, packed or not).

    Raises ValueError with the file's name if it is of none of these kinds, or a pipe; OSError if it cannot be
    read.
    """
    check_regular(path)
    name, start = os.fspath(path), first_bytes(path, LOOKED_AT)
    text = without_mark(path, start)
    kind = next((kind for magic, kind in STARTS.items() if start.startswith(magic)), "csv")
    if kind == "csv" and b"\0" in text:
        known = "a store, an .npy, .npz, idx, Parquet or CSV file"
        raise ValueError(f"{name}: starts with the bytes {start[:8].hex(' ')}, wanted {known}")
    with naming(path), open(path, "rb") as file:
        is_packed = file.read(2) == GZIP
    if kind not in ("csv", "idx") and is_packed:
        raise ValueError(f"{name}: is packed by gzip, wanted it unpacked: it is no CSV file")
    return kind
