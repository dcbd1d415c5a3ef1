"""A ledger: what has been measured, a JSON line each, written as soon as it is known.

A run that is killed loses what it had not yet measured, and the next one goes on from there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.locks import locked
from minihash import strict_json
from minihash.files import naming

Record = dict[str, Any]


class Ledger:
    """Records in a file of JSON lines, which several processes may add to.

    Parameters
    ----------
    path : the file; it need not exist, its folder must.
    key : the fields that say what a record is the result of: together they occur once.
    """

    def __init__(self, path: str | os.PathLike[str], key: tuple[str, ...]) -> None:
        self.path = Path(path)
        self.key = key

    def records(self) -> list[Record]:
        """Return all records, the oldest first; of two with one key the newer.

        Raises
        ------
        ValueError with the line that is no record; OSError if the file cannot be read.
        """
        found: dict[str, Record] = {}
        with naming(self.path):
            content = self.path.read_bytes() if self.path.exists() else b""
        # What follows the last newline was cut off by the end of its process.
        for number, line in enumerate(content.split(b"\n")[:-1], 1):
            try:
                record = json.loads(line)
                found[self.identity(record)] = record
            except (ValueError, KeyError, TypeError):
                wanted = f"a JSON object with {', '.join(self.key)}"
                raise ValueError(f"{self.path}: line {number} is no record, wanted {wanted}") from None
        return list(found.values())

    def identity(self, record: Record) -> str:
        """Return the key of a record as one string."""
        return json.dumps([record[name] for name in self.key], sort_keys=True, allow_nan=False)

    def missing(self, cells: Sequence[Record]) -> list[Record]:
        """Return the cells (records without results) that no record has the key of."""
        done = {self.identity(record) for record in self.records()}
        return [cell for cell in cells if self.identity(cell) not in done]

    def append(self, record: Record) -> None:
        """Write a record to the disk, whole, whoever else writes; a result that is not a number is null."""
        line = strict_json.dumps(record).encode() + b"\n"
        self.identity(record)
        with naming(self.path), open(self.path, "ab+") as file, locked(file):
            _drop_torn_line(file)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def _drop_torn_line(file: BinaryIO) -> None:
    """Cut off a last line that a killed process left without its end."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - (1 << 20))
    file.seek(start)
    tail = file.read()
    if tail and not tail.endswith(b"\n"):
        file.truncate(start + tail.rfind(b"\n") + 1)
