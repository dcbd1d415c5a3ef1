"""`minihash tune`: what it prints and writes, how to go on from there, and how it fails."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minihash.cli import build_parser
from minihash.cli.tune import _Printer
from minihash.experiments import search
from minihash.experiments.grids import Cell
from minihash.experiments.rules import read_rules
from minihash.experiments.settings import Settings, settings_of

Run = Callable[..., tuple[int, str, str]]
Fails = Callable[..., str]
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
    known = f"learning_rate {settings_of(Cell('mine.npz', 3, 'HashNet', '1/8', 0, 0)).learning_rate:g}"
    assert lines[0] == "8-5-3, HashNet at 1/8: 48 rows to train on, 12 to choose by; 2 trials"
    assert lines[1].startswith("trial 1 of 2: ") and "best" in lines[1] and known in lines[1]
    assert lines[3].startswith("best of 2 trials: ")
    assert lines[-2].startswith(f"{journal} keeps the trials: the same command with a larger --trials ")
    assert lines[-1].endswith("docs/search.md trains with these settings in Python")
    status, out, err = run(*arguments, "--trials", 3, "--out", best)
    assert (status, err) == (0, "") and out.splitlines()[1].startswith("trial 3 of 3: ")
    written = json.loads(best.read_text())
    assert written["for"]["dataset"] == "mine.npz" and written["sizes"] == [8, 5, 3]
    assert written["settings"].keys() == Settings.__dataclass_fields__.keys()
    assert written["found"]["trials"] == 3 and written["found"]["epochs"] == 1


@pytest.mark.parametrize(
    "method, words",
    [
        ("HashNet", "--compression 1/8 --hidden 5"),
        ("HashNet, tiles", "--compression 1/8 --hidden 5 --tile auto"),
        ("NN", "--compression 0 --hidden 1"),
    ],
)
def test_the_command_that_trains_with_them(run: Run, few_rows, method: str, words: str) -> None:
    arguments = (*SHORT, "--method", method, "--compression", "1/8", "--seed", 3)
    status, out, _ = run("tune", "mnist-small", *arguments)
    command = out.splitlines()[-1]
    assert status == 0 and words in command
    args = build_parser().parse_args(shlex.split(command)[1:])
    found = dict(pair.split() for pair in out.splitlines()[-2].split(","))
    assert args.tile == ("auto" if "tiles" in method else None)
    assert args.final and args.seed == 3 and args.epochs == 1 and args.batch_size == 128
    assert (args.learning_rate, args.dropout) == (float(found["learning_rate"]), float(found["dropout"]))
    assert args.input_dropout == float(found["input_dropout"])
    assert (args.momentum, args.weight_decay) == (float(found["momentum"]), float(found["weight_decay"]))


def test_the_pages_commands() -> None:
    page = (Path(__file__).parents[2] / "docs" / "search.md").read_text("utf-8")
    commands = [line for line in page.splitlines() if line.startswith("minihash tune")]
    assert len(commands) == 3
    for command in commands:
        assert build_parser().parse_args(shlex.split(command, comments=True)[1:]).command == "tune"


@pytest.mark.parametrize("method", ["RER", "HashNet, 4 tiles a row"])
def test_other_methods_have_no_command(method: str, run: Run, few_rows) -> None:
    _, out, _ = run("tune", "mnist-small", *SHORT, "--compression", "1/8", "--method", method)
    assert f"minihash train does not know {method} on mnist-small: " in out.splitlines()[-1]


def test_a_rule_for_the_papers_networks(run: Run, few_rows, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text("[]")
    status, out, _ = run("tune", "mnist-small", "--epochs", "1-2", "--trials", 1, "--settings", path)
    assert status == 0 and f"put them into {path}" in out.splitlines()
    (rule,) = read_rules(path)
    assert rule["for"] == {
        "dataset": "mnist-small",
        "layers": 3,
        "method": "HashNet",
        "compression": "1/64",
        "expansion": 0,
    }
    assert rule["settings"]["epochs"] == 2


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
    tell, settings = _Printer(3), settings_of(Cell("mine.npz", 3, "HashNet", "1/8", 0, 0))
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


@pytest.mark.parametrize("finished", [0, 1, 2])
def test_an_interrupt_throws_no_finished_trial_away(
    finished: int, run: Run, few_rows, tmp_path: Path, monkeypatch
) -> None:
    """Without a journal: the best one is written."""
    outcomes = iter([0.25, 0.5][:finished])

    def train(*arguments, callbacks):
        callbacks[0].error = next(outcomes, None)
        if callbacks[0].error is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(search, "train", train)
    best, rules = tmp_path / "best.json", tmp_path / "settings.json"
    rules.write_text("[]")
    files = ("--out", best, "--settings", rules)
    status, out, err = run("tune", "mnist-small", "--epochs", 1, "--trials", 5, *files)
    assert (status, err) == (130, "minihash: interrupted\n")
    assert best.exists() == bool(finished) == bool(read_rules(rules))
    if finished:
        assert f"interrupted after {finished} of 5 trials\n" in out and f"wrote {best}\n" in out
        assert f"best of {finished} trials: 25.00 %" in out
        assert json.loads(best.read_text())["found"]["trials"] == finished


def test_wrong_arguments(fails: Fails, mine: Path, tmp_path: Path) -> None:
    line = fails(1, "tune", mine, "--method", "HashNets")
    assert line.startswith("minihash: error: --method is 'HashNets', wanted one of 'RER', 'LRD', 'NN', 'DK'")
    line = fails(1, "tune", "mnits")
    assert "DATA is 'mnits', wanted the path of an npz file, or one of mnist-small, mnist" in line
    assert "--compression: '0' is not above 0" in fails(2, "tune", mine, "--compression", 0)
    assert "--epochs: '2' is not an integer from 3" in fails(2, "tune", mine, "--epochs", "3-2")
    assert "not allowed with argument" in fails(2, "tune", mine, "--layers", 3, "--hidden", 5)
    assert "there is no such folder" in fails(1, "tune", mine, "--out", tmp_path / "none" / "best.json")
    assert "--settings is for the paper's networks" in fails(1, "tune", mine, "--settings", tmp_path / "none")
    assert "is no list of rules" in fails(1, "tune", "mnist-small", "--settings", mine)


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
