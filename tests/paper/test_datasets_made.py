"""load of the made sets: what is made, what is kept, what is read again, and what comes first."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.paper import data as datasets
from benchmarks.paper.data import amat, cache, made, photographs, variations
from minihash.datasets import mnist
from minihash.datasets.fetch import fetch

ROWS = (50, 50, 30, 30)  # of the fabricated MNIST: training images, labels, test images, labels
TRAIN, VALIDATION, TEST = 20, 4, 40
PICTURES = [np.random.default_rng(7).integers(0, 256, (40, 50), dtype=np.uint8)]
PAPER = {  # training rows with the validation rows, test rows, classes
    "basic": (12_000, 50_000, 10),
    "rot": (12_000, 50_000, 10),
    "bg-rand": (12_000, 50_000, 10),
    "bg-img": (12_000, 50_000, 10),
    "bg-img-rot": (12_000, 50_000, 10),
    "rect": (1_200, 50_000, 2),
    "convex": (8_000, 50_000, 2),
}
REAL = dict(made.RECIPES)  # before `tiny` makes them small


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recipes for few rows, and a folder with an MNIST of 80 images to make them from."""
    monkeypatch.delenv("MINIHASH_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    for name, recipe in made.RECIPES.items():
        tiny = replace(recipe, train=TRAIN, validation=VALIDATION, test=TEST)
        monkeypatch.setitem(made.RECIPES, name, tiny)
    monkeypatch.setattr(photographs, "read_bundled", lambda: PICTURES)

    folder, files, rng = tmp_path / "data", [], np.random.default_rng(0)
    (folder / "mnist").mkdir(parents=True)
    for twin, rows in zip(mnist.MNIST.files, ROWS):
        shape = (rows, *twin.shape[1:])
        header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
        raw = header + rng.integers(0, 10, shape, dtype=np.uint8).tobytes()
        (folder / "mnist" / twin.name).write_bytes(raw)
        files.append(mnist.IdxFile(twin.name, shape, hashlib.sha256(raw).hexdigest()))
    monkeypatch.setattr(mnist, "MNIST", replace(mnist.MNIST, files=tuple(files)))
    return folder


@pytest.fixture
def read_only(tiny: Path) -> Iterator[Path]:
    """A folder that even root should leave alone."""
    tiny.chmod(0o555)
    yield tiny
    tiny.chmod(0o755)


def fail(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("made again")


def same(one: datasets.Dataset, other: datasets.Dataset) -> bool:
    pairs = zip((*one.train, *one.validation, *one.test), (*other.train, *other.validation, *other.test))
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def test_names() -> None:
    assert datasets.names()[-7:] == tuple(PAPER) == tuple(made.RECIPES) == tuple(amat.FILES)


@pytest.mark.parametrize("name", PAPER)
def test_load(name: str, tiny: Path) -> None:
    data = datasets.load(name, tiny)
    for part, rows in ((data.train, 16), (data.validation, 4), (data.test, 40)):
        assert part[0].shape == (rows, 784) and part[0].dtype == np.uint8
        assert part[1].shape == (rows,) and part[1].dtype == np.int64
    assert (data.name, data.input_scale) == (name, 1 / 255)
    assert data.origin.startswith("made") and ("mnist" in data.origin) == (name in variations.NAMES)
    assert set(data.test[1]) <= set(range(len(data.class_names)))
    assert len(data.class_names) == PAPER[name][2]
    whole = datasets.load(name, tiny, validation=0)
    np.testing.assert_array_equal(whole.train[0], data.train_and_validation()[0])


def test_recipes_have_the_papers_sizes() -> None:
    assert {n: (r.train, r.test, len(r.class_names)) for n, r in REAL.items()} == PAPER
    assert {REAL[name].validation for name in variations.NAMES} == {2_000}
    assert (REAL["rect"].validation, REAL["convex"].validation) == (200, 1_500)


@pytest.mark.parametrize("name", ["rot", "bg-img", "convex"])
def test_a_set_is_made_once(name: str, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = datasets.load(name, tiny)
    monkeypatch.setattr(made, "_make", fail)
    second = datasets.load(name, tiny)
    assert same(first, second) and first.origin == second.origin
    assert [path.name for path in (tiny / name).iterdir()] == [f"{name}.npz"]


def test_made_twice_is_the_same_file(tiny: Path) -> None:
    contents = [made.make("bg-img-rot", tiny).read_bytes() for _ in range(2)]
    assert contents[0] == contents[1]


def test_another_version_is_made_again(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.load("rot", tiny)
    monkeypatch.setitem(made.RECIPES, "rot", replace(made.RECIPES["rot"], version=99, train=19))
    assert len(datasets.load("rot", tiny).train[1]) == 15
    assert "version 99" in str(np.load(tiny / "rot" / "rot.npz")["recipe"])


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


DAMAGES = {
    "empty": lambda content: b"",
    "text": lambda content: b"no zip at all",
    "npy": lambda content: npy(np.zeros(3)),
    "cut": lambda content: content[: len(content) // 2],
    "one byte": lambda content: content[:3000] + bytes([content[3000] ^ 1]) + content[3001:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_replaced(damage: str, tiny: Path) -> None:
    first = datasets.load("bg-rand", tiny)
    path = tiny / "bg-rand" / "bg-rand.npz"
    content = path.read_bytes()
    path.write_bytes(DAMAGES[damage](content))
    assert same(first, datasets.load("bg-rand", tiny))
    assert path.read_bytes() == content


def test_every_changed_byte_is_noticed_or_harmless(tiny: Path) -> None:
    datasets.load("rect", tiny)
    path, key = made.path_of("rect", tiny), made.RECIPES["rect"].key
    content, ref = path.read_bytes(), cache.read(made.path_of("rect", tiny), made.RECIPES["rect"].key)
    assert ref is not None
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        comp = cache.read(path, key)
        if comp is not None:
            for part in (0, 1):
                np.testing.assert_array_equal(comp[part][0], ref[part][0])
                np.testing.assert_array_equal(comp[part][1], ref[part][1])


def test_raw_files_alone(tiny: Path) -> None:
    folder = tiny / "mnist"
    data = datasets.load("rot", folder)
    assert (folder / "rot" / "rot.npz").is_file() and not (tiny / "rot").exists()
    assert same(data, datasets.load("rot", tiny))


def test_default_folder(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.load("rect")
    assert (tmp_path / "share" / "minihash" / "rect" / "rect.npz").is_file()
    monkeypatch.setenv("MINIHASH_DATA", str(tiny))
    datasets.load("rot")
    assert (tiny / "rot" / "rot.npz").is_file()


def test_read_only_folder(read_only: Path) -> None:
    first = datasets.load("rot", read_only)
    assert same(first, datasets.load("rot", read_only))
    assert [path.name for path in read_only.iterdir()] == ["mnist"]


def test_full_disk(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minihash.files.os.fsync", full)
    assert len(datasets.load("rot", tiny).test[1]) == TEST
    assert list((tiny / "rot").iterdir()) == []
    with pytest.raises(OSError, match="No space left"):
        made.make("rot", tiny)


def test_make_refuses_a_read_only_folder_before_the_work(
    read_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made, "_make", fail)
    with pytest.raises(PermissionError, match="cannot write into the folder"):
        made.make("rot", read_only)


def test_make_makes_again(tiny: Path) -> None:
    path = made.make("rot", tiny)
    path.write_bytes(b"")
    assert made.make("rot", tiny) == path == made.path_of("rot", tiny) and path.stat().st_size > 1000


def test_photographs_of_the_users(tiny: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    default = datasets.load("bg-img", tiny)
    assert photographs.digest(PICTURES)[:12] in default.origin
    pictures = [np.random.default_rng(8).integers(0, 256, (30, 30), dtype=np.uint8)]
    (tmp_path / "album").mkdir()
    image.fromarray(pictures[0]).save(tmp_path / "album" / "one.png")
    made.make("bg-img", tiny, tmp_path / "album")
    data = datasets.load("bg-img", tiny)
    assert "photographs of the user's (1, sha256 " in data.origin
    assert photographs.digest(pictures)[:12] in data.origin
    assert not same(default, data)
    made.make("bg-img", tiny)
    assert same(default, datasets.load("bg-img", tiny))


@pytest.mark.parametrize(
    ("name", "folder", "message"),
    [
        ("mnist", None, "name is 'mnist', wanted one of 'basic'"),
        ("rot", ".", "rot has no photographs, only bg-img and bg-img-rot have"),
    ],
)
def test_make_refuses(name: str, folder: str | None, message: str, tiny: Path) -> None:
    with pytest.raises(ValueError, match=message):
        made.make(name, tiny, folder)


@pytest.mark.parametrize("name", variations.NAMES)
def test_without_mnist(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="minihash data fetch mnist"):
        datasets.load(name, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match=f"name is '{name}', wanted one of"):
        fetch(name, tmp_path)


def write_amat(path: Path, rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    pixels, labels = rng.integers(0, 256, (rows, 784)), rng.integers(0, classes, rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, np.column_stack([pixels / 255, labels]), fmt="%.6g")
    return pixels, labels


@pytest.mark.parametrize(
    ("name", "folder"), [("basic", "basic"), ("rect", ""), ("convex", "convex"), ("bg-img", "")]
)
def test_original_files_come_first(name: str, folder: str, tiny: Path) -> None:
    datasets.load(name, tiny)
    train, test = (tiny / folder / file for file in amat.FILES[name])
    if name == "convex":
        test = test.with_name("50k") / test.name
    classes = PAPER[name][2]
    parts = write_amat(train, TRAIN, classes), write_amat(test, TEST, classes)
    data = datasets.load(name, tiny)
    for (inputs, labels), (pixels, targets) in zip((data.train_and_validation(), data.test), parts):
        if name == "bg-img":  # saved column by column
            pixels = pixels.reshape(-1, 28, 28).transpose(0, 2, 1).reshape(-1, 784)
        np.testing.assert_array_equal(inputs, pixels)
        np.testing.assert_array_equal(labels, targets)
    assert data.origin == "original files" and data.class_names == tuple("0123456789")[:classes]
    assert made.where(name, tiny) == f"original files in {train.parent}"


def test_one_of_two_original_files(tiny: Path) -> None:
    write_amat(tiny / "rect" / "rectangles_test.amat", TEST, 2)
    message = "rect: has rectangles_test.amat and lacks rectangles_train.amat, wanted both"
    with pytest.raises(FileNotFoundError, match=message):
        datasets.load("rect", tiny)
    assert message in made.where("rect", tiny)


def test_where(tiny: Path, tmp_path: Path) -> None:
    assert made.where("rot", tmp_path / "none") == "made from mnist; get that with: minihash data fetch mnist"
    assert made.where("rot", tiny) == made.where("rect", tmp_path / "none") == "made when it is first used"
    datasets.load("rot", tiny)
    assert made.where("rot", tiny) == f"made from mnist, seed 2007, in {tiny / 'rot'}"
