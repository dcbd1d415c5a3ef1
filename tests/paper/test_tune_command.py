"""`python -m benchmarks.paper tune`: the command it ends in, and rules for the paper's networks."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from helpers import Fails, Run

from benchmarks.paper import search
from benchmarks.paper.rules import read_rules
from minihash.cli import build_parser

SHORT = ("--hidden", 5, "--epochs", 1, "--trials", 2)


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
    assert (status, err) == (130, "python -m benchmarks.paper: interrupted\n")
    assert best.exists() == bool(finished) == bool(read_rules(rules))
    if finished:
        assert f"interrupted after {finished} of 5 trials\n" in out and f"wrote {best}\n" in out
        assert f"best of {finished} trials: 25.00 %" in out
        assert json.loads(best.read_text())["found"]["trials"] == finished


def test_wrong_arguments(fails: Fails, tmp_path: Path) -> None:
    line = fails(1, "tune", "mnist-small", "--method", "HashNets")
    assert ": error: --method is 'HashNets', wanted one of 'RER', 'LRD', 'NN', 'DK'" in line
    assert "name is 'mnits', wanted one of 'mnist-small', 'mnist'" in fails(1, "tune", "mnits")
    assert "--compression is 0" in fails(1, "tune", "mnist-small", "--compression", 0)
    assert "not allowed with argument" in fails(2, "tune", "mnist-small", "--layers", 3, "--hidden", 5)
    own = ("--hidden", 5, "--settings", tmp_path / "none")
    assert "--settings is for the paper's networks" in fails(1, "tune", "mnist-small", *own)
    rules = tmp_path / "rules"
    rules.write_text("{}")
    assert "is no list of rules" in fails(1, "tune", "mnist-small", "--settings", rules)
    twice = ("--out", tmp_path / "new", "--settings", tmp_path / "new")
    assert "is to be written twice" in fails(1, "tune", "mnist-small", *twice)
