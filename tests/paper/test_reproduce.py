"""A grid is run into a ledger, cell by cell, and reported beside the paper."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from benchmarks.paper import data as datasets
from benchmarks.paper import report
from benchmarks.paper import reproduce as module
from benchmarks.paper import runs, settings
from benchmarks.paper.grids import Cell, grid
from benchmarks.paper.reproduce import ledger_of, plan, reproduce
from minihash import losses
from minihash.cli import main
from minihash.kernels import threads

GRID = grid("table2", ["NN", "DK", "HashNet"], ["mnist"], [3])
CELLS = list(GRID.cells([0, 1]))
OURS = ("HashNet, 8 tiles a row", "HashNet, 4 tiles a row")
TEST_ROWS = 100  # of conftest.py


def run_all(cells, folder, epochs=1, **arguments):
    return reproduce(plan(cells, epochs), folder, **arguments)


def results_of(folder, cells, epochs=1):
    return report.Results(ledger_of(folder), plan(cells, epochs))


def test_cells_are_trained_once(tiny, tmp_path):
    seen = []
    assert run_all([*CELLS, *CELLS], tmp_path, report=seen.append) == 0
    assert [(record["row"], record["seed"]) for record in seen] == [(cell.row, cell.seed) for cell in CELLS]
    assert ledger_of(tmp_path).records() == seen and seen[0]["machine"]["versions"]["minihash"]
    assert all(record["settings"]["epochs"] == 1 for record in seen)
    assert run_all(CELLS, tmp_path, report=seen.append) == 0 and len(seen) == 6
    assert run_all(CELLS[:1], tmp_path, epochs=2, report=seen.append) == 0 and len(seen) == 7


def test_other_settings_another_teacher_and_other_data_are_other_results(tiny, tmp_path, monkeypatch):
    def missing():
        return [record["row"] for record in ledger_of(tmp_path).missing(plan(CELLS[:3], 1))]

    def with_rule(**wanted):
        rule = {"for": wanted, "settings": {"learning_rate": 0.1}}
        monkeypatch.setattr(settings, "_rules", lambda: [*rules, rule])

    rules = settings._rules()[:1]
    monkeypatch.setattr(settings, "_rules", lambda: rules)
    run_all(CELLS[:3], tmp_path)
    assert missing() == []
    with_rule(method="HashNet")
    assert missing() == ["HashNet"]
    with_rule(row="NN", compression="1")  # the teacher's
    assert missing() == ["DK"]
    monkeypatch.setattr(settings, "_rules", lambda: [*rules, {"for": {}, "settings": {"weight_decay": 0}}])
    assert missing() == []  # 0 is 0.0
    other = replace(tiny, origin="other photographs")
    monkeypatch.setattr(datasets, "load", lambda *arguments: other)
    assert missing() == ["NN", "DK", "HashNet"]


def test_a_plan_that_has_begun_is_not_changed(tiny, tmp_path, monkeypatch):
    planned = plan(CELLS[:3], 1)
    monkeypatch.setattr(module, "settings_of", None)  # cannot be called: the plan says it all
    assert reproduce(planned, tmp_path) == 0
    assert ledger_of(tmp_path).missing(planned) == []


def test_a_missing_data_set_is_found_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIHASH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="mnist is not in"):
        plan([Cell("mnist-small", 3, "NN", "1/64", 0, 0), Cell("rot", 3, "NN", "1/64", 0, 0)])


def test_the_teacher_has_its_own_settings_and_its_student_learns_from_it(tiny, tmp_path, monkeypatch):
    seen = {}

    def run(cell, chosen, dataset, teacher):
        seen[cell.row] = teacher
        return original(cell, chosen, dataset, teacher)

    original = module.run
    monkeypatch.setattr(module, "run", run)
    rule = {"for": {"row": "NN", "compression": "1"}, "settings": {"learning_rate": 0.0}}
    rules = settings._rules()
    monkeypatch.setattr(settings, "_rules", lambda: [*rules, rule])
    run_all(CELLS[:3], tmp_path)
    assert seen["NN"] is None and seen["HashNet"] is None
    teacher = runs.teacher_cell(CELLS[1])
    start, _ = runs.build(teacher, settings.settings_of(teacher), tiny)
    for name, array in start.params.items():  # with a learning rate of 0
        assert (seen["DK"].params[name] == array).all()


def test_a_stopped_run_goes_on(tiny, tmp_path, monkeypatch):
    def run(cell, *arguments):
        if cell == CELLS[3]:
            raise KeyboardInterrupt
        return original(cell, *arguments)

    original = module.run
    with monkeypatch.context() as patch:
        patch.setattr(module, "run", run)
        with pytest.raises(KeyboardInterrupt):
            run_all(CELLS, tmp_path)
    before = ledger_of(tmp_path).path.read_bytes()
    assert before.count(b"\n") == 3
    assert run_all(CELLS, tmp_path) == 0
    after = ledger_of(tmp_path).path.read_bytes()
    assert after.startswith(before) and after.count(b"\n") == 6


def test_a_network_that_diverges_is_a_result(tiny, tmp_path, monkeypatch):
    def diverges(outputs, targets, sample_weight=None):
        return float("nan"), outputs

    with monkeypatch.context() as patch:
        patch.setitem(losses.LOSSES, "softmax_cross_entropy", diverges)
        assert run_all(CELLS[:1], tmp_path) == 0
    (record,) = ledger_of(tmp_path).records()
    assert record["test_error"] is None and "loss is nan in epoch 1" in record["failure"]
    assert run_all(CELLS[:1], tmp_path) == 0
    assert "| diverged |" in report.table(GRID, results_of(tmp_path, CELLS), [0])
    assert report.errors_text([3.0, None, 1.0]) == "**2.00** (1.00, 3.00, 1 diverged)"
    assert report.errors_text([None, None]) == "2 diverged"


def test_nothing_is_begun_after_the_budget(tiny, tmp_path):
    assert run_all(CELLS, tmp_path, budget_minutes=0) == 6
    assert run_all(CELLS, tmp_path, budget_minutes=10) == 0


@pytest.mark.slow
def test_processes_share_the_cells(tmp_path):
    cells = [Cell("mnist-small", 3, row, "1/64", 0, 0) for row in ("NN", "LRD", "DK", "HashNet")]
    seen = []
    assert run_all(cells, tmp_path / "two", jobs=2, report=seen.append) == 0
    assert sorted(record["row"] for record in seen) == ["DK", "HashNet", "LRD", "NN"]
    assert run_all(cells[3:], tmp_path / "one") == 0
    one, *_ = ledger_of(tmp_path / "one").records()
    two = next(record for record in seen if record["row"] == "HashNet")
    # Whatever the number of threads of hashed layers:
    assert (one["test_error"], one["loss"]) == (two["test_error"], two["loss"])


def kill_oneself(folder, data_dir, planned):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_ends_the_run_with_a_word(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_do", kill_oneself)
    with pytest.raises(ChildProcessError, match="a process was killed"):
        run_all(CELLS, tmp_path, jobs=2)


def test_processes_take_their_share_of_the_cores(set_num_threads, monkeypatch):
    monkeypatch.setattr(module, "end_in_order", lambda: None)  # signals of this process stay as they are
    with threadpool_limits(4), threadpool_limits(None) as before:
        module._take_share(1)
        assert threads.num_threads() == 1
        assert all(library["num_threads"] == 1 for library in threadpool_info())
        before.restore_original_limits()


def test_the_table(tiny, tmp_path):
    seeds = (0, 1, 2)
    cells = list(GRID.cells(seeds))
    run_all(cells[:7], tmp_path)
    table, data = report.table(GRID, results_of(tmp_path, cells), seeds).split("\n\n")
    lines = [[part.strip() for part in line.split("|")[1:-1]] for line in table.splitlines()]
    assert lines[0] == list(report.HEADER) and data == "Data: mnist: of the user."
    errors = [record["test_error"] for record in ledger_of(tmp_path).records()]
    assert [line[3] for line in lines[2:]] == ["NN", "DK", "HashNet"]
    assert [line[6] for line in lines[2:]] == ["6.28", "6.32", "2.79"]
    low, middle, high = sorted((errors[0], errors[3], errors[6]))
    assert lines[2][4] == f"**{middle:.2f}** ({low:.2f}, {middle:.2f}, {high:.2f})"
    assert lines[2][5] == f"{196 * math.sqrt(middle / 100 * (1 - middle / 100) / TEST_ROWS):.2f}"
    assert lines[4][10] == "1" and report.errors_text([5.0, 1.0, 3.0]).startswith("**3.00**")
    other = grid("table1", ["RER"], ["rot"], [5])
    missing = report.table(other, results_of(tmp_path, other.cells([0])), [0])
    assert "| missing |  | 9.89 |  |  |  |  |\n" in missing


def test_the_table_as_the_paper_has_it(tiny, tmp_path):
    seeds, part = (0, 1, 2), grid("table2", ["NN", "HashNet", "DK"], ["mnist", "rot"], [3])
    cells = [cell for cell in part.cells(seeds) if cell.dataset == "mnist" and cell.row != "DK"]
    run_all(cells, tmp_path)
    (path,) = report.write("table2", part, results_of(tmp_path, list(part.cells(seeds))), seeds, tmp_path)
    wide, long, data = path.read_text().split("\n\n")
    head, _, mnist, rot = ([cell.strip() for cell in line.split("|")[1:-1]] for line in wide.splitlines())
    assert head == ["3 layers, 1/64", "NN", "HashNet", "DK"] and long.startswith("| data |")
    errors = {row: [] for row in head[1:]}
    for record in ledger_of(tmp_path).records():
        errors[record["row"]].append(record["test_error"])
    medians = [sorted(errors[row])[1] for row in ("NN", "HashNet")]
    for entry, median, papers in zip(mnist[1:], medians, ("6.28", "2.79")):
        half = 1.96 * math.sqrt(median * (100 - median) / TEST_ROWS)
        shown = f"**{median:.2f}**" if median == min(medians) else f"{median:.2f}"
        assert entry == f"{shown} ± {half:.2f} ({papers})"
    assert mnist[3] == "missing" and rot == ["ROT", "missing", "missing", "missing"]


def test_records_with_other_settings_are_not_shown(tiny, tmp_path):
    for epochs in (1, 3):
        run_all(CELLS[:1], tmp_path, epochs=epochs)
    (three,) = results_of(tmp_path, CELLS, epochs=3).of(CELLS[0], [0, 0])
    assert three["settings"]["epochs"] == 3
    assert results_of(tmp_path, CELLS, epochs=4).of(CELLS[0], [0]) == []
    (one,) = results_of(tmp_path, CELLS, epochs=1).of(replace(CELLS[0], seed=9), [0])
    assert one["settings"]["epochs"] == 1


def test_a_record_without_its_results_is_told(tiny, tmp_path):
    ledger_of(tmp_path).append(plan(CELLS[:1], 1)[0])
    with pytest.raises(ValueError, match="ledger.jsonl: a record lacks 'stored'"):
        results_of(tmp_path, CELLS)


@pytest.mark.parametrize("name", ["figure2", "figure4"])
def test_figures(tiny, tmp_path, name):
    chosen = grid(name, ["NN", "HashNet"], ["mnist"], [3])
    cells = list(chosen.cells([0]))
    run_all(cells, tmp_path)
    results = results_of(tmp_path, cells)
    paths = report.write(name, chosen, results, [0], tmp_path)
    assert [path.suffix for path in paths] == [".md", ".png", ".svg"]
    assert paths[1].read_bytes().startswith(b"\x89PNG") and paths[2].read_bytes().startswith(b"<?xml")
    ours, papers = report._series(chosen, results, [0], "mnist", 3, "HashNet")
    assert len(ours) == len(papers) == 7
    wanted = {"figure2": (1 / 64, 2.79), "figure4": (1, 2.92)}[name]
    assert papers[0] == wanted and ours[0][0] == wanted[0]


@pytest.mark.parametrize("name", ["figure2", "figure4"])
@pytest.mark.parametrize("rows", [["NN"], [*grid("table1").rows, *OURS]], ids=len)
def test_figures_of_nothing_yet(tiny, tmp_path, name, rows, parser):
    assert main([name, "--rows", *rows, "--budget-minutes", "0", "--out", str(tmp_path)], parser) == 0
    assert (tmp_path / f"{name}.png").exists()


@pytest.mark.slow
def test_a_killed_command_goes_on(tmp_path):
    """The whole command, killed by the system in the middle."""
    argv = [sys.executable, "-m", "benchmarks.paper", "table2"]
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


@pytest.mark.slow
def test_several_commands_share_a_ledger(tmp_path):
    """Three at once, one of them killed in the middle of a cell: no cell is trained twice, or lost."""
    argv = [sys.executable, "-m", "benchmarks.paper", "table2", "--datasets", "mnist-small"]
    argv += ["--rows", "NN", "LRD", "HashNet", "--layers", "3", "--epochs", "2", "--seeds", "0", "1", "2"]
    argv += ["--out", str(tmp_path)]
    ledger = tmp_path / "ledger.jsonl"
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    end = time.monotonic() + 300
    while time.monotonic() < end and (not ledger.exists() or ledger.read_bytes().count(b"\n") < 2):
        time.sleep(0.05)
    os.kill(processes[0].pid, signal.SIGKILL)
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [-signal.SIGKILL, 0, 0]
    records = [json.loads(line) for line in ledger.read_bytes().splitlines()]
    keys = [(record["row"], record["seed"]) for record in records]
    assert len(keys) == len(set(keys)) == 9
    assert any("missing" not in one for one in said[1:])  # the one that trained the last cell saw them all
    trained = [one.count(" s\n") for one in said[1:]]
    assert all(trained) and 7 <= sum(trained) <= 9


def test_a_cell_of_another_process_is_left_to_it(tiny, tmp_path):
    planned = plan(CELLS[:2], 1)
    tmp_path.mkdir(exist_ok=True)
    program = (
        "import sys; from benchmarks.locks import Claims; claims = Claims(sys.argv[1]); "
        "print(claims.take(sys.argv[2]), claims.take(sys.argv[2]), flush=True); sys.stdin.read()"
    )
    name = ledger_of(tmp_path).identity(planned[0])
    argv = [sys.executable, "-c", program, str(tmp_path / module.CLAIMS), name]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True False\n"
        seen = []
        assert reproduce(planned, tmp_path, report=seen.append) == 1
        assert [record["row"] for record in seen] == [CELLS[1].row]
        other.kill()
    assert reproduce(planned, tmp_path) == 0


def test_without_threads_one_process_does_all(monkeypatch):
    monkeypatch.setattr(module, "can_start", lambda: False)
    monkeypatch.setattr(module.concurrent.futures, "ProcessPoolExecutor", None)
    done = module._map(lambda record: {**record, "done": True}, iter([{"cell": 1}]), jobs=2)
    assert list(done) == [{"cell": 1, "done": True}]
