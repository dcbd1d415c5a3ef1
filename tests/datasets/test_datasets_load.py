"""load: where the files are looked for, how rows are split, and what is refused."""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minihash import datasets
from minihash.cli import data as data_command
from minihash.datasets import mnist

FULL = os.environ.get("MINIHASH_DATA")  # read before the fixture hides it
PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def make_source(name: str, seed: int) -> tuple[mnist.IdxSource, dict[str, bytes]]:
    """A data set of 10 + 4 images with MNIST's file names, and its raw bytes by file name."""
    rng = np.random.default_rng(seed)
    files, contents = [], {}
    for twin, rows in zip(mnist.MNIST.files, (10, 10, 4, 4)):
        shape = (rows, *twin.shape[1:])
        high = 256 if len(shape) == 3 else 10
        data = rng.integers(0, high, shape, dtype=np.uint8)
        raw = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
        contents[twin.name] = raw + data.tobytes()
        digest = hashlib.sha256(contents[twin.name]).hexdigest()
        files.append(mnist.IdxFile(twin.name, shape, digest))
    return mnist.IdxSource(name, tuple(files), (), mnist.DIGITS), contents  # type: ignore[arg-type]


def put(folder: Path, contents: dict[str, bytes], zipped: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in contents.items():
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(raw) if zipped else raw)


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MINIHASH_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    return tmp_path / "share" / "minihash"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    source, contents = make_source("tiny", 0)
    monkeypatch.setitem(mnist.SOURCES, "tiny", source)
    return contents


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("subfolder", ["", "tiny"])
def test_load_from_folder(
    tmp_path: Path, tiny: dict[str, bytes], subfolder: str, zipped: bool
) -> None:
    put(tmp_path / subfolder, tiny, zipped)
    data = datasets.load("tiny", tmp_path, validation=3)
    images = np.frombuffer(tiny["train-images-idx3-ubyte"][16:], np.uint8).reshape(10, 784)
    labels = np.frombuffer(tiny["train-labels-idx1-ubyte"][8:], np.uint8)
    for part, rows in ((data.train, slice(7)), (data.validation, slice(7, 10))):
        np.testing.assert_array_equal(part[0], images[rows])
        np.testing.assert_array_equal(part[1], labels[rows])
    inputs, targets = data.train_and_validation()
    np.testing.assert_array_equal(inputs, images)
    np.testing.assert_array_equal(targets, labels)
    assert data.test[0].shape == (4, 784) and data.test[0].dtype == np.uint8
    assert data.test[1].shape == (4,) and data.test[1].dtype == np.int64
    assert (data.name, data.input_scale) == ("tiny", 1 / 255)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("subfolder", ["", "tiny"])
def test_names_with_a_dot(tmp_path: Path, tiny: dict[str, bytes], subfolder: str, zipped: bool) -> None:
    """So many tools name the files; some make folders of the usual names beside them."""
    dotted = {name.replace("-idx", ".idx"): content for name, content in tiny.items()}
    put(tmp_path / subfolder, dotted, zipped)
    for name in tiny:
        (tmp_path / subfolder / name).mkdir()
    found = datasets.load("tiny", tmp_path, validation=3)
    put(tmp_path / "usual", tiny)
    usual = datasets.load("tiny", tmp_path / "usual", validation=3)
    for part, other in zip((*found.train, *found.test), (*usual.train, *usual.test)):
        np.testing.assert_array_equal(part, other)


def test_dataset_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        datasets.load().name = "other"  # type: ignore[misc]


def test_validation_rows(tmp_path: Path, tiny: dict[str, bytes]) -> None:
    put(tmp_path, tiny)
    none = datasets.load("tiny", tmp_path, validation=0)
    assert none.validation[0].shape == (0, 784) and none.validation[1].shape == (0,)
    assert none.train_and_validation()[0].shape == (10, 784)
    assert datasets.load("tiny", tmp_path, validation=9).train[0].shape == (1, 784)
    for validation in (-1, 10, 2.5):
        with pytest.raises(ValueError, match=f"validation is {validation}"):
            datasets.load("tiny", tmp_path, validation=validation)  # type: ignore[arg-type]


