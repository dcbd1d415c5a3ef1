"""`minihash tune`: what it prints and writes, how to go on from there, and how it fails."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import Fails, Run

from minihash import search
from minihash.cli import build_parser
from minihash.cli.tune import Printer
from minihash.search import Settings

SHORT = ("--hidden", 5, "--epochs", 1, "--trials", 2)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A file of one's own, of 60 rows."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", inputs=rng.normal(size=(60, 8)), labels=np.arange(60) % 3)
    return tmp_path / "mine.npz"


def test_a_file_of_ones_own(run: Run, mine: Path, tmp_path: Path) -> None:
    journal, best = tmp_path / "journal", tmp_path / "best.json"
    arguments = ("tune", mine, *SHORT, "--compression", 0.125, "--journal", journal)
    status, out, err = run(*arguments)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    known = f"learning_rate {Settings().learning_rate:g}"
    assert lines[0] == "8-5-3, hashed at 1/8: 48 rows to train on, 12 to choose by; 2 trials"
    assert lines[1].startswith("trial 1 of 2: ") and "best" in lines[1] and known in lines[1]
    assert lines[3].startswith("best of 2 trials: ")
    assert lines[-2].startswith(f"{journal} keeps the trials: the same command with a larger --trials ")
    args = build_parser().parse_args(shlex.split(lines[-1])[1:])
    assert (args.data, args.hidden, args.compression, args.tile) == (str(mine), [5], 1 / 8, 1)
    chosen = dict(pair.split() for pair in lines[-3].split(","))
    assert args.final and args.epochs == 1 and args.learning_rate == float(chosen["learning_rate"])
    status, out, err = run(*arguments, "--trials", 3, "--out", best)
    assert (status, err) == (0, "") and out.splitlines()[1].startswith("trial 3 of 3: ")
    written = json.loads(best.read_text())
    assert written["sizes"] == [8, 5, 3] and (written["compression"], written["tile"]) == ("1/8", 1)
    assert written["settings"].keys() == Settings.__dataclass_fields__.keys()
    assert written["found"]["trials"] == 3 and written["found"]["epochs"] == 1


def test_the_pages_commands() -> None:
    page = (Path(__file__).parents[2] / "docs" / "search.md").read_text("utf-8")
    commands = [line for line in page.splitlines() if line.startswith("minihash tune")]
    assert len(commands) == 2
    for command in commands:
        assert build_parser().parse_args(shlex.split(command, comments=True)[1:]).command == "tune"


def test_what_diverged_or_was_stopped_is_said(run: Run, mine: Path, monkeypatch) -> None:
    outcomes = iter([("error", 0.5), ("pruned", 0.25), ("diverged", None), ("error", 0.125)])

    def train(*arguments, callbacks):
        what, error = next(outcomes)
        if what == "diverged":
            raise FloatingPointError
        callbacks[0].error, callbacks[0].pruned = error, what == "pruned"

    monkeypatch.setattr(search, "train", train)
    lines = run("tune", mine, *SHORT, "--trials", 4)[1].splitlines()
    assert [": ".join(line.split(": ")[:2]) for line in lines[1:6]] == [
        "trial 1 of 4: 50.00 %, best 50.00 %",
        "trial 2 of 4: stopped at 25.00 %",
        "trial 3 of 4: diverged",
        "trial 4 of 4: 12.50 %, best 12.50 %",
        "best of 4 trials (2 stopped early): 12.50 % of the validation rows wrong with",
    ]


@pytest.mark.parametrize("score, best", [("error", [0.5, 0.25, 0.25]), ("accuracy", [0.5, 0.5, 0.75])])
def test_the_best_score_so_far_is_told(score: str, best: list[float], capsys, monkeypatch) -> None:
    monkeypatch.setattr(search, "SCORE", score)
    tell, settings = Printer(3), Settings()
    for number, error in enumerate((0.5, 0.25, 0.75), 1):
        tell(search.Trial(number, settings, (), error, False))
    found = [float(line.split("best ")[1].split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert found == [100 * one for one in best]


def test_an_interrupted_search_goes_on(run: Run, mine: Path, tmp_path: Path, monkeypatch) -> None:
    train, calls = search.train, []

    def interrupt(*arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*arguments, **named)

    monkeypatch.setattr(search, "train", interrupt)
    arguments = ("tune", mine, *SHORT, "--journal", tmp_path / "journal")
    status, out, err = run(*arguments)
    assert (status, err) == (130, "minihash: interrupted\n") and "trial 1 of 2" in out
    status, out, err = run(*arguments)
    assert (status, err) == (0, "") and "trial 2 of 2" in out and "trial 1 of 2" not in out


def test_wrong_arguments(fails: Fails, mine: Path, tmp_path: Path) -> None:
    line = fails(1, "tune", "mnits")
    assert "DATA is 'mnits', wanted the path of an npz file, or one of mnist-small, mnist" in line
    assert "--compression: '2' is not a number from 0 to 1" in fails(2, "tune", mine, "--compression", 2)
    assert "--epochs: '2' is not an integer from 3" in fails(2, "tune", mine, "--epochs", "3-2")
    assert "there is no such folder" in fails(1, "tune", mine, "--out", tmp_path / "none" / "best.json")


def test_dense_layers(run: Run, mine: Path) -> None:
    lines = run("tune", mine, *SHORT, "--compression", 0)[1].splitlines()
    assert lines[0].startswith("8-5-3, dense: ") and "--compression 0" in lines[-1]
    assert build_parser().parse_args(shlex.split(lines[-1])[1:]).tile is None


def test_wrong_files(fails: Fails, run: Run, mine: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_bytes(mine.read_bytes())
    status, _, err = run("tune", mine, *SHORT, "--journal", journal)
    assert (status, err) == (1, f"minihash: error: {journal}: is damaged, or no journal of a search\n")
    other = tmp_path / "other.npz"
    np.savez(other, inputs=np.zeros((3, 2)))
    wanted = f"minihash: error: {other}: holds inputs, wanted the arrays inputs and labels\n"
    assert fails(1, "tune", other) == wanted
    np.savez(other, inputs=np.zeros((2, 2)), labels=[0, 1])
    assert "other.npz has 2 rows that are not test rows" in run("tune", other)[2]


def test_without_optuna(fails: Fails, mine: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert fails(1, "tune", mine) == "minihash: error: the search needs optuna: pip install optuna\n"
