"""The digits that come with the package: exactly the script's draw, and small."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from benchmarks import make_mnist_small
from minihash import datasets
from minihash.datasets import mnist

DIGESTS = {
    "train_images": "dacd6fa4da869b18e6cd3c9760c176817eecee6a076143d7cb087d2f7da4d693",
    "train_labels": "a208bca72bbd97abdb0c64d1d96e951fe3cfa3f7503a3d065bc01f737953bea9",
    "test_images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "test_labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}


def embedded() -> dict[str, np.ndarray]:
    file = resources.files("minihash.datasets").joinpath("mnist-small.npz")
    with file.open("rb") as stream, np.load(stream) as arrays:
        return dict(arrays)


def test_shapes() -> None:
    data = datasets.load()
    assert data.name == "mnist-small" and data.class_names == tuple("0123456789")
    for part, rows in ((data.train, 10_000), (data.validation, 2_000), (data.test, 10_000)):
        assert part[0].shape == (rows, 784) and part[0].dtype == np.uint8
        assert part[1].shape == (rows,) and part[1].dtype == np.int64
    assert data.train_and_validation()[0].shape == (12_000, 784)
    assert data.input_scale * data.train[0].max() == 1


def test_digests() -> None:
    arrays = embedded()
    assert {name: hashlib.sha256(a.tobytes()).hexdigest() for name, a in arrays.items()} == DIGESTS
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.uint8)}


def test_classes_are_balanced_as_in_mnist() -> None:
    data = datasets.load()
    for _, labels in (data.train, data.validation, data.test):
        shares = np.bincount(labels, minlength=10) / len(labels)
        assert shares.shape == (10,) and np.all((0.08 < shares) & (shares < 0.125))


def test_no_row_is_drawn_twice() -> None:
    rows = make_mnist_small.draw_rows(60_000)
    assert len(set(rows.tolist())) == 12_000 and 0 <= rows.min() and rows.max() < 60_000


def test_package_files() -> None:
    folder = resources.files("minihash.datasets")
    assert len(folder.joinpath("mnist-small.npz").read_bytes()) <= 4_000_000
    licence = folder.joinpath("mnist-small.LICENSE.txt").read_text()
    assert all(name in licence for name in ("LeCun", "Cortes", "Burges", "NIST", "CC BY-SA 3.0"))


@pytest.mark.skipif("MINIHASH_DATA" not in os.environ, reason="MINIHASH_DATA is not set")
def test_embedded_rows_are_the_scripts_draw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = os.environ["MINIHASH_DATA"]
    if mnist.find(mnist.MNIST, folder) is None:
        pytest.skip("MNIST is not in MINIHASH_DATA")
    outputs = [tmp_path / "one.npz", tmp_path / "two.npz"]
    for output in outputs:
        make_mnist_small.main(["--data-dir", folder, "--output", str(output)])
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == outputs
    ref = embedded()
    with np.load(outputs[0]) as comp:
        assert set(ref) == set(comp)
        for name in ref:
            np.testing.assert_array_equal(ref[name], comp[name])


DAMAGES = {
    "truncated": lambda content: content[:-100],
    "one byte": lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_one_clear_error(
    damage: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = resources.files("minihash.datasets").joinpath(mnist.SMALL_FILE).read_bytes()
    (tmp_path / mnist.SMALL_FILE).write_bytes(damage(content))
    monkeypatch.setattr(mnist.resources, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match="mnist-small.npz: sha256 is .*, wanted "):
        datasets.load()
