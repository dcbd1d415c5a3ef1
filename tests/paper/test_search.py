"""The search: the same with the same seed, on from where it was killed, blind for what it must not see."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from math import log10
from pathlib import Path

import numpy as np
import pytest

from benchmarks.paper import runs, search
from benchmarks.paper.grids import ROWS, Cell
from benchmarks.paper.search import TEACHER_SPACE
from benchmarks.paper.settings import settings_of
from minihash import search as searching
from minihash import studies
from minihash.search import SPACE, Watch

CELL = Cell("tiny", 3, "HashNet", "1/8", 0, 4)
SETTINGS = replace(settings_of(CELL), epochs=10, dropout=0.0, input_dropout=0.0)


def find(dataset, *, cell=CELL, **arguments):
    """A short search: what it found, and every trial."""
    seen = []
    found = search.search(cell, dataset, **{"trials": 13, "epochs": 3, "report": seen.append} | arguments)
    return found, seen


class Untouchable:
    """Test rows that nobody may look at."""

    def __getattr__(self, name):
        raise AssertionError(f"the test set's {name} was asked for")

    __len__ = __iter__ = __getitem__ = lambda self, *arguments: self.touched


# What is found


def test_the_same_again_with_the_same_seed(tiny):
    found, seen = find(tiny)
    assert (found, seen) == find(tiny)
    assert find(tiny, cell=replace(CELL, seed=5), trials=3)[1][1:] != seen[1:3]
    assert [trial.number for trial in seen] == list(range(1, 14))
    assert len({trial.settings for trial in seen}) == 13
    done = [trial for trial in seen if not trial.pruned]
    best = min(done, key=lambda trial: trial.error)
    assert found == (best.settings, tuple(SPACE), best.error, 13, 13 - len(done))
    for trial in seen:
        assert trial.names == tuple(SPACE) and trial.settings.epochs == 3
        for name, (low, high, _) in SPACE.items():
            assert low <= getattr(trial.settings, name) <= high


def test_the_error_is_that_of_a_network_trained_so(tiny):
    found, _ = find(tiny, trials=3)
    rows = search.split(tiny)
    network, _ = runs.build(CELL, found.settings, tiny)
    runs.train(network, rows.train, found.settings, CELL.seed)
    assert found.error == runs.evaluate(network, rows.validation)["error"]


def test_the_first_trial_is_what_is_known(tiny):
    _, (first,) = find(tiny, trials=1)
    known = settings_of(CELL)
    weight_decay = max(1e-8, known.weight_decay)  # no less is searched
    assert first.settings == replace(known, epochs=3, weight_decay=weight_decay)


def test_a_planted_optimum_is_found(tiny, monkeypatch):
    """A learning rate of 0.01 and a hidden dropout of 0.5, far from where the search begins."""

    def train(network, rows, settings, seed, teacher, callbacks):
        callbacks[0].error = abs(log10(settings.learning_rate / 0.01)) + abs(settings.dropout - 0.5)

    monkeypatch.setattr(search, "train", train)
    found, seen = find(tiny, trials=50)
    assert found.error < 0.15 < min(trial.error for trial in seen[:11])


def test_epochs_are_searched_between_two_numbers(tiny):
    found, seen = find(tiny, trials=6, epochs=(2, 5))
    assert found.names == (*SPACE, "epochs") and seen[0].settings.epochs == 5
    assert len({trial.settings.epochs for trial in seen}) > 1
    assert all(2 <= trial.settings.epochs <= 5 for trial in seen)
    assert find(tiny, trials=1, epochs=None)[1][0].settings.epochs == settings_of(CELL).epochs


@pytest.mark.parametrize("row", ROWS)
def test_every_row(tiny, row):
    found, seen = find(tiny, cell=replace(CELL, row=row), trials=2, epochs=1)
    assert set(found.names) == {*SPACE, *(TEACHER_SPACE if "DK" in row else ())}
    assert len(seen) == 2


def test_sizes_of_ones_own(tiny, monkeypatch):
    built = []
    monkeypatch.setattr(search, "build", lambda *arguments: built.append(runs.build(*arguments)) or built[-1])
    find(tiny, trials=1, sizes=[20, 7, 5, 3])
    assert [layer.out_features for layer in built[0][0].layers if layer.params] == [7, 5, 3]


def test_time(tiny):
    assert find(tiny, minutes=0)[0].trials == 1


def test_wrong_arguments(tiny):
    for wrong in ({"trials": 0}, {"epochs": 0}, {"epochs": (3, 2)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            find(tiny, **wrong)
    few = replace(tiny, train=tuple(array[:2] for array in tiny.train), validation=search.split(tiny).test)
    with pytest.raises(ValueError, match="tiny has 2 rows that are not test rows, wanted at least 3"):
        find(few)


# What it does not see


@pytest.mark.parametrize("row", ["HashNet", "DK"])
def test_validation_rows_are_not_trained_on_and_test_rows_not_read(tiny, row, monkeypatch):
    trained, fit = [], searching.fit

    def spy(network, rows, *arguments, **named):
        trained.append(rows[0])
        return fit(network, rows, *arguments, **named)

    monkeypatch.setattr(searching, "fit", spy)
    find(replace(tiny, test=Untouchable()), cell=replace(CELL, row=row), trials=2, epochs=1)
    assert len(trained) == (3 if row == "DK" else 2)  # the teacher's among them
    chosen = {row.tobytes() for row in search.split(tiny).validation[0]}
    every = {row.tobytes() for row in tiny.train_and_validation()[0]}
    assert len(chosen) == 40 and len(every) == 200
    assert all({row.tobytes() for row in inputs} == every - chosen for inputs in trained)


# Trials that are not trained to their end


def test_a_hopeless_trial_is_stopped(tiny):
    import optuna

    study, space = studies.open_study("x"), {"x": studies.Range(0.0, 1.0)}
    network, _ = runs.build(CELL, SETTINGS, tiny)
    rows = search.split(tiny)
    for _ in range(5):
        trial = studies.ask(study, space, {"x": 0.0}, 0)
        watch = Watch(trial, rows.validation, 10)
        history = runs.train(network, rows.train, SETTINGS, 4, callbacks=(watch,))
        assert len(history) == 10 and not watch.pruned
        studies.tell(study, trial, watch.error)
    assert all(list(trial.intermediate_values) == list(range(1, 11)) for trial in studies.ended(study))
    hopeless, _ = runs.build(CELL, SETTINGS, tiny)
    trial = studies.ask(study, space, {"x": 0.0}, 0)
    watch = Watch(trial, rows.validation, 10)
    history = runs.train(hopeless, rows.train, replace(SETTINGS, learning_rate=0.0), 4, callbacks=(watch,))
    assert len(history) == 3 and watch.pruned and watch.error > 0.3
    studies.tell(study, trial, None)
    assert len(studies.ended(study)) == 6 and len(studies.complete(study)) == 5
    assert studies.ended(study)[-1].state == optuna.trial.TrialState.PRUNED


@pytest.mark.parametrize(
    "epochs, looks", [(1, [10]), (3, [3, 6, 10]), (12, list(range(1, 11))), (25, list(range(1, 11)))]
)
def test_a_trial_is_looked_at_after_each_tenth(tiny, epochs, looks):
    seen = []

    class Trial:
        def report(self, error, step):
            seen.append(step)

        def should_prune(self):
            return False

    network, _ = runs.build(CELL, SETTINGS, tiny)
    watch = Watch(Trial(), search.split(tiny).validation, epochs)
    runs.train(network, tiny.train, replace(SETTINGS, epochs=epochs), 4, callbacks=(watch,))
    assert seen == looks and 0 <= watch.error <= 1


def test_training_that_diverges_is_a_bad_trial(tiny, monkeypatch):
    train = search.train

    def diverge(network, rows, settings, *arguments, **named):
        if settings.learning_rate > limit:
            raise FloatingPointError("loss is inf")
        return train(network, rows, settings, *arguments, **named)

    monkeypatch.setattr(search, "train", diverge)
    limit = 3e-3
    found, seen = find(tiny)
    bad = [trial for trial in seen if trial.settings.learning_rate > limit]
    assert bad and all(trial.error == np.inf and trial.pruned for trial in bad)
    assert found.settings.learning_rate < limit
    limit = 0
    with pytest.raises(ArithmeticError, match="none of 2 trials was trained to its end"):
        find(tiny, trials=2)


# Journals


def test_a_stopped_search_goes_on(tiny, tmp_path):
    class Stop(Exception):
        pass

    def stop(trial):
        if trial.number == 4:
            raise Stop

    journal = tmp_path / "journal"
    with pytest.raises(Stop):
        find(tiny, journal=journal, report=stop)
    found, seen = find(tiny, journal=journal)
    assert [trial.number for trial in seen] == list(range(5, 14))  # 13 in all, not 13 more
    wanted, every = find(tiny)
    assert found == wanted and seen == every[4:]
    assert find(tiny, journal=journal) == (found, [])
    assert find(tiny, journal=journal, trials=2) == (found, [])


def test_what_was_interrupted_is_not_counted(tiny, tmp_path, monkeypatch):
    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(search, "train", interrupt)
        find(tiny, journal=tmp_path / "journal")
    _, seen = find(tiny, journal=tmp_path / "journal", trials=2)
    assert [trial.number for trial in seen] == [1, 2]
    assert seen[0].settings.learning_rate == settings_of(CELL).learning_rate  # still the first


def test_searches_share_a_journal_without_mixing(tiny, tmp_path):
    journal = tmp_path / "journal"
    find(tiny, journal=journal, trials=3)
    for other in (
        {"cell": replace(CELL, row="NN")},
        {"cell": replace(CELL, seed=5)},
        {"epochs": 2},
        {"epochs": (2, 3)},
        {"sizes": [20, 5, 3]},
    ):
        assert len(find(tiny, journal=journal, trials=1, **other)[1]) == 1
    changed = replace(tiny, train=(tiny.train[0] + np.uint8(1), tiny.train[1]))
    assert len(find(changed, journal=journal, trials=1)[1]) == 1
    assert find(tiny, journal=journal, trials=3)[1] == []


def test_a_teacher_is_trained_once_a_journal(tiny, tmp_path, monkeypatch):
    cell, journal = replace(CELL, row="HashNet_DK"), tmp_path / "journal"
    find(tiny, cell=cell, journal=journal, trials=1)
    trained, fit = [], searching.fit
    monkeypatch.setattr(searching, "fit", lambda *args, **named: trained.append(1) or fit(*args, **named))
    find(tiny, cell=cell, journal=journal, trials=2)
    assert len(trained) == 1
    (folder,) = tmp_path.glob("journal.teachers-*-20-12-3")
    assert list(folder.glob("*.safetensors"))


SCRIPT = """
import sys, time
import numpy as np
from minihash.datasets import Dataset
from benchmarks.paper import search
from benchmarks.paper.grids import Cell

