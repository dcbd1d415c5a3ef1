"""Errors of the operating system name the file, in every loader and in what is written bit by bit."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import inputs_of

from benchmarks.ledger import Ledger
from benchmarks.paper import rules
from benchmarks.paper.data import amat
from minihash import fit, mlp, persistence, save, studies
from minihash.cli import main
from minihash.datasets import kinds
from minihash.datasets.csv_rows import convert
from minihash.datasets.file_dataset import read_table
from minihash.datasets.files import open_rows
from minihash.datasets.idx import read_idx
from minihash.datasets.inputs import read_inputs
from minihash.datasets.labelled import read_labelled
from minihash.datasets.npy import NpyRows
from minihash.datasets.store import Store, StoreWriter
from minihash.training.checkpoint import NAME, Checkpoint

MEMORY = "/proc/self/mem"  # a regular file; nothing can be read at its beginning
ON_LINUX = pytest.mark.skipif(not os.path.exists(MEMORY), reason="there is no such file here")

READERS: dict[str, Callable[[Any], Any]] = {
    "csv": lambda path: convert(path, "unused.mh"),
    "kind": kinds.kind_of,
    "rows": open_rows,
    "data set": read_table,
    "inputs": read_inputs,
    "input chunks": lambda path: inputs_of(path, 2),
    "npy": NpyRows,
    "idx": read_idx,
    "store": Store,
    "encoding": amat.encoding_of,
    "amat": lambda path: amat.read(path, 1, 10),
    "model": persistence.load,
    "rules": rules.read_rules,
    "ledger": lambda path: Ledger(path, ("a",)).records(),
    "fit": lambda path: fit(mlp([2, 2]), path),
}


@ON_LINUX
@pytest.mark.parametrize("name", READERS)
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError) as found:
        READERS[name](MEMORY)
    assert (found.value.errno, found.value.filename) == (errno.EIO, MEMORY)
    assert not list(tmp_path.iterdir())


@ON_LINUX
def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to(MEMORY)
    with pytest.raises(OSError) as found:
        Checkpoint(tmp_path).read()
    assert (found.value.errno, found.value.filename) == (errno.EIO, str(tmp_path / NAME))


@ON_LINUX
@pytest.mark.parametrize(
    "argv",
    [
        ["train", MEMORY],
        ["evaluate", "MODEL", MEMORY],
        ["predict", "MODEL", MEMORY],
        ["predict", MEMORY, "MODEL"],
        ["data", "convert", MEMORY, "x.mh"],  # not of x.mh, which can be written
        ["inspect", MEMORY],
        ["quantize", MEMORY, "--bits", "4", "--out", "x"],
        ["export", MEMORY, "--out", "x"],
        ["gradcheck", MEMORY],
    ],
    ids=" ".join,
)
def test_commands_name_it(argv: list[str], tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    save(mlp([2, 2]), "MODEL")
    assert main(argv) == 1
    assert capsys.readouterr().err == f"minihash: error: {MEMORY}: Input/output error\n"
    assert [path.name for path in tmp_path.iterdir()] == ["MODEL"]


class Failing(io.FileIO):
    """A file whose third quarter cannot be read."""

    def readinto(self, buffer: Any) -> int:
        place, half = self.tell(), os.fstat(self.fileno()).st_size // 2
        if half <= place < 1.5 * half:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readinto(memoryview(buffer)[: half - place] if place < half else buffer) or 0


def _csv(path: Path) -> None:
    np.savetxt(path, np.zeros((50_000, 3)), delimiter=",")


def _npy(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.zeros((50_000, 3)))


def _npz(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, inputs=np.zeros((50_000, 3)), labels=np.arange(50_000) % 2)


def _store(path: Path) -> None:
    with open(path, "wb") as file:
        writer = StoreWriter(file, 2)
        writer.append(np.zeros((50_000, 3)))
        writer.finish()


@pytest.mark.parametrize("write, module", [(_csv, "csv_rows"), (_npy, "npy"), (_npz, "npz")])
def test_a_disk_that_fails_in_the_middle(write: Any, module: str, tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "data"
    write(path)

    def failing(name: Any, mode: str = "r") -> Any:
        return io.BufferedReader(Failing(name)) if Path(name) == path else open(name, mode)

    monkeypatch.setattr(f"minihash.datasets.{module}.open", failing, raising=False)
    with pytest.raises(OSError) as found:
        read_labelled(path) if write is _npz else read_table(path)
    assert (found.value.errno, found.value.filename) == (errno.EIO, str(path))


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("write", [_npy, _store])
def test_a_disk_that_fails_between_batches(write: Any, seed: Any, tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "data"
    write(path)
    rows = open_rows(path)
    wrapped = lambda name, mode: io.BufferedReader(Failing(name))  # noqa: E731
    monkeypatch.setattr("minihash.datasets.blocks.open", wrapped, raising=False)
    with pytest.raises(OSError) as found:
        list(rows.batches(1000, seed if seed is None else np.random.default_rng(seed)))
    assert (found.value.errno, found.value.filename) == (errno.EIO, str(path))


def test_a_file_that_cannot_be_mapped_is_named(tmp_path: Path) -> None:
    """safetensors maps it into memory, which /proc cannot; its error has neither number nor name."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("there is no such file here")
    with pytest.raises(OSError) as found:
        persistence.load("/proc/self/status")
    assert found.value.errno is not None and found.value.filename == "/proc/self/status"


def _full(*arguments: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_ledger_on_a_full_disk_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl", ("a",))
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(OSError) as found:
        ledger.append({"a": 1})
    assert (found.value.errno, found.value.filename) == (errno.ENOSPC, str(ledger.path))


def test_a_journal_on_a_full_disk_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("optuna")
    path, space = str(tmp_path / "journal"), {"rate": studies.Range(0.001, 0.1, True)}
    study = studies.open_study("name", path)
    trial, other = (studies.ask(study, space, {"rate": 0.01}, seed) for seed in range(2))
    monkeypatch.setattr(os, "fsync", _full)
    calls: list[Callable[[], Any]] = [
        lambda: studies.ask(study, space, {"rate": 0.01}, 2),
        lambda: trial.report(0.5, 1),
        lambda: studies.tell(study, trial, 0.5),
        lambda: studies.forget(study, other),
        lambda: studies.open_study("other", path),
    ]
    for call in calls:
        with pytest.raises(OSError) as found:
            call()
        assert (found.value.errno, found.value.filename) == (errno.ENOSPC, path)
