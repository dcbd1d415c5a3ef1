"""Checkpoints: a folder with the state of one training, always whole.

    FOLDER/checkpoint.safetensors    parameters ("params/0.weight"), slots of the optimizer
                                     ("slots/0.weight/velocity"), arrays of callbacks ("callbacks/0/…");
                                     in its metadata the rest as JSON, and a CRC-32 of all
    FOLDER/lock                      held by the process that trains: no other may
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minihash import strict_json
from minihash.files import PARTS, check_writable, claimed, replacing
from minihash.persistence import opened
from minihash.training.ranks import ALONE, Ranks

NAME = "checkpoint.safetensors"
FACTS, CHECKSUM = "minihash_checkpoint", "crc32"  # in the metadata
FORMAT = 1
SECONDS = 60.0  # from one state within an epoch to the next
Arrays = dict[str, np.ndarray]
#: Of arrays, in the words of safetensors.
DTYPES = ("BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "F16", "F32", "F64")
#: What is raised at a file, or at its content, that is damaged.
DAMAGES = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


@dataclass
class State:
    """All that a training needs to go on.

    settings : what must be the same, by name; numbers as `strict_json.tagged` has them.
    progress : numbers: where it is; in the history None for NaN.
    params, slots : arrays of the network, and of the optimizer for each of them.
    callbacks : what each of them keeps.
    """

    settings: dict[str, Any]
    progress: dict[str, Any]
    params: Arrays
    slots: dict[str, Arrays]
    callbacks: list[dict[str, Any]]


class Checkpoint:
    """The folder of a checkpoint, which no other process may use while this one is entered.

    Parameters
    ----------
    folder : made if it is not there.
    ranks : of which the first alone reads and writes it.

    Raises
    ------
    OSError when it is entered, if it cannot be made or written, or another process holds it.
    """

    def __init__(self, folder: str | os.PathLike[str], ranks: Ranks = ALONE) -> None:
        self.folder, self._ranks = Path(folder), ranks
        self.path = self.folder / NAME
        self._held = contextlib.ExitStack()
        self._written = time.monotonic()

    def __enter__(self) -> Checkpoint:
        self._ranks.first(self._open)
        return self

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            held.enter_context(claimed(self.folder / "lock"))
            check_writable(self.path)
            for part in self.folder.glob(PARTS):  # of a process that was killed
                part.unlink()
            self._held = held.pop_all()

    def __exit__(self, *exception: object) -> None:
        self._held.close()

    def is_due(self) -> bool:
        """Tell whether the last state is old, and this process the one to write another."""
        return self._ranks.is_first and time.monotonic() - self._written > SECONDS

    def write(self, state: State) -> None:
        """Replace the state in the folder, all of it or nothing.

        Raises
        ------
        OSError if that fails; ValueError if a callback keeps what a file cannot.
        """
        from safetensors.numpy import save

        arrays = {f"params/{name}": array for name, array in state.params.items()}
        for name, slots in state.slots.items():
            arrays |= {f"slots/{name}/{slot}": array for slot, array in slots.items()}
        others: list[dict[str, Any]] = []
        for place, kept in enumerate(state.callbacks):
            own = {name: value for name, value in kept.items() if isinstance(value, np.ndarray)}
            arrays |= {f"callbacks/{place}/{name}": array for name, array in own.items()}
            others.append({name: _plain(name, value) for name, value in kept.items() if name not in own})
        whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        for name, array in whole.items():
            if array.dtype.kind not in "biuf":
                raise ValueError(f"state of a callback: {name} has dtype {array.dtype}, wanted real numbers")
        numbers = {"settings": state.settings, "progress": state.progress, "callbacks": others}
        text = json.dumps(strict_json.tagged({"format": FORMAT, **numbers}), allow_nan=False)
        with replacing(self.path) as file:
            file.write(save(whole, {FACTS: text, CHECKSUM: str(_checksum(text, whole))}))
        self._written = time.monotonic()

    def read(self) -> State | None:
        """Return the state in the folder, None if there is none.

        Raises
        ------
        OSError if it cannot be read; ValueError with its name if it is damaged or of another version.
        """
        return self._ranks.first(self._read)

    def _read(self) -> State | None:
        from safetensors import SafetensorError

        if not self.path.exists():
            return None
        try:
            with opened(self.path) as file:
                metadata, names = file.metadata() or {}, list(file.keys())
                if not {file.get_slice(name).get_dtype() for name in names} <= set(DTYPES):
                    raise ValueError("an array is not of real numbers")
                arrays = {name: file.get_tensor(name) for name in names}
            if metadata[CHECKSUM] != str(_checksum(metadata[FACTS], arrays)):
                raise ValueError("its checksum is another")
            return _state(json.loads(metadata[FACTS]), arrays)
        except (*DAMAGES, SafetensorError) as error:
            raise damaged(self.path, error) from None


def damaged(path: Path, error: Exception) -> ValueError:
    """Return the error for a file that cannot be taken up."""
    return ValueError(f"{path}: is damaged, or no checkpoint ({error})")


def _plain(name: str, value: Any) -> Any:
    """Return a value as JSON holds it."""
    try:
        plain = strict_json.tagged(value)
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        found = f"state of a callback: {name} is a {type(value).__name__}"
        raise ValueError(f"{found}, wanted an array or what JSON holds") from None
    return plain


def _checksum(text: str, arrays: Arrays) -> int:
    checksum = zlib.crc32(text.encode())
    for name in sorted(arrays):
        checksum = zlib.crc32(arrays[name].tobytes(), zlib.crc32(name.encode(), checksum))
    return checksum


def _state(facts: dict[str, Any], arrays: Arrays) -> State:
    """Put together what `write` took apart."""
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']}, wanted {FORMAT}")
    settings = strict_json.tagged(facts["settings"])  # in older files NaN, which is not equal to itself
    progress, callbacks = (strict_json.untagged(facts[name]) for name in ("progress", "callbacks"))
    state = State(settings, progress, {}, {}, callbacks)
    for name, array in arrays.items():
        kind, _, rest = name.partition("/")
        if kind == "params":
            state.params[rest] = array
        elif kind == "slots":
            owner, _, slot = rest.rpartition("/")
            state.slots.setdefault(owner, {})[slot] = array
        else:
            place, _, own = rest.partition("/")
            state.callbacks[int(place)][own] = array
    return state
