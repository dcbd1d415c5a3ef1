"""Figures that are not numbers, as the AUC of one class: nothing stops at them, and JSON stays JSON."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.speed.report import write
from benchmarks.speed.timing import Ratio
from minihash import fit, mlp, optimizers, plots, strict_json
from minihash.callbacks import EarlyStopping, Log
from minihash.network import Network
from minihash.training import Callback, History
from minihash.training import checkpoint as checkpoints

NAN, INFINITY = float("nan"), float("inf")


def strict(text: str | bytes) -> Any:
    """Parse JSON as others do."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


class Stop(Callback):
    """A power cut in a step, the first being 1."""

    def __init__(self, step: int) -> None:
        self._left = step

    def on_gradients(self, network: Network) -> None:
        self._left -= 1
        if not self._left:
            raise ConnectionError("cut")


class Thresholds(Callback):
    """Settings and a state that are no numbers; what it is given back is `restored`."""

    def __init__(self) -> None:
        self.limit, self.missing = INFINITY, NAN

    def state(self) -> dict[str, Any]:
        return {"best": -INFINITY, "nothing": None, "some": [NAN, {"low": np.float64("-inf")}, np.float32(2)]}

    def restore(self, state: dict[str, Any]) -> None:
        self._restored = state


EPOCHS, ROWS = 4, 40


