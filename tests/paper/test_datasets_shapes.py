"""RECT and CONVEX, judged by tests that know nothing of how they are made."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from benchmarks.paper.data import shapes

Pixel = tuple[int, int]


@pytest.mark.parametrize("draw", [shapes.rectangles, shapes.convex_and_not])
@pytest.mark.parametrize("count", [1, 101, 400])
def test_sizes_seed_and_colours(draw: object, count: int) -> None:
    images, labels = draw(count)  # type: ignore[operator]
    assert images.shape == (count, 28, 28) and images.dtype == np.uint8
    assert labels.shape == (count,) and labels.dtype == np.int64
    assert set(np.unique(images)) <= {0, 255}
    again = draw(count, seed=shapes.SEED)  # type: ignore[operator]
    np.testing.assert_array_equal(images, again[0])
    np.testing.assert_array_equal(labels, again[1])
    assert not np.array_equal(images, draw(count, seed=1)[0])  # type: ignore[operator]


def test_rectangles_are_outlines_and_labels_say_which_side_is_longer() -> None:
    images, labels = shapes.rectangles(3000)
    heights, widths = [], []
    for image, label in zip(images, labels):
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        naive = np.zeros((28, 28), np.uint8)
        naive[rows[[0, -1]], columns[0] : columns[-1] + 1] = 255
        naive[rows[0] : rows[-1] + 1, columns[[0, -1]]] = 255
        np.testing.assert_array_equal(image, naive)
        assert abs(height - width) >= 3
        assert shapes.RECT_NAMES[label] == ("tall" if height > width else "wide")
        heights.append(height)
        widths.append(width)
    for sides in (heights, widths):
        assert set(sides) == set(range(1, 29))
    assert 0.46 < labels.mean() < 0.54
    assert images[:, 0, 0].any() and images[:, -1, -1].any()  # up to the edges


def test_rectangles_lie_anywhere() -> None:
    coverage = (shapes.rectangles(20_000)[0] > 0).mean(axis=0)
    np.testing.assert_allclose(coverage, coverage[::-1, ::-1], atol=0.02)
    np.testing.assert_allclose(coverage, coverage.T, atol=0.02)


def cross(origin: Pixel, a: Pixel, b: Pixel) -> int:
    return (a[0] - origin[0]) * (b[1] - origin[1]) - (a[1] - origin[1]) * (b[0] - origin[0])


def hull(pixels: list[Pixel]) -> list[Pixel]:
    """Andrew's monotone chain."""
    corners: list[Pixel] = []
    for points in (sorted(pixels), sorted(pixels, reverse=True)):
        chain: list[Pixel] = []
        for point in points:
            while len(chain) > 1 and cross(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        corners += chain[:-1]
    return corners


def is_convex(image: np.ndarray) -> bool:
    """The slow truth: every pixel in the convex hull of the white pixels is white."""
    white = [(int(row), int(column)) for row, column in np.argwhere(image)]
    corners = hull(white)
    edges = list(zip(corners, corners[1:] + corners[:1]))
    boxes = [range(min(places), max(places) + 1) for places in zip(*white)]  # where the hull is but a line
    return not any(
        all(cross(start, end, pixel) >= 0 for start, end in edges)
        for pixel in product(*boxes)
        if not image[pixel]
    )


def test_the_slow_truth() -> None:
    image = np.zeros((9, 9), bool)
    image[2:7, 2:7] = True
    assert is_convex(image)
    image[4, 4] = False
    assert not is_convex(image)
    line = np.zeros((9, 9), bool)
    line[2, 2] = line[4, 5] = True
    assert is_convex(line)  # no pixel between them
    line[6, 8] = True
    assert is_convex(line)
    line[4, 5] = False
    assert not is_convex(line)


def test_convex_ones_are_and_others_are_not() -> None:
    images, labels = shapes.convex_and_not(300)
    assert [is_convex(image) for image in images] == labels.astype(bool).tolist()
    assert shapes.CONVEX_NAMES == ("not convex", "convex")


def test_convex_classes_are_balanced_in_number_and_area() -> None:
    images, labels = shapes.convex_and_not(3000)
    assert labels.sum() == 1500
    areas = (images > 0).sum(axis=(1, 2))
    assert areas.min() >= shapes.CONVEX_AREA - shapes.SIDE and areas[labels == 1].min() >= 19
    of_convex, of_others = np.sort(areas[labels == 1]), np.sort(areas[labels == 0])
    assert abs(of_convex.mean() - of_others.mean()) < 5
    assert np.abs(of_convex - of_others).max() < shapes.SIDE  # all that an area could tell
    assert 0.4 < labels[:1000].mean() < 0.6  # shuffled


@pytest.mark.parametrize(("stop", "area"), [(0.195, 19), (0.07, 10), (1.0, 1)])
def test_intersections(stop: float, area: int) -> None:
    regions = shapes.draw_intersections(300, stop, area, np.random.default_rng(0))
    assert 20 < len(regions) <= 300
    assert regions.sum(axis=(1, 2)).min() >= area
    assert all(is_convex(region) for region in regions)
    if stop == 1:  # one half-plane each: its other side is convex too, and the average is a half
        assert all(is_convex(~region) for region in regions if not region.all())
        assert 0.45 < regions.mean() < 0.55


def test_unions_are_of_2_to_4_parts() -> None:
    """Parts are pixels of a row, at even places: their unions are not convex, and show their number."""
    parts = np.zeros((14, 28, 28), bool)
    parts[np.arange(14), 9, np.arange(0, 28, 2)] = True
    sizes = []
    for seed in range(100):
        unions = shapes.draw_unions(parts, np.random.default_rng(seed))
        assert unions.sum(axis=0).max() == 1  # no part is used twice
        sizes += unions.sum(axis=(1, 2)).tolist()
    # Pixels two apart, with a black one midway, are all not convex, so no union is lost.
    assert set(sizes) == {2, 3, 4}
    assert np.bincount(sizes, minlength=5)[2:].min() > 60
    assert len(shapes.draw_unions(parts[:1], np.random.default_rng(0))) == 0


def naive_pairwise_convex(region: np.ndarray) -> bool:
    pixels = [tuple(pixel) for pixel in np.argwhere(region)]
    return all(
        region[(p[0] + q[0]) // 2, (p[1] + q[1]) // 2]
        for p, q in product(pixels, repeat=2)
        if (p[0] + q[0]) % 2 == 0 and (p[1] + q[1]) % 2 == 0
    )


def test_pairwise_convexity_is_the_naive_one() -> None:
    rng = np.random.default_rng(0)
    regions = rng.random((400, 5, 5)) < rng.choice([0.1, 0.5, 0.9], (400, 1, 1))
    ref = [naive_pairwise_convex(region) for region in regions]
    assert shapes.is_pairwise_convex(regions).tolist() == ref
    assert 50 < sum(ref) < 350
