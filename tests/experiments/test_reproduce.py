"""A grid is run into a ledger, cell by cell, and reported beside the paper."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from minihash.experiments import report
from minihash.experiments import reproduce as module
from minihash.experiments.grids import Cell, grid
from minihash.experiments.reproduce import ledger_of, reproduce

GRID = grid("table2", ["NN", "DK", "HashNet"], ["mnist"], [3])
CELLS = list(GRID.cells([0, 1]))


def test_cells_are_trained_once(tiny, tmp_path):
    seen = []
    assert reproduce(CELLS, tmp_path, epochs=1, report=seen.append) == 0
    assert [(record["row"], record["seed"]) for record in seen] == [(cell.row, cell.seed) for cell in CELLS]
    assert ledger_of(tmp_path).records() == seen and seen[0]["machine"]["versions"]["minihash"]
    assert all(record["settings"]["epochs"] == 1 for record in seen)
    assert reproduce(CELLS, tmp_path, epochs=1, report=seen.append) == 0 and len(seen) == 6
    assert reproduce(CELLS[:1], tmp_path, epochs=2, report=seen.append) == 0 and len(seen) == 7


def test_a_stopped_run_goes_on(tiny, tmp_path, monkeypatch):
    def run(cell, *arguments):
        if cell == CELLS[3]:
            raise KeyboardInterrupt
        return original(cell, *arguments)

    original = module.run
    with monkeypatch.context() as patch:
        patch.setattr(module, "run", run)
        with pytest.raises(KeyboardInterrupt):
            reproduce(CELLS, tmp_path, epochs=1)
    before = ledger_of(tmp_path).path.read_bytes()
    assert before.count(b"\n") == 3
    assert reproduce(CELLS, tmp_path, epochs=1) == 0
    after = ledger_of(tmp_path).path.read_bytes()
    assert after.startswith(before) and after.count(b"\n") == 6


def test_nothing_is_begun_after_the_budget(tiny, tmp_path):
    assert reproduce(CELLS, tmp_path, epochs=1, budget_minutes=0) == 6
    assert reproduce(CELLS, tmp_path, epochs=1, budget_minutes=10) == 0


def test_processes_share_the_cells(tmp_path):
    cells = [Cell("mnist-small", 3, row, "1/64", 0, 0) for row in ("NN", "LRD", "DK", "HashNet")]
    seen = []
    assert reproduce(cells, tmp_path / "two", epochs=1, jobs=2, report=seen.append) == 0
    assert sorted(record["row"] for record in seen) == ["DK", "HashNet", "LRD", "NN"]
    assert reproduce(cells[3:], tmp_path / "one", epochs=1) == 0
    one, *_ = ledger_of(tmp_path / "one").records()
    two = next(record for record in seen if record["row"] == "HashNet")
    # Whatever the number of threads:
    assert (one["test_error"], one["loss"]) == (two["test_error"], two["loss"])


def test_the_table(tiny, tmp_path):
    reproduce(CELLS[:5], tmp_path, epochs=1)
    results = report.Results(ledger_of(tmp_path))
    text = report.table(GRID, results, [0, 1])
    lines = [[part.strip() for part in line.split("|")[1:-1]] for line in text.splitlines()]
    assert lines[0] == list(report.HEADER)
    errors = [record["test_error"] for record in ledger_of(tmp_path).records()]
    assert [line[3] for line in lines[2:]] == ["NN", "DK", "HashNet"]
    assert [line[5] for line in lines[2:]] == ["6.28", "6.32", "2.79"]
    low, high = sorted((errors[0], errors[3]))
    assert lines[2][4] == f"**{(low + high) / 2:.2f}** ({low:.2f}, {high:.2f})"
    assert lines[4][4] == f"{errors[2]:.2f}" and lines[4][9] == "1"
    other = report.table(grid("table1", ["RER"], ["rot"], [5]), results, [0])
    assert other.endswith("| missing | 9.89 |  |  |  |  |")


def test_the_newest_record_of_a_cell_counts_unless_epochs_are_named(tiny, tmp_path):
    for epochs in (1, 3, 2):
        reproduce(CELLS[:1], tmp_path, epochs=epochs)
    ledger = ledger_of(tmp_path)
    (newest,), (three,) = (report.Results(ledger, epochs).of(CELLS[0], [0]) for epochs in (None, 3))
    assert newest["settings"]["epochs"] == 2 and three["settings"]["epochs"] == 3
    assert report.Results(ledger, 4).of(CELLS[0], [0]) == []
    assert report.Results(ledger).of(replace(CELLS[0], seed=9), [0]) == [newest]


@pytest.mark.parametrize("name", ["figure2", "figure4"])
def test_figures(tiny, tmp_path, name):
    chosen = grid(name, ["NN", "HashNet"], ["mnist"], [3])
    reproduce(list(chosen.cells([0])), tmp_path, epochs=1)
    results = report.Results(ledger_of(tmp_path))
    paths = report.write(name, chosen, results, [0], tmp_path)
    assert [path.suffix for path in paths] == [".md", ".png", ".svg"]
    assert paths[1].read_bytes().startswith(b"\x89PNG") and paths[2].read_bytes().startswith(b"<?xml")
    ours, papers = report._series(chosen, results, [0], "mnist", 3, "HashNet")
    assert len(ours) == len(papers) == 7
    wanted = {"figure2": (1 / 64, 2.79), "figure4": (1, 2.92)}[name]
    assert papers[0] == wanted and ours[0][0] == wanted[0]


@pytest.mark.slow
def test_a_killed_command_goes_on(tmp_path):
    """The whole command, killed by the system in the middle."""
    argv = [sys.executable, "-m", "minihash", "reproduce", "table2"]
    argv += ["--datasets", "mnist-small", "--epochs", "3", "--out", str(tmp_path)]
    ledger = tmp_path / "ledger.jsonl"
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 300
    while time.monotonic() < end and (not ledger.exists() or ledger.read_bytes().count(b"\n") < 5):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = ledger.read_bytes()
    assert 5 <= before.count(b"\n") < 12
    with open(ledger, "ab") as file:
        file.write(b'{"dataset": "mnist-sm')  # as if it had been killed while it wrote
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "12 networks, %d of them in" % before.count(b"\n") in done.stdout
    after = ledger.read_bytes()
    assert after.startswith(before) and after.count(b"\n") == 12
    records = [json.loads(line) for line in after.splitlines()]
    assert len({(record["row"], record["layers"]) for record in records}) == 12
    assert "missing" not in done.stdout and done.stdout.count("\n| mnist-small |") == 12
    errors = {(record["row"], record["layers"]): record["test_error"] for record in records}
    assert errors["HashNet", 3] < errors["NN", 3] < errors["RER", 3]
