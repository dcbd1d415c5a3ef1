"""Every loader against mutated real files: only the documented errors, bounded memory, nothing half taken.

MINIHASH_FUZZ=100000 pytest tests/test_hostile_files.py      for long
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import random
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.numpy import save as save_arrays

from benchmarks.ledger import Ledger
from benchmarks.paper.data import amat, cache
from minihash import HashedLinear, Network, Tanh, fit, mlp, save, studies
from minihash.callbacks import EarlyStopping
from minihash.cli import build_parser
from minihash.datasets.csv_rows import convert
from minihash.datasets.file_dataset import read_table
from minihash.datasets.idx import read_idx
from minihash.datasets.inputs import read_inputs
from minihash.datasets.labelled import read_labelled
from minihash.datasets.store import MAGIC, TAIL, StoreWriter
from minihash.optimizers import Adam
from minihash.persistence import load
from minihash.quantization import quantize
from minihash.training import checkpoint

EXAMPLES = int(os.environ.get("MINIHASH_FUZZ", "100"))
WEIGHED = 8  # of so many examples the memory of one is measured, which takes several times as long
MEMORY = 32 * 2**20  # of files of a few kB
INPUTS, LABELS = np.arange(48, dtype=np.uint8).reshape(12, 4), np.arange(12) % 3

#: Numbers that files may claim instead of theirs.
CLAIMS = [b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\0" * 8, b"99999999999", b"-1", b"1e999", b"1e-99999999"]
CLAIMS += [b"NaN", b"[" * 2000]


def model(path: Path) -> None:
    last = HashedLinear(6, 3, num_buckets=4, seed=1)
    save(Network([HashedLinear(4, 6, num_buckets=5, tile=2), Tanh(), last]), path)


def quantized_model(path: Path) -> None:
    save(quantize(mlp([4, 6, 3], compression=1 / 2), 4), path)


def idx(path: Path) -> None:
    path.write_bytes(bytes([0, 0, 8, 2]) + np.array([12, 4], ">u4").tobytes() + INPUTS.tobytes())


def idx_gz(path: Path) -> None:
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 12]) + LABELS.astype(np.uint8).tobytes()))


def npz(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, inputs=INPUTS, labels=LABELS)


def npy(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, INPUTS.astype(np.float32))


def csv(path: Path) -> None:
    np.savetxt(path, INPUTS / 7, delimiter=",")


WORDS = pandas.DataFrame({
    "a": INPUTS[:, 0] / 7,
    "colour": np.where(INPUTS[:, 1] > INPUTS[:, 1].mean(), "red", 'blue; "or" not'),
    "y": np.where(np.arange(len(INPUTS)) % 3 > 0, "yes", "no"),
})


def text_table(path: Path) -> None:
    WORDS.to_csv(path, sep=";", decimal=",")


def packed_table(path: Path) -> None:
    path.write_bytes(gzip.compress(WORDS.to_csv(sep="\t").encode(), mtime=0))


def parquet(path: Path) -> None:
    WORDS.to_parquet(path)


def store(path: Path) -> None:
    with open(path, "wb") as file:
        writer = StoreWriter(file, 3)
        writer.append(INPUTS)
        writer.finish()


def store_index(path: Path) -> None:
    """The index of a store by itself, to be mutated behind a right checksum."""
    store(path)
    content = path.read_bytes()
    length = TAIL.unpack(content[-TAIL.size :])[0]
    path.write_bytes(content[-TAIL.size - length : -TAIL.size])


def amat_rows(path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, amat.FEATURES)) / 255
    np.savetxt(path, np.column_stack([images, [0, 1, 2]]), "%.4g")


def made_set(path: Path) -> None:
    cache.write(path, "recipe", (INPUTS, LABELS), (INPUTS, LABELS), "origin")


def journal(path: Path) -> None:
    study, space = studies.open_study("name", path), {"rate": studies.Range(0.001, 0.1, True)}
    for number in range(2):
        studies.tell(study, studies.ask(study, space, {"rate": 0.01}, number), 1.5)


def state(path: Path) -> None:
    resume(path.parent / "made")
    path.write_bytes((path.parent / "made" / checkpoint.NAME).read_bytes())


def state_facts(path: Path) -> None:
    """What a checkpoint says beside its arrays, to be mutated behind a right checksum."""
    state(path)
    with safe_open(path, framework="numpy") as file:
        path.write_text(file.metadata()[checkpoint.FACTS])


def written_settings(path: Path) -> None:
    path.write_text('{"data": "mnist-small", "hidden": [10, 20], "compression": "1/8", "dropout": "1e-1"}')


def ledger(path: Path) -> None:
    found = Ledger(path, ("a", "b"))
    for number in range(5):
        found.append({"a": number, "b": "x", "result": 0.5 * number})


def resume(folder: Path) -> Network:
    network, optimizer = mlp([4, 6, 3], compression=1 / 2, dropout=0.5, seed=1), Adam()
    before = {name: array.copy() for name, array in network.params.items()}
    try:
        options = {"batch_size": 5, "optimizer": optimizer, "callbacks": [EarlyStopping(9)], "epochs": 2}
        data = INPUTS, LABELS
        fit(network, data, data, checkpoint=folder, resume=True, progress=False, **options)
    except ValueError:  # then nothing has been taken up
        assert not optimizer.state and optimizer.steps == 0
        assert all((array == before[name]).all() for name, array in network.params.items())
        raise
    return network


def read_state(path: Path) -> None:
    folder = path.parent / "state"
    folder.mkdir(exist_ok=True)
    (folder / checkpoint.NAME).write_bytes(path.read_bytes())
    resume(folder)


def read_state_of_facts(path: Path) -> None:
    facts, made = path.read_bytes().decode(), path.parent / "made" / checkpoint.NAME
    arrays = load_file(made)
    content = {checkpoint.FACTS: facts, checkpoint.CHECKSUM: str(checkpoint._checksum(facts, arrays))}
    whole = path.parent / "whole"
    whole.write_bytes(save_arrays(arrays, content))
    read_state(whole)


def read_words(path: Path) -> None:
    read_rows(path, missing="drop")


def read_rows(path: Path, **how: Any) -> None:
    rows = read_table(path, **how).rows
    for batch in rows.batches(5, np.random.default_rng(0)):
        assert np.isfinite(batch.inputs).all() and len(batch.inputs) == len(batch.targets)


def read_store_of_index(path: Path) -> None:
    index, target = path.read_bytes(), path.parent / "whole.mh"
    store(target)
    content = target.read_bytes()
    rows = content[: -TAIL.size - TAIL.unpack(content[-TAIL.size :])[0]]
    target.write_bytes(rows + index + TAIL.pack(len(index), zlib.crc32(index), MAGIC))
    read_rows(target)


def read_made_set(path: Path) -> None:
    found = cache.read(path, "recipe")
    if found is None:
        raise ValueError("is made again")
    for part in found[:2]:
        assert (part[0] == INPUTS).all() and (part[1] == LABELS).all()


def read_journal(path: Path) -> None:
    studies.ended(studies.open_study("name", path))


def read_csv(path: Path) -> None:
    target = path.parent / "target.mh"
    target.unlink(missing_ok=True)
    try:
        convert(path, target)
    except ValueError:
        assert not target.exists() and not [one for one in path.parent.iterdir() if one.suffix == ".part"]
        raise
    read_rows(target)


PARSER = build_parser()


def read_settings(path: Path) -> None:
    with contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            PARSER.parse_args(["train", "--from-settings", str(path)])
        except SystemExit as stop:
            assert stop.code == 2 and err.getvalue().count("\n") == 1
            raise ValueError("refused") from None


LOADERS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any]]] = {
    "model": (model, load),
    "quantized model": (quantized_model, load),
    "idx": (idx, read_idx),
    "idx.gz": (idx_gz, read_idx),
    "npz": (npz, read_labelled),
    "npz inputs": (npz, read_inputs),
    "npy inputs": (npy, read_inputs),
    "npy": (npy, read_rows),
    "csv": (csv, read_csv),
    "text table": (text_table, read_words),
    "text table, packed": (packed_table, read_words),
    "parquet": (parquet, read_words),
    "store": (store, read_rows),
    "store index": (store_index, read_store_of_index),
    "amat": (amat_rows, lambda path: amat.read(path, 3, 10)),
    "made set": (made_set, read_made_set),
    "journal": (journal, read_journal),
    "checkpoint": (state, read_state),
    "checkpoint facts": (state_facts, read_state_of_facts),
    "settings": (written_settings, read_settings),
    "ledger": (ledger, lambda path: Ledger(path, ("a", "b")).records()),
}


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A file after one to four accidents."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(found))
        what = rng.choice(("flip", "claim", "cut", "remove", "repeat", "random", "digit"))
        if what == "flip" and place < len(found):
            found[place] ^= 1 << rng.randrange(8)
        elif what == "claim":
            claim = rng.choice(CLAIMS)
            found[place : place + len(claim)] = claim
        elif what == "cut":
            del found[place:]
        elif what == "remove":
            del found[place : place + rng.randint(1, 20)]
        elif what == "repeat":
            found[place:place] = found[max(0, place - rng.randint(1, 40)) : place]
        elif what == "digit":  # numbers of text become other numbers
            digits = [at for at in range(place, min(place + 50, len(found))) if chr(found[at]).isdecimal()]
            for at in digits[:1]:
                found[at] = rng.choice(b"0123456789-.e")
        else:
            found[place:place] = rng.randbytes(rng.randint(0, 12))
    return bytes(found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.mark.filterwarnings("ignore:Reading `.npy` or:UserWarning")  # NumPy, of headers that look old
@pytest.mark.parametrize("name", LOADERS)
def test_only_documented_errors(name: str, folder: Path) -> None:
    write, read = LOADERS[name]
    path = folder / name.replace(" ", "-")
    write(path)
    content = path.read_bytes()
    read(path)  # the file as it is can be read
    kept, refused = [0], [0]

    @settings(max_examples=EXAMPLES, deadline=5000, database=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=True))  # one draw an example: many of them in little time
    def check(rng: random.Random) -> None:
        damaged = mutated(content, rng)
        path.write_bytes(damaged)
        weighed = (kept[0] + refused[0]) % WEIGHED == 0
        if weighed:
            tracemalloc.start()
        try:
            read(path)
            kept[0] += 1
        except (ValueError, OSError) as error:
            refused[0] += 1
            assert str(error)
        finally:
            peak = tracemalloc.get_traced_memory()[1] if weighed else 0
            tracemalloc.stop()
        assert peak < MEMORY, f"{peak} bytes for a file of {len(damaged)}"

    check()
    assert refused[0] > EXAMPLES // 20
    print(f"{name}: {refused[0]} refused, {kept[0]} read")
