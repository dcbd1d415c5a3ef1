"""The variations of MNIST: what is drawn once only, what is turned how, what is behind what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.paper.data import variations

COUNT, TRAIN, TEST = 60, 20, 30


def digits(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Images that can be told apart by their brightest pixels: 200 plus the number of the digit."""
    images = np.zeros((COUNT, 28, 28), np.uint8)
    images[:, 6:22, 6:22] = rng.integers(1, 200, (COUNT, 16, 16))
    labels = rng.integers(0, 10, COUNT)
    images[:, 13:15, 13:15] = 190 + np.arange(COUNT)[:, None, None]
    return images, labels


def make(name: str, **options: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images, labels = digits(rng)
    photographs = [rng.integers(0, 256, (40, 50), dtype=np.uint8)]
    images = options.pop("images", images)
    train, test = variations.make(name, images, labels, photographs, train=TRAIN, test=TEST, **options)
    return *train, *test


@pytest.mark.parametrize("name", variations.NAMES)
def test_sizes_and_types(name: str) -> None:
    inputs, labels, test_inputs, test_labels = make(name)
    assert inputs.shape == (TRAIN, 784) and test_inputs.shape == (TEST, 784)
    assert labels.shape == (TRAIN,) and test_labels.shape == (TEST,)
    assert inputs.dtype == test_inputs.dtype == np.uint8 and labels.dtype == np.int64


def test_no_digit_is_in_two_rows_and_each_keeps_its_label() -> None:
    images, labels = digits(np.random.default_rng(0))
    inputs, targets, test_inputs, test_targets = make("basic")
    numbers = np.concatenate([inputs, test_inputs]).reshape(-1, 28, 28)[:, 13, 13] - 190
    assert len(set(numbers.tolist())) == TRAIN + TEST
    np.testing.assert_array_equal(labels[numbers], np.concatenate([targets, test_targets]))
    np.testing.assert_array_equal(images[numbers[:TRAIN]].reshape(TRAIN, -1), inputs)
    assert max(numbers) >= TRAIN + TEST  # drawn from all, not the first ones


@pytest.mark.parametrize("name", variations.NAMES)
def test_seed(name: str) -> None:
    for one, same, other in zip(make(name), make(name, seed=variations.SEED), make(name, seed=1)):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)


def test_rows_of_all_variations_are_the_same_digits() -> None:
    labels = [make(name)[1] for name in variations.NAMES]
    assert all(np.array_equal(labels[0], other) for other in labels)


def test_what_is_turned_and_what_is_behind() -> None:
    black = np.zeros((COUNT, 28, 28), np.uint8)
    backgrounds = {name: make(name, images=black)[0] for name in ("bg-rand", "bg-img")}
    basic, rot = make("basic")[0], make("rot")[0]
    np.testing.assert_array_equal(make("bg-rand")[0], np.maximum(basic, backgrounds["bg-rand"]))
    np.testing.assert_array_equal(make("bg-img")[0], np.maximum(basic, backgrounds["bg-img"]))
    np.testing.assert_array_equal(make("bg-img-rot")[0], np.maximum(rot, backgrounds["bg-img"]))
    assert not np.array_equal(basic, rot)


def test_random_background_is_uniform() -> None:
    noise = make("bg-rand", images=np.zeros((COUNT, 28, 28), np.uint8))[0]
    counts = np.bincount(noise.ravel(), minlength=256)  # about 61 of each
    assert len(counts) == 256 and counts.min() > 25 and counts.max() < 105


def test_angles_are_uniform() -> None:
    """A dot to the right of the centre goes all around it."""
    dot = np.zeros((4000, 28, 28), np.uint8)
    dot[:, 13:15, 22:24] = 255
    train, _ = variations.make("rot", dot, np.zeros(4000, int), train=4000, test=0)
    weights = train[0].reshape(-1, 28, 28).astype(float)
    rows, columns = (np.arange(28) - 13.5) @ weights.sum(2).T, (np.arange(28) - 13.5) @ weights.sum(1).T
    quadrants = np.histogram(np.arctan2(-rows, columns), 8, (-np.pi, np.pi))[0]
    assert quadrants.min() > 400 and quadrants.max() < 600


def naive_rotate(image: np.ndarray, angle: float) -> np.ndarray:
    """Bilinear, pixel by pixel: where does this pixel come from, in x to the right and y upwards?"""
    side = len(image)
    out, centre = np.zeros((side, side)), (side - 1) / 2
    for row in range(side):
        for column in range(side):
            x, y = column - centre, centre - row
            from_x = x * np.cos(-angle) - y * np.sin(-angle)
            from_y = x * np.sin(-angle) + y * np.cos(-angle)
            r, c = centre - from_y, centre + from_x
            if 0 <= r <= side - 1 and 0 <= c <= side - 1:
                for near_r in (int(r), int(r) + 1):
                    for near_c in (int(c), int(c) + 1):
                        weight = (1 - abs(r - near_r)) * (1 - abs(c - near_c))
                        if weight > 0 and near_r < side and near_c < side:
                            out[row, column] += weight * image[near_r, near_c]
    return out


@pytest.mark.parametrize("degrees", [0, 17, 90, 133, 200, 359])
def test_rotate_is_the_naive_rotation(degrees: float) -> None:
    image = np.zeros((28, 28), np.uint8)
    image[5:23, 5:23] = np.random.default_rng(1).integers(0, 256, (18, 18))
    angle = np.deg2rad(degrees)
    comp = variations.rotate(image[None], np.array([angle]))[0]
    np.testing.assert_allclose(comp, naive_rotate(image, angle), atol=0.51)  # rounded


def test_quarter_turns_are_exact_and_counterclockwise() -> None:
    images = np.random.default_rng(2).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    turned = variations.rotate(images, np.arange(4) * np.pi / 2)
    for quarters in range(4):
        np.testing.assert_array_equal(turned[quarters], np.rot90(images[quarters], quarters))


def test_rotate_leaves_its_input() -> None:
    images = np.full((1, 28, 28), 200, np.uint8)
    turned = variations.rotate(images, np.array([np.pi / 4]))
    assert (images == 200).all() and turned[0, 0, 0] == 0 and turned[0, 14, 14] == 200


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ROT", {}, "name is 'ROT', wanted one of 'basic', 'rot'"),
        ("rot", {"test": 41}, "images has 60 digits, wanted at least 61"),
        ("bg-img", {}, "photographs is empty"),
    ],
)
def test_refused(name: str, options: dict[str, int], message: str) -> None:
    images, labels = digits(np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        variations.make(name, images, labels, **{"train": TRAIN, "test": TEST, **options})
