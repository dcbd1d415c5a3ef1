"""Settings beside a model, runs repeated from them, checkpoints and logs of `minihash train`."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import Fails, Run

TINY = ("train", "--epochs", "2", "--hidden", "9")


@pytest.fixture(autouse=True)
def rows(few_rows) -> None:
    """Few rows to train on."""


def test_a_run_is_repeated_from_its_settings(tmp_path: Path, run: Run) -> None:
    first, second, third = (tmp_path / name for name in ("a", "b", "c"))
    options = ("--compression", "1/7", "--dropout", "0", "--bias", "free", "--clip", "0.5", "--seed", "3")
    options = (*options, "--final")
    status, out, _ = run(*TINY, *options, "--verbose", "--out", first)
    assert status == 0 and out.startswith("settings: ") and ", data mnist-small" in out
    assert "hidden 9, compression 0.142857, " in out and ", seed 3, clip 0.5, final True" in out
    assert run("train", "--from-settings", f"{first}.settings.json", "--out", second)[0] == 0
    assert first.read_bytes() == second.read_bytes()
    written = [Path(f"{model}.settings.json").read_text() for model in (first, second)]
    assert written[0] == written[1]
    assert run("train", "--from-settings", f"{first}.settings.json", "--seed", "4", "--out", third)[0] == 0
    assert first.read_bytes() != third.read_bytes()
    assert json.loads(Path(f"{third}.settings.json").read_text())["seed"] == 4


def test_settings_with_a_budget_of_bytes(tmp_path: Path, run: Run) -> None:
    assert run(*TINY, "--memory-bytes", "9999", "--hidden", "--out", tmp_path / "a")[0] == 0
    settings = json.loads((tmp_path / "a.settings.json").read_text())
    assert settings["memory_bytes"] == 9999 and settings["hidden"] == [] and "compression" not in settings
    again = ["train", "--from-settings", f"{tmp_path / 'a'}.settings.json", "--compression", "1/4"]
    assert "compression 0.25" in run(*again, "--epochs", "1", "--verbose")[1]
    assert run("train", "--from-settings", tmp_path / "a.settings.json", "--out", tmp_path / "b")[0] == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("tile", ["auto", 4, None])
def test_settings_with_tiles(tile: str | int | None, tmp_path: Path, run: Run) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    options = () if tile is None else ("--tile", tile)
    assert run(*TINY, *options, "--compression", "1/8", "--out", first)[0] == 0
    assert json.loads(Path(f"{first}.settings.json").read_text())["tile"] == tile
    assert run("train", "--from-settings", f"{first}.settings.json", "--out", second)[0] == 0
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "is no JSON"),
        ("[1]", "wanted an object with settings of minihash train"),
        ('{"epoch": 3}', "has 'epoch', wanted settings of minihash train"),
        ('{"out": "x"}', "has 'out', wanted settings of minihash train"),
        ('{"epochs": "many"}', "--epochs: 'many' is not an integer"),
        ('{"hidden": [-1]}', "--hidden: '-1' is not an integer"),
        ('{"hidden": ["3", "--out", "x"]}', "--hidden: '--out' is not an integer"),
        ('{"hidden": 3}', "--hidden: is 3, wanted a list"),
        ('{"seed": null}', "--seed: is None, wanted a value such as 0"),
        ('{"data": null}', "data: is None, wanted a value"),
        ('{"bias": {"a": 1}}', "--bias: is {'a': 1}, wanted a value such as 'hashed'"),
        ('{"bias": "tree"}', "--bias: is 'tree', wanted one of 'hashed', 'free', 'none'"),
        ('{"tile": 0}', "--tile: '0' is not an integer from 1"),
        ('{"tile": [4, 4]}', "--tile: is [4, 4], wanted a value"),
        ('{"map": "window", "window": 0.5}', "is of the window map, which is gone: wanted tiles"),
        ('{"final": 7}', "--final: is 7, wanted"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_settings_that_are_none(content: str, message: str, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "a.json").write_text(content)
    assert message in fails(2, "train", "--from-settings", tmp_path / "a.json")
    assert "No such file" in fails(2, "train", "--from-settings", tmp_path / "none.json")


def test_the_log(tmp_path: Path, run: Run) -> None:
    assert run(*TINY, "--log", tmp_path / "a.csv")[0] == run(*TINY, "--log", tmp_path / "a.jsonl")[0] == 0
    table = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    objects = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in table] == ["1", "2"] and [one["epoch"] for one in objects] == [1, 2]
    assert float(table[1]["validation_error"]) == objects[1]["validation_error"]


def test_what_is_refused(tmp_path: Path, fails: Fails) -> None:
    assert "--resume needs --checkpoint" in fails(1, *TINY, "--resume")
    (tmp_path / "file").write_text("")
    assert "no such folder" in fails(1, *TINY, "--log", tmp_path / "none" / "a.csv")


def test_a_log_of_another_kind(tmp_path: Path, run: Run) -> None:
    status, _, err = run(*TINY, "--log", tmp_path / "a.txt")
    assert status == 1 and "path's ending is '.txt', wanted one of '.csv', '.jsonl'" in err


def test_a_checkpoint_is_not_overwritten(tmp_path: Path, run: Run) -> None:
    assert run(*TINY, "--checkpoint", tmp_path / "state")[0] == 0
    status, _, err = run(*TINY, "--checkpoint", tmp_path / "state")
    assert status == 1 and "which has a training, wanted it resumed, or another folder" in err
    assert run(*TINY, "--checkpoint", tmp_path / "state", "--resume", "--out", tmp_path / "a")[0] == 0
    assert run(*TINY, "--out", tmp_path / "b")[0] == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_finished_training_goes_on_with_more_epochs(tmp_path: Path, run: Run) -> None:
    argv = (*TINY, "--checkpoint", tmp_path / "state", "--resume", "--out", tmp_path / "a")
    assert "going on" not in run(*argv)[1]
    state = tmp_path / "state" / "hashed"
    assert f"\ngoing on from {state}, after epoch 2 of 2\n" in run(*argv)[1]
    status, out, _ = run(*argv, "--epochs", "5")
    added = "3 more, with a learning rate that begins its schedule anew"
    assert status == 0 and f"\ngoing on from {state}, after its 2 epochs: {added}\n" in out
    assert "\nepoch 3, loss" in out and "\nhashed, 500 training rows, 5 epochs in " in out
    first = (tmp_path / "a").read_bytes()
    assert run(*argv, "--epochs", "5")[0] == 0 and (tmp_path / "a").read_bytes() == first
    status, _, err = run(*argv)
    assert status == 1 and "has a training with epochs 5, wanted 2: resume it with the same settings" in err


def test_networks_that_are_compared_have_a_checkpoint_each(tmp_path: Path, run: Run) -> None:
    argv = (*TINY, "--compare", "--checkpoint", tmp_path)
    assert run(*argv)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dense", "hashed", "tiles"]
    status, out, err = run(*argv, "--resume")
    assert (status, err) == (0, "") and out.count("\ngoing on from ") == 3


@pytest.mark.slow
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_a_message_and_the_run_goes_on(number: int, status: int, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "minihash", "train", "--hidden", "100", "--epochs", "4"]
    stopped = [*argv, "--checkpoint", str(tmp_path / "state"), "--resume", "--out", str(tmp_path / "a")]
    process = subprocess.Popen(stopped, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    state = tmp_path / "state" / "hashed" / "checkpoint.safetensors"
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert err.startswith("minihash: stopped in epoch ") and err.endswith("hashed has the state to resume\n")
    assert err.count("\n") == 1 and not (tmp_path / "a").exists()
    again = subprocess.run(stopped, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert subprocess.run([*argv, "--out", str(tmp_path / "b")]).returncode == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