def train(folder: Path | None, *callbacks: Callback, stop: int = 0) -> tuple[Network, History]:
    """Rare positives, none among the validation rows: their AUC is NaN."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(ROWS, 3)), (np.arange(ROWS) < 8) * 1.0
    network = mlp([3, 8, 1], compression=1 / 2, seed=1)
    options: dict[str, Any] = {"loss": "binary_cross_entropy", "epochs": EPOCHS, "batch_size": 10}
    options |= {"optimizer": optimizers.Adam(0.05), "checkpoint": folder, "resume": folder is not None}
    held_out = inputs[:10], np.zeros(10)
    history = fit(network, (inputs, targets), held_out, callbacks=[*callbacks, Stop(stop)], **options)
    return network, history


def metadata(folder: Path) -> dict[str, str]:
    content = (folder / checkpoints.NAME).read_bytes()
    size = int.from_bytes(content[:8], "little")
    return strict(content[8 : 8 + size])["__metadata__"]


@pytest.mark.parametrize("stop", [1, 6, 8, 13])
def test_a_training_is_resumed_to_the_same_bits(tmp_path: Path, stop: int) -> None:
    def watchers() -> list[Callback]:
        return [EarlyStopping(9, "validation_auc"), Thresholds()]

    whole, history = train(tmp_path / "a", *watchers())
    with pytest.raises(ConnectionError):
        train(tmp_path / "b", *watchers(), stop=stop)
    parts, resumed = train(tmp_path / "b", *watchers())
    assert len(history) == len(resumed) == EPOCHS
    assert all(math.isnan(value) for value in history["validation_auc"] + resumed["validation_auc"])
    assert history["validation_loss"] == resumed["validation_loss"]
    for name, array in whole.params.items():
        assert array.tobytes() == parts.params[name].tobytes()
    state = strict(metadata(tmp_path / "b")[checkpoints.FACTS])
    assert [record["validation_auc"] for record in state["progress"]["history"]] == [None] * EPOCHS


def test_callbacks_get_back_what_they_kept(tmp_path: Path) -> None:
    train(tmp_path, Thresholds())
    again = Thresholds()
    train(tmp_path, again)
    kept = again._restored
    assert kept["best"] == -INFINITY and kept["nothing"] is None
    assert math.isnan(kept["some"][0]) and kept["some"][1:] == [{"low": -INFINITY}, 2.0]


def test_a_checkpoint_with_the_word_nan_is_still_read(tmp_path: Path) -> None:
    """As they were written before: NaN and Infinity are words of Python's JSON."""
    from safetensors.numpy import load_file, save_file

    path = tmp_path / checkpoints.NAME
    with pytest.raises(ConnectionError):
        train(tmp_path, EarlyStopping(9, "validation_auc"), Thresholds(), stop=10)
    text, arrays = metadata(tmp_path)[checkpoints.FACTS], load_file(path)
    for new, old in {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.items():
        text = text.replace(f'{{"float": "{new}"}}', old)
    text = text.replace('"validation_auc": null', '"validation_auc": NaN')
    assert "NaN" in text and "Infinity" in text and '{"float"' not in text
    checksum = str(checkpoints._checksum(text, arrays))
    save_file(arrays, path, {checkpoints.FACTS: text, checkpoints.CHECKSUM: checksum})
    network, history = train(tmp_path, EarlyStopping(9, "validation_auc"), Thresholds())
    whole, _ = train(None)
    assert len(history) == EPOCHS and math.isnan(history["validation_auc"][0])
    assert all((array == network.params[name]).all() for name, array in whole.params.items())


def test_logs(tmp_path: Path) -> None:
    class Sometimes(Callback):
        def on_epoch_end(self, network: Network, history: History) -> bool:
            if len(history) == 2:
                history.records[-1]["mine"] = np.float32(0.5)
            return False

    logs = Log(tmp_path / "log.csv"), Log(tmp_path / "log.jsonl")
    train(None, Sometimes(), *logs)
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == EPOCHS and all(row["validation_auc"] == "" for row in rows)
    assert [row["mine"] for row in rows] == ["", "0.5", "", ""]
    lines = [strict(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(lines) == EPOCHS and all(line["validation_auc"] is None for line in lines)
    assert lines[1]["mine"] == 0.5 and float(rows[0]["loss"]) == lines[0]["loss"]


def test_what_is_said_of_an_epoch() -> None:
    record = {"epoch": 3, "loss": 0.25, "validation_loss": 0.5}
    described = {
        "": "",
        "validation_r2": ", validation loss 0.5000, R² undefined",
        "validation_auc": ", validation error 12.50 %, AUC undefined",
    }
    for name, wanted in described.items():
        figures = {"epoch": 3, "loss": 0.25} if not name else {**record, name: NAN}
        figures |= {"validation_error": 0.125} if name == "validation_auc" else {}
        assert History([figures]).describe() == f"epoch 3, loss 0.2500{wanted}"
    regression = History([{**record, "validation_r2": 0.5}]).describe()
    assert regression == "epoch 3, loss 0.2500, validation loss 0.5000, R² 0.5000"
    both = {**record, "validation_error": 0.125, "validation_auc": 0.75}
    history = History([{"epoch": 2, "loss": 1.0}, both])
    assert history.describe() == "epoch 3, loss 0.2500, validation error 12.50 %, AUC 0.7500"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("figure", ["validation_error", "validation_loss"])
@pytest.mark.parametrize("values", [(NAN, NAN), (NAN, 0.5), (0.0, NAN), (0.0, 0.0)])
def test_learning_curves(tmp_path: Path, figure: str, values: tuple[float, ...]) -> None:
    records = [{"epoch": epoch, "loss": 1.0, figure: value} for epoch, value in enumerate(values, 1)]
    axes = plots.learning_curves({"a": History(records)}, tmp_path / "a.png").axes
    drawn = np.array(values) * (100 if "error" in figure else 1)
    np.testing.assert_array_equal(axes[1].lines[0].get_ydata(), drawn)
    assert axes[1].get_yscale() == ("log" if 0.5 in values else "linear")


def test_learning_curves_want_an_epoch() -> None:
    with pytest.raises(ValueError, match="^history of 'a' has no epoch, wanted one at least$"):
        plots.learning_curves({"a": History()})


def test_benchmarks(tmp_path: Path) -> None:
    from benchmarks.speed.cases import Result

    result = Result("case", "side", "base", 1, Ratio(1.0, 1.0, 1.0, 0.1, 0.1, 5), parts={"hash": NAN})
    write([result], str(tmp_path / "bench.jsonl"))
    assert strict((tmp_path / "bench.jsonl").read_text())["parts"] == {"hash": None}


# ------------------------------------------------------------------------------------------ strict JSON

NUMBERS = st.floats() | st.integers() | st.booleans() | st.none() | st.text()
VALUES = st.recursive(NUMBERS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(VALUES)
def test_strict_json(value: Any) -> None:
    text = strict_json.dumps(value)
    if "NaN" not in repr(value):
        strict(text)
    tagged = strict_json.tagged(value)
    assert repr(strict_json.untagged(strict(json.dumps(tagged, allow_nan=False)))) == repr(value)
    assert repr(strict_json.tagged(tagged)) == repr(tagged)
