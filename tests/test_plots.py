"""Pictures: what they show, what they refuse, and that they are written whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minihash import HashedLinear, Linear, ReLU, mlp, plots, save
from minihash.cli import main
from minihash.quantization import quantize
from minihash.training import History

LAYER = HashedLinear(12, 5, num_buckets=4, seed=3)
HISTORY = History([{"epoch": epoch, "loss": 1 / epoch, "validation_error": 0.5} for epoch in (1, 2, 3)])
STEPS = {"a": {"hash": 1.0}, "b": {"hash": 2.0, "product": 1.0}}
PICTURES: dict[str, Callable[..., Any]] = {
    "learning curves": lambda path=None: plots.learning_curves({"a": HISTORY, "b": HISTORY}, path),
    "bucket map": lambda path=None: plots.bucket_map(LAYER, [0, 4], (3, 4), path),
    "virtual weights": lambda path=None: plots.virtual_weights(LAYER, range(5), (4, 3), path),
    "error against bytes": lambda path=None: plots.error_against_bytes({"a": [(9, 2.0), (4, 3.0)]}, path),
    "step times": lambda path=None: plots.step_times(STEPS, path),
}


def images(figure: Any) -> list[np.ndarray]:
    return [axes.images[0].get_array() for axes in figure.axes if axes.images and axes.get_title()]


@pytest.mark.parametrize("name", PICTURES)
def test_to_a_file_and_for_a_notebook(name: str, tmp_path: Path) -> None:
    figure = PICTURES[name](tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG") and len(list(tmp_path.iterdir())) == 1
    assert len(PICTURES[name]().axes) == len(figure.axes)
    with pytest.raises(ValueError, match="ends in 'bmp', wanted png, svg or pdf"):
        PICTURES[name](tmp_path / "a.bmp")


def test_bucket_map_of_tiles_shows_tiles() -> None:
    layer = HashedLinear(12, 5, num_buckets=11, tile=4, seed=1)
    shown = images(plots.bucket_map(layer, [4, 1], (3, 4)))
    slots = layer.bucket_map.slot(layer.bucket_map.key, np.array([[4], [1]]), np.arange(4))
    drawn = (np.asarray(slots) % 2**31)[:, layer.bucket_map.places[:12] // 4]
    np.testing.assert_array_equal(np.reshape(shown, (2, 12)), drawn)


def test_bucket_map_shows_buckets_and_signs() -> None:
    figure = plots.bucket_map(LAYER, [4, 1], (3, 4))
    buckets, signs = LAYER.bucket_map(np.array([[4], [1]]), np.arange(12))
    shown = images(figure)
    np.testing.assert_array_equal(np.reshape(shown, (2, 12)), buckets)
    for axes, sign in zip(figure.axes, signs.reshape(2, 3, 4)):
        columns, rows = axes.lines[0].get_data()
        np.testing.assert_array_equal(np.argwhere(sign < 0), np.column_stack([rows, columns]))


QUANTIZED = quantize(mlp([12, 5], compression=1 / 2), 8).layers[0]


@pytest.mark.parametrize("layer", [LAYER, Linear(12, 5), QUANTIZED])
def test_virtual_weights_are_the_rows_of_the_matrix(layer: Any) -> None:
    matrix = layer.weight if isinstance(layer, Linear) else layer.virtual_weight_matrix()
    shown = images(plots.virtual_weights(layer, [0, 3], (3, 4)))
    np.testing.assert_array_equal(np.reshape(shown, (2, 12)), matrix[[0, 3]])


def test_step_times_stack() -> None:
    axes = PICTURES["step times"]().axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0, 1), (0, 2), (1, 0), (2, 1)]


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: plots.bucket_map(Linear(12, 5), [0], (3, 4)), "layer is a Linear, wanted a HashedLinear"),
        (lambda: plots.virtual_weights(ReLU(), [0], (3, 4)), "layer is a ReLU, wanted one with weights"),
        (lambda: plots.virtual_weights(LAYER, [0], (3, 5)), r"shape is \(3, 5\), wanted .* product is 12"),
        (lambda: plots.virtual_weights(LAYER, [5], (3, 4)), "units is 5, wanted"),
        (lambda: plots.bucket_map(LAYER, [], (3, 4)), "units is empty"),
    ],
)
def test_what_is_refused(draw: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()


def test_inspect_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    square, other, picture = tmp_path / "a", tmp_path / "b", tmp_path / "a.svg"
    save(mlp([16, 5, 2], compression=1 / 2), square)
    save(mlp([15, 5, 2]), other)
    assert main(["inspect", str(square), "--plot", str(picture)]) == 0
    assert "drew" in capsys.readouterr().out and b"unit 4" in picture.read_bytes()
    assert main(["inspect", str(other), "--plot", str(picture)]) == 1
    assert "--plot is for square images, and the network has 15 inputs" in capsys.readouterr().err


def test_learning_curves_of_regressions_and_without_validation() -> None:
    regression = History([{"epoch": epoch, "loss": 1.0, "validation_loss": 3.0} for epoch in (1, 2)])
    axes = plots.learning_curves({"a": regression}).axes
    assert [one.get_ylabel() for one in axes] == ["training loss", "validation loss"]
    assert axes[1].lines[0].get_ydata().tolist() == [3, 3]
    alone = History([{"epoch": 1, "loss": 1.0}])
    assert len(plots.learning_curves({"a": alone}).axes) == 1