def test_folder_order(
    tmp_path: Path, tiny: dict[str, bytes], user_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = mnist.SOURCES["tiny"]
    put(user_folder / "tiny", tiny)
    assert mnist.find(source)[0].parent == user_folder / "tiny"  # type: ignore[index]
    monkeypatch.setenv("MINIHASH_DATA", str(tmp_path / "chosen"))
    assert mnist.find(source)[0].parent == user_folder / "tiny"  # type: ignore[index]
    put(tmp_path / "chosen" / "tiny", tiny)
    assert mnist.find(source)[0].parent == tmp_path / "chosen" / "tiny"  # type: ignore[index]
    assert mnist.find(source, tmp_path / "given") is None  # an explicit folder stands alone


def test_missing(tmp_path: Path, user_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIHASH_DATA", str(tmp_path / "chosen"))
    with pytest.raises(FileNotFoundError) as caught:
        datasets.load("mnist")
    names = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "with .gz or not, or with .idx for -idx"
    for part in (tmp_path / "chosen", user_folder, "minihash data fetch mnist", *names):
        assert str(part) in str(caught.value)


def test_incomplete_is_missing(tmp_path: Path, tiny: dict[str, bytes]) -> None:
    put(tmp_path, tiny)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="minihash data fetch tiny"):
        datasets.load("tiny", tmp_path)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="'cifar'.*'mnist-small', 'mnist', 'fashion-mnist'"):
        datasets.load("cifar")
    assert datasets.names() == ("mnist-small", "mnist", "fashion-mnist")


def test_other_data_set_of_the_same_file_names(
    tmp_path: Path, tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    twin, contents = make_source("twin", 1)
    monkeypatch.setitem(mnist.SOURCES, "twin", twin)
    put(tmp_path, tiny)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte: .*this is tiny, not twin"):
        datasets.load("twin", tmp_path)
    put(tmp_path / "twin", contents)  # a subfolder of the right name comes first
    assert datasets.load("twin", tmp_path, validation=1).train[0].shape == (9, 784)


def test_changed_byte(tmp_path: Path, tiny: dict[str, bytes]) -> None:
    name = "t10k-labels-idx1-ubyte"
    put(tmp_path, {**tiny, name: tiny[name][:-1] + b"\x0b"})
    with pytest.raises(ValueError, match=f"{name}: sha256 is .*, wanted .*not the official tiny"):
        datasets.load("tiny", tmp_path)


def run_data(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    parser = argparse.ArgumentParser()
    data_command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["data", *argv])
    assert args.run(args) == 0
    return capsys.readouterr().out


def test_data_list(
    tmp_path: Path, tiny: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run_data(capsys, "list", "--data-dir", str(tmp_path)).splitlines()
    assert [line.split()[0] for line in lines] == [*datasets.names()]
    assert "comes with the package" in lines[0] and "minihash data fetch mnist" in lines[1]
    put(tmp_path, tiny)
    lines = run_data(capsys, "list", "--data-dir", str(tmp_path)).splitlines()
    assert "holds other files" in lines[1] and "minihash data fetch mnist" in lines[1]
    assert lines[3].startswith("tiny ") and lines[3].endswith(f"found in {tmp_path}")


def test_import_is_cheap() -> None:
    code = "import sys, minihash.datasets, minihash.cli.data; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numba", "scipy", "tqdm", "urllib.request"} & set(out.stdout.split())


@pytest.mark.skipif(FULL is None, reason="MINIHASH_DATA is not set")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_full(name: str) -> None:
    if mnist.find(mnist.SOURCES[name], FULL) is None:
        pytest.skip(f"{name} is not in MINIHASH_DATA")
    data = datasets.load(name, FULL)
    assert [len(part[1]) for part in (data.train, data.validation, data.test)] == [
        50_000,
        10_000,
        10_000,
    ]
    labels = data.train_and_validation()[1]
    assert len(data.class_names) == 10 and set(labels) == set(range(10))