rng = np.random.default_rng(0)
part = rng.integers(0, 256, (150, 20)).astype(np.uint8), rng.integers(0, 3, 150)
dataset = Dataset("tiny", part, part, part, 1 / 255, ("a", "b", "c"))
train, calls = search.train, []

def hang(*arguments, **named):
    calls.append(1)
    if len(calls) == int(sys.argv[2]):
        print("hangs", flush=True)
        time.sleep(1000)
    return train(*arguments, **named)

def report(trial):
    print(*trial.settings.as_dict().values(), flush=True)

search.train = hang
cell = Cell("tiny", 3, "HashNet", "1/8", 0, 4)
for_all = {"trials": 8, "epochs": 1, "sizes": [20, 8, 3], "journal": sys.argv[1]}
found = search.search(cell, dataset, **for_all, report=report)
print(found.trials)
"""


def start(journal, hangs):
    command = [sys.executable, "-W", "error::UserWarning", "-c", SCRIPT, str(journal), str(hangs)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, "MINIHASH_NUM_THREADS": "1"}, **pipes)


@pytest.mark.slow
def test_a_killed_process_loses_one_trial_and_others_share_the_rest(tmp_path: Path):
    """The third trial of 8 is killed, its last line torn; two processes at once do the other six."""
    journal = tmp_path / "journal"
    with start(journal, 3) as killed:
        lines = [killed.stdout.readline() for _ in range(3)]
        killed.kill()
    assert lines[2] == "hangs\n"
    with open(journal, "ab") as file:
        file.write(b'{"op_code":5,"worker_')
    both = [start(journal, -1) for _ in range(2)]
    results = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0] and all(err == "" for _, err in results)
    outs = [out.splitlines() for out, _ in results]
    trials = [*lines[:2], *(line for out in outs for line in out[:-1])]
    assert 8 <= len(trials) <= 9 and len(set(trials)) == len(trials)
    assert {out[-1] for out in outs} <= {"8", "9"}


@pytest.mark.parametrize(
    "content",
    [b"my notes", b"my notes\n", b"\x89PNG\n\n", b'{"op_code":99}\n', b'{"op_code":4}\n{\n{}\n'],
)
def test_other_files_are_no_journals(tiny, tmp_path, content):
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="notes: is damaged, or no journal of a search$"):
        find(tiny, journal=path)
    assert path.read_bytes() == content and [entry.name for entry in tmp_path.iterdir()] == ["notes"]


def test_a_journal_that_cannot_be_written(tiny, tmp_path):
    with pytest.raises(FileNotFoundError):
        find(tiny, journal=tmp_path / "none" / "journal")


def test_without_optuna(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match="^the search needs optuna: pip install optuna$"):
        find(tiny)
