"""Patches of photographs: where from, none of them plain, and which files count."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.paper.data import photographs

PIL_Image = pytest.importorskip("PIL.Image")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def draw(pictures: list[np.ndarray], count: int = 300, seed: int = 1) -> np.ndarray:
    return photographs.draw_patches(pictures, (count, 28, 28), np.random.default_rng(seed))


def test_every_patch_is_cut_from_a_photograph() -> None:
    pictures = [noise(30, 31), noise(28, 33, seed=1)]
    places = {
        picture[row : row + 28, column : column + 28].tobytes()
        for picture in pictures
        for row in range(len(picture) - 27)
        for column in range(picture.shape[1] - 27)
    }
    assert {patch.tobytes() for patch in draw(pictures)} == places  # all of them: 3 x 4 + 1 x 6


def test_photographs_are_as_likely_whatever_their_size() -> None:
    small, large = noise(28, 28) // 2, 128 + noise(90, 90) // 2
    assert 100 < (draw([small, large]).max(axis=(1, 2)) < 128).sum() < 200


def test_same_seed_same_patches() -> None:
    pictures = [noise(60, 70)]
    np.testing.assert_array_equal(draw(pictures), draw(pictures))
    assert not np.array_equal(draw(pictures), draw(pictures, seed=2))


def test_plain_patches_are_refused() -> None:
    half = np.full((28, 400), 90, np.uint8)
    half[:, 200:] = noise(28, 200)
    patches = draw([half, np.full((50, 50), 200, np.uint8)])
    assert patches.std(axis=(1, 2)).min() >= photographs.MIN_DEVIATION
    assert (patches[:, :, 0] == 90).all(axis=1).any()  # partly plain is not plain


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([], "photographs is empty, wanted at least one"),
        ([noise(40, 40), noise(27, 40)], r"photographs\[1\] has shape \(27, 40\), wanted at least 28 x 28"),
        ([noise(40, 40, 3)], r"photographs\[0\] has shape \(40, 40, 3\)"),
        ([np.full((99, 99), 7, np.uint8)], "photographs are plain: .* were refused"),
    ],
)
def test_refused(pictures: list[np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(pictures)


def test_digest_tells_photographs_apart() -> None:
    one, two = noise(30, 40), noise(30, 40, seed=1)
    changed = one.copy()
    changed[3, 4] ^= 1
    several = ([one], [two], [changed], [one.reshape(40, 30)], [one, two], [two, one])
    assert len({photographs.digest(pictures) for pictures in several}) == len(several)
    assert photographs.digest([one]) == photographs.digest([one.copy()])


def test_folder(tmp_path: Path) -> None:
    grey, colour = noise(30, 40), noise(35, 45, 3)
    PIL_Image.fromarray(colour).save(tmp_path / "b.PNG")
    PIL_Image.fromarray(grey).save(tmp_path / "a.tif")
    (tmp_path / "notes.txt").write_text("of no interest")
    (tmp_path / "more").mkdir()
    first, second = photographs.read_folder(tmp_path)
    np.testing.assert_array_equal(first, grey)
    assert second.dtype == np.uint8
    np.testing.assert_allclose(second, colour @ [0.299, 0.587, 0.114], atol=1)


def test_folder_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no photographs, wanted files that end in .bmp"):
        photographs.read_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        photographs.read_folder(tmp_path / "none")
    PIL_Image.fromarray(noise(60, 60)).save(tmp_path / "whole.png")
    for damaged in (b"nothing", (tmp_path / "whole.png").read_bytes()[:900]):
        (tmp_path / "bad.png").write_bytes(damaged)
        with pytest.raises(ValueError, match="bad.png: not a photograph that can be read") as caught:
            photographs.read_folder(tmp_path)
        assert "\n" not in str(caught.value)


def test_bundled_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    pictures = photographs.read_bundled()
    assert len(pictures) == len(photographs.BUNDLED) == 16
    assert all(picture.ndim == 2 and picture.dtype == np.uint8 for picture in pictures)
    draw(pictures, 1000)


def test_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(photographs.util, "find_spec", lambda name: None)
        with pytest.raises(ImportError, match="pip install scikit-image, or .* --photographs FOLDER"):
            photographs.read_bundled()
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        photographs.read_grey(tmp_path / "any.png")
