"""Checkpoints: 2n epochs are n, a kill and n more, to the last bit; full disks, two trainings, damage."""

from __future__ import annotations

import copy
import functools
import os
import random
import resource
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pytest

from minihash import fit, losses, mlp, optimizers, schedules
from minihash.callbacks import EarlyStopping, GradientClipping, KeepLastGood, Log, PrintEpochs
from minihash.datasets.store import StoreWriter
from minihash.files import PARTS
from minihash.terminal import TERMINATIONS
from minihash.training import Callback, Interrupted
from minihash.training import checkpoint as checkpoints
from minihash.training import loop, plan
from minihash.training.interrupts import Signals
from minihash.training.ranks import Ranks

ROWS, EPOCHS = 203, 6
KILLS = int(os.environ.get("MINIHASH_KILLS", "8"))

#: A whole training; it is run in this process and in others. Small layers are fused, dropout's are not.
TRAINING = '''
import sys
import warnings
from pathlib import Path
import numpy as np
from minihash import datasets, fit, mlp, optimizers, save, schedules
from minihash.callbacks import EarlyStopping
from minihash.training import checkpoint as checkpoints

def train(folder, kind, data, out, resume=True, callbacks=(), epochs={epochs}):
    checkpoints.SECONDS = 0.0  # a state after every step
    dropout = 0.25 if kind == "dropout" else 0.0
    network = mlp([7, 30, 3], compression=1 / 4, dropout=dropout, seed=5)
    rows = data if kind == "store" else tuple(np.load(data).values())
    optimizer = optimizers.SGD(0.05, momentum=0.9) if kind == "store" else optimizers.Adam(0.01)
    history = fit(
        network, rows, rows, optimizer=optimizer, schedule=schedules.one_cycle(0.02), epochs=epochs,
        batch_size=16, seed=3, callbacks=(EarlyStopping(50), *callbacks), checkpoint=folder, resume=resume,
        progress=False,
    )
    save(network, out)
    return history
'''.format(epochs=EPOCHS)
scope: dict = {}
exec(TRAINING, scope)
train = scope["train"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with rows in an npz file and in a store."""
    folder = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(ROWS, 7)).astype(np.float32), rng.integers(0, 3, ROWS)
    np.savez(folder / "rows.npz", inputs, labels)
    with open(folder / "rows.mh", "wb") as file:
        writer = StoreWriter(file, 7)
        writer.append(np.column_stack([labels, inputs]))
        writer.finish()
    return folder


@pytest.fixture(autouse=True)
def seconds(monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS", checkpoints.SECONDS)  # which `train` changes


KINDS = ("plain", "dropout", "store")


def data_of(folder: Path, kind: str) -> str:
    return str(folder / ("rows.mh" if kind == "store" else "rows.npz"))


class StopAfter(Callback):
    """Stops a training as a power cut would: in the middle of a step."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_gradients(self, network) -> None:
        self.steps -= 1
        if self.steps == 0:
            raise ConnectionError("cut")


class Nothing(StopAfter):
    def __init__(self) -> None:
        super().__init__(10**9)


StopAfter.__name__ = Nothing.__name__ = "Power"  # settings of a training name its callbacks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 13, 14, 30, 77])
def test_a_resumed_training_ends_in_the_same_bits(folder, tmp_path, kind, steps) -> None:
    data = data_of(folder, kind)
    whole = train(tmp_path / "a", kind, data, tmp_path / "whole", callbacks=[Nothing()])
    with pytest.raises(ConnectionError):
        train(tmp_path / "b", kind, data, tmp_path / "cut", callbacks=[StopAfter(steps)])
    parts = train(tmp_path / "b", kind, data, tmp_path / "parts", callbacks=[Nothing()])
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()
    for record in (*whole.records, *parts.records):
        record.pop("seconds")
    assert whole.records == parts.records
    # Nothing is left to do.
    again = train(tmp_path / "b", kind, data, tmp_path / "again", callbacks=[Nothing()])
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "again").read_bytes() and len(again) == EPOCHS


def test_a_cut_between_the_last_step_and_the_end_of_its_epoch(folder, tmp_path) -> None:
    class Cut(Nothing):
        def on_epoch_end(self, network, history) -> bool:
            raise ConnectionError("cut")

    Cut.__name__ = "Power"
    data = data_of(folder, "plain")
    with pytest.raises(ConnectionError):
        train(tmp_path / "b", "plain", data, tmp_path / "cut", callbacks=[Cut()], epochs=2)
    train(tmp_path / "b", "plain", data, tmp_path / "parts", callbacks=[Nothing()], epochs=2)
    train(tmp_path / "a", "plain", data, tmp_path / "whole", callbacks=[Nothing()], epochs=2)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_processes_end_in_the_same_bits(folder, tmp_path, kind) -> None:
    """SIGKILL at random moments, again and again; MINIHASH_KILLS=100 for the figure in docs/training.md."""
    train(tmp_path / "other", kind, data_of(folder, kind), tmp_path / "whole")
    # Slow enough to be killed in the middle of everything, also of the writing of a state.
    slow = "import os, time; w = os.fsync; os.fsync = lambda n: (time.sleep(0.004), w(n))"
    draw, kills, trainings = random.Random(kind), 0, 0
    while kills < KILLS or trainings == 0:
        state = tmp_path / f"state{trainings}"
        arguments = [str(state), kind, data_of(folder, kind), str(tmp_path / "parts")]
        code = f"{slow}\n{TRAINING}\nprint(flush=True)\ntrain(*{arguments!r})"
        process = subprocess.Popen([sys.executable, "-c", code], stdout=PIPE, stderr=PIPE)
        assert process.stdout is not None
        process.stdout.readline()  # everything is imported
        try:
            _, err = process.communicate(timeout=draw.uniform(0.02, 1.0) if kills < KILLS else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, err.decode()
        assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()
        left = sorted(path.name for path in state.iterdir())
        assert left == [checkpoints.NAME, "lock"]  # and nothing half written
        trainings += 1
    print(f"{kind}: killed {kills} times, {trainings} trainings ended in the same bits")


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", [signal.SIGINT, *TERMINATIONS])
def test_a_signal_ends_the_step_and_saves(folder, tmp_path, number) -> None:
    class Signal(Nothing):
        def on_gradients(self, network) -> None:
            self.steps += 1
            if self.steps == 10**9 + 20:
                os.kill(os.getpid(), number)

    Signal.__name__ = "Power"
    data = data_of(folder, "plain")
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    message = r"^stopped in epoch 2, step 7 of 13; .*state has the state to resume$"
    with pytest.raises(Interrupted, match=message) as stop:
        train(tmp_path / "state", "plain", data, tmp_path / "cut", callbacks=[Signal()])
    assert stop.value.signal == number
    assert handlers == [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    train(tmp_path / "state", "plain", data, tmp_path / "parts", callbacks=[Nothing()])
    train(tmp_path / "other", "plain", data, tmp_path / "whole", callbacks=[Nothing()])
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [2, 14, 20])
def test_more_epochs_end_in_the_same_bits_however_often_cut(folder, tmp_path, kind, steps) -> None:
    data = data_of(folder, kind)
    for name in "ab":
        train(tmp_path / name, kind, data, tmp_path / "first", callbacks=[Nothing()], epochs=2)
    whole = train(tmp_path / "a", kind, data, tmp_path / "whole", callbacks=[Nothing()], epochs=4)
    with pytest.raises(ConnectionError):
        train(tmp_path / "b", kind, data, tmp_path / "cut", callbacks=[StopAfter(steps)], epochs=4)
    with pytest.raises(ValueError, match="epochs 4, . of them done, wanted all done before there are 5$"):
        train(tmp_path / "b", kind, data, tmp_path / "cut", callbacks=[Nothing()], epochs=5)
    with pytest.raises(ValueError, match="has a training with epochs 4, wanted 2: resume it"):
        train(tmp_path / "b", kind, data, tmp_path / "cut", callbacks=[Nothing()], epochs=2)
    parts = train(tmp_path / "b", kind, data, tmp_path / "parts", callbacks=[Nothing()], epochs=4)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()
    assert [record["loss"] for record in whole] == [record["loss"] for record in parts]
    again = train(tmp_path / "b", kind, data, tmp_path / "again", callbacks=[Nothing()], epochs=4)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "again").read_bytes() and len(again) == 4
    third = train(tmp_path / "b", kind, data, tmp_path / "third", callbacks=[Nothing()], epochs=5)
    assert len(third) == 5


def test_added_epochs_are_a_warm_restart(tmp_path) -> None:
    """The schedule begins anew; order, dropout and the optimizer's memory go on, as if nothing had ended."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 4)).astype(np.float32), rng.integers(0, 3, 60)
    asked: list[float] = []

    def run(folder, schedule, epochs):
        network = mlp([4, 10, 3], seed=1, dropout=0.2)
        options: dict = {"batch_size": 20, "optimizer": optimizers.Adam(), "schedule": schedule}
        history = fit(network, data, epochs=epochs, checkpoint=folder, resume=True, **options)
        return network, history

    def noted(fraction: float) -> float:
        asked.append(fraction)
        return 0.01 * (1 - fraction)

    run(tmp_path / "a", noted, 2)
    asked.clear()
    network, history = run(tmp_path / "a", noted, 5)
    np.testing.assert_allclose(asked[-9:], np.arange(9) / 9)
    # One training of five epochs whose schedule says the same of every step.
    steps = iter([*(0.01 * (1 - k / 6) for k in range(6)), *(0.01 * (1 - k / 9) for k in range(9))])
    other = mlp([4, 10, 3], seed=1, dropout=0.2)
    options: dict = {"batch_size": 20, "optimizer": optimizers.Adam()}
    expected = fit(other, data, epochs=5, schedule=lambda _: next(steps), **options)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-6)
    for name, array in other.params.items():
        np.testing.assert_allclose(network.params[name], array, rtol=1e-5)


def test_what_early_stopping_ended_has_no_more_epochs(folder, tmp_path) -> None:
    class Enough(Nothing):
        def on_epoch_end(self, network, history) -> bool:
            return True

    Enough.__name__ = "Power"
    data = data_of(folder, "plain")
    train(tmp_path / "state", "plain", data, tmp_path / "x", callbacks=[Enough()], epochs=3)
    with pytest.raises(ValueError, match="epochs 3 that a callback ended after 1, wanted one at its end"):
        train(tmp_path / "state", "plain", data, tmp_path / "x", callbacks=[Enough()], epochs=4)


def test_early_stopping_goes_on_too(tmp_path) -> None:
    """What stopped early stays stopped, with the best weights."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 4)).astype(np.float32), rng.integers(0, 3, 60)

    def run(folder, callbacks=()):
        network = mlp([4, 10, 3], seed=1)
        stopping = EarlyStopping(3, "validation_loss")
        options: dict = {"epochs": 40, "batch_size": 20, "optimizer": optimizers.Adam(0.05)}
        options |= {"callbacks": [stopping, *callbacks], "checkpoint": folder, "resume": True}
        history = fit(network, data, (data[0], data[1][::-1]), **options)
        return network, stopping, history

    whole, first, history = run(tmp_path / "a", [Nothing()])
    assert len(history) < 40
    with pytest.raises(ConnectionError):
        run(tmp_path / "b", [StopAfter(3 * (first.best_epoch + 1) + 2)])
    parts, second, _ = run(tmp_path / "b", [Nothing()])
    again, third, _ = run(tmp_path / "b", [Nothing()])
    best = [(one.best, one.best_epoch) for one in (first, second, third)]
    assert best[0] == best[1] == best[2]
    for name, array in whole.params.items():
        assert (parts.params[name] == array).all() and (again.params[name] == array).all()


# ---------------------------------------------------------------------------------------- failures


def test_a_full_disk_leaves_the_last_state(folder, tmp_path) -> None:
    data = data_of(folder, "plain")
    with pytest.raises(ConnectionError):
        train(tmp_path / "state", "plain", data, tmp_path / "cut", callbacks=[StopAfter(9)])
    before = (tmp_path / "state" / checkpoints.NAME).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.warns(UserWarning, match="File too large"), pytest.raises(ConnectionError):
            train(tmp_path / "state", "plain", data, tmp_path / "cut", callbacks=[StopAfter(30)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == [checkpoints.NAME, "lock"]
    assert (tmp_path / "state" / checkpoints.NAME).read_bytes() == before
    train(tmp_path / "state", "plain", data, tmp_path / "parts", callbacks=[Nothing()])
    train(tmp_path / "other", "plain", data, tmp_path / "whole", callbacks=[Nothing()])
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()


def test_two_trainings_in_one_folder(folder, tmp_path) -> None:
    class Second(Callback):
        def on_epoch_end(self, network, history) -> bool:
            with pytest.raises(OSError, match="is held by another training"):
                train(tmp_path, "plain", data_of(folder, "plain"), tmp_path / "x")
            return False

    train(tmp_path, "plain", data_of(folder, "plain"), tmp_path / "x", callbacks=[Second()], epochs=1)


def test_a_folder_that_cannot_be_written(folder, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        train(tmp_path / "file", "plain", data_of(folder, "plain"), tmp_path / "x")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="cannot write into the folder"):
        train(tmp_path / "state", "plain", data_of(folder, "plain"), tmp_path / "x")


def test_what_does_not_fit_is_refused(folder, tmp_path) -> None:
    state, data = tmp_path / "state", data_of(folder, "plain")
    train(state, "plain", data, tmp_path / "x", epochs=1)
    with pytest.raises(ValueError, match="^checkpoint is .*, which has a training, wanted it resumed, or"):
        train(state, "plain", data, tmp_path / "x", resume=False, epochs=1)
    train(tmp_path / "longer", "plain", data, tmp_path / "x", epochs=2)
    same = "resume it with the same settings$"
    with pytest.raises(ValueError, match=f"has a training with epochs 2, wanted 1: {same}"):
        train(tmp_path / "longer", "plain", data, tmp_path / "x", epochs=1)
    train(tmp_path / "other", "dropout", data, tmp_path / "x", epochs=1)
    with pytest.raises(ValueError, match="has a training with network .*Dropout"):
        train(tmp_path / "other", "plain", data, tmp_path / "x", epochs=1)
    with pytest.raises(ValueError, match="^resume is True and checkpoint is None, wanted the folder to"):
        train(None, "plain", data, tmp_path / "x")


def test_damage_is_noticed(folder, tmp_path) -> None:
    data = data_of(folder, "plain")
    train(tmp_path, "plain", data, tmp_path / "x", epochs=1)
    path = tmp_path / checkpoints.NAME
    content = path.read_bytes()
    draw = random.Random(0)
    damages = [content[: draw.randrange(len(content))] for _ in range(20)] + [b"", b"nothing", content + b"x"]
    for _ in range(200):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        damages.append(bytes(flipped))
    for damaged in damages:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="checkpoint.safetensors: is damaged, or no checkpoint"):
            train(tmp_path, "plain", data, tmp_path / "x", epochs=1)


def scaled(outputs, targets, sample_weight=None, *, factor):
    value, grad_outputs = losses.softmax_cross_entropy(outputs, targets, sample_weight)
    return factor * value, factor * grad_outputs


def test_other_settings_are_named(folder, tmp_path) -> None:
    rows = tuple(np.load(folder / "rows.npz").values())

    def run(rows=rows, **options) -> None:
        options = {"batch_size": 16, "epochs": 1, "optimizer": optimizers.SGD(0.1)} | options
        fit(mlp([7, 3]), rows, checkpoint=tmp_path, resume=True, progress=False, **options)

    run()
    run(callbacks=[PrintEpochs(say=lambda line: None)])  # which only looks
    for name, options in {
        "optimizer": {"optimizer": optimizers.SGD(0.1, momentum=0.5)},
        "learning rates": {"optimizer": optimizers.SGD(0.2)},
        "class_weight": {"class_weight": "balanced"},
        "training rows": {"rows": (rows[0] * 5, rows[1])},
        "validation rows": {"validation": rows},
        "callbacks": {"callbacks": [GradientClipping(1.0)]},
        "loss": {"loss": functools.partial(scaled, factor=2.0)},
    }.items():
        with pytest.raises(ValueError, match=f"has a training with {name} .*: resume it with the same"):
            run(**options)


def test_another_scaling_is_named_in_a_short_line(tmp_path) -> None:
    data = np.ones((8, 2)), np.zeros(8, int)
    options = {"epochs": 1, "checkpoint": tmp_path, "resume": True, "progress": False}
    fit(mlp([2, 3, 2], input_shift=1.0), data, **options)
    with pytest.raises(ValueError, match=r"has a training with scaling \d+, wanted \d+: resume it") as found:
        fit(mlp([2, 3, 2], input_shift=1.0 + 2**-52), data, **options)
    assert "Linear" not in str(found.value)


@pytest.mark.parametrize("shift, resumed", [(1.0, True), (2.0, False)])
def test_a_checkpoint_with_the_scaling_beside_the_network_is_resumed(tmp_path, shift, resumed) -> None:
    """So they were until 0.2: `"network": [repr, checksum of the scaling]`."""
    data = np.ones((8, 2)), np.zeros(8, int)
    options = {"epochs": 1, "checkpoint": tmp_path, "resume": True, "progress": False}
    fit(mlp([2, 3, 2], input_shift=1.0), data, **options)
    with checkpoints.Checkpoint(tmp_path) as saved:
        state = saved.read()
        state.settings["network"] = [state.settings["network"], state.settings.pop("scaling")]
        saved.write(state)
    if resumed:
        assert len(fit(mlp([2, 3, 2], input_shift=shift), data, **options)) == 1
    else:
        with pytest.raises(ValueError, match="has a training with scaling"):
            fit(mlp([2, 3, 2], input_shift=shift), data, **options)


def test_a_state_that_does_not_fit_is_not_taken_up(tmp_path, monkeypatch) -> None:
    """Whatever a file says, even with the right checksum: all is looked at before anything is taken up."""
    data = np.ones((8, 2)), np.zeros(8, int)
    optimizer = optimizers.Adam()

    def run(epochs=2) -> None:
        options = {"optimizer": optimizer, "epochs": epochs, "callbacks": [EarlyStopping(5, "loss")]}
        fit(network, data, checkpoint=tmp_path, resume=True, progress=False, **options)

    network = mlp([2, 4, 2], dropout=0.5)
    run()
    with checkpoints.Checkpoint(tmp_path) as saved:
        whole = saved.read()
    assert whole is not None

    def spoiled(where: str, name: str, value) -> checkpoints.State:
        state = copy.deepcopy(whole)
        if value is None:
            del getattr(state, where)[name]
        else:
            getattr(state, where)[name] = value
        return state

    changes = [("progress", name, None) for name in whole.progress]
    one, three = np.ones(1, np.float32), np.ones(3, np.float32)
    changes += [("params", "0.weight", None), ("params", "0.weight", one), ("params", "9.weight", three)]
    changes += [("progress", "mean", [1]), ("progress", "step", "x"), ("progress", "history", [1])]
    changes += [("slots", "0.weight", None), ("slots", "0.weight", {}), ("progress", "order", 5)]
    changes += [("progress", "dropout_rows", rows) for rows in ([], [0, 0], [-1], [2**32])]
    changes += [("progress", "step", 5), ("progress", "step", -1), ("progress", "optimizer_steps", -1)]
    changes += [("progress", "history", [record]) for record in ({"epoch": 1}, {"epoch": 0, "loss": 1.0})]
    changes += [("progress", "mean", [1, 2, 3]), ("progress", "stopped", 0), ("progress", "seconds", "x")]
    changes += [("slots", "0.weight", {**whole.slots["0.weight"], "third": three})]
    wrong = ("x", [2], [2, 2], [3, 5], [0, 2, 4], -1)
    changes += [("settings", "epochs", epochs) for epochs in (None, *wrong)]
    changes += [("progress", "epoch", 4)]
    weights = {name: array for name, array in whole.callbacks[0].items() if name != "best_epoch"}
    strange = {**whole.callbacks[0], "weights/0.weight": one}
    large = {**whole.callbacks[0], "weights/0.weight": np.ones((9, 9), np.float32)}
    for kept in (None, {}, weights, {**weights, "best_epoch": [1]}, strange, large):
        changes.append(("callbacks", 0, kept))
    for where, name, value in changes:
        with checkpoints.Checkpoint(tmp_path) as saved:
            saved.write(spoiled(where, name, value))
        network, optimizer = mlp([2, 4, 2], dropout=0.5), optimizers.Adam()
        before = {name: array.copy() for name, array in network.params.items()}
        with pytest.raises(ValueError, match="is damaged, or no checkpoint"):
            run()
        assert not optimizer.state
        assert all((network.params[name] == array).all() for name, array in before.items())


def test_a_state_at_the_limits_is_taken_up(tmp_path) -> None:
    """Losses of one's own may be negative, and before the first step no optimizer has slots."""
    data = np.ones((8, 2)), np.zeros(8, int)
    options = {"epochs": 2, "checkpoint": tmp_path, "resume": True}
    fit(mlp([2, 3, 2], dropout=0.5), data, **options)
    with checkpoints.Checkpoint(tmp_path) as saved:
        state = saved.read()
        state.slots.clear()
        state.progress |= {"epoch": 2, "step": 0, "mean": [-1.0, 2.0], "seconds": 1000.0}
        state.progress["dropout_rows"] = [0 for _ in state.progress["dropout_rows"]]
        state.progress["history"] = [state.progress["history"][0] | {"loss": -0.5}]
        saved.write(state)
        state.params["0.weight"] = np.ones(1, np.float32)
    history = fit(mlp([2, 3, 2], dropout=0.5), data, **options)
    assert history["loss"][0] == -0.5 and 1000 < history["seconds"][1] < 1060
    with checkpoints.Checkpoint(tmp_path) as saved:
        saved.write(state)
    with pytest.raises(ValueError, match="its arrays are not those of the network"):
        fit(mlp([2, 3, 2], dropout=0.5), data, **options)


@pytest.mark.parametrize("resume", [False, True])
def test_the_shards_of_before_are_asked_for_only_to_go_on(tmp_path, monkeypatch, resume) -> None:
    def ask(given, ranks, mode, shards, folder):
        assert folder == (tmp_path if resume else None)
        return gradients_of(given, ranks, mode, shards, folder)

    gradients_of = loop.gradients_of
    monkeypatch.setattr(loop, "gradients_of", ask)
    data = np.ones((8, 2)), np.zeros(8, int)
    assert len(fit(mlp([2, 2]), data, epochs=1, checkpoint=tmp_path, resume=resume)) == 1


@pytest.mark.parametrize("version", [0, 2])
def test_another_format_is_refused(tmp_path, monkeypatch, version) -> None:
    state = checkpoints.State({}, {}, {"0.weight": np.ones(2)}, {}, [])
    with checkpoints.Checkpoint(tmp_path / "a" / "b") as saved:
        saved.write(state)
        assert b'{\\"format\\": 1, ' in saved.path.read_bytes()
        monkeypatch.setattr(checkpoints, "FORMAT", version)
        saved.write(state)
        monkeypatch.undo()
        with pytest.raises(ValueError, match=f"format {version}, wanted 1"):
            saved.read()


def test_other_ranks_than_the_first_write_and_show_nothing(tmp_path, monkeypatch, capsys) -> None:
    class Second(Ranks):
        rank = 1

    class Observer(Nothing):
        observer = True

    monkeypatch.setattr(loop, "ranks_of", lambda mode: Second())
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    observer, other = Observer(), Nothing()
    options = {"epochs": 2, "checkpoint": tmp_path, "callbacks": [observer, other], "progress": True}
    fit(mlp([2, 2]), (np.ones((8, 2)), np.zeros(8, int)), batch_size=4, distributed=True, **options)
    assert (10**9 - observer.steps, 10**9 - other.steps) == (0, 4)
    assert capsys.readouterr().err == "" and not (tmp_path / checkpoints.NAME).exists()


KINDS_OF_NUMBERS = ["?", *(f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8"]


class Counting(Callback):
    """Keeps something of every kind."""

    def __init__(self, more=()) -> None:
        self.kept = {"seen": np.arange(3), "mask": np.ones((), bool), "last": np.float32(0.5), "names": ["a"]}
        self.kept |= {kind: np.ones(2, kind) for kind in KINDS_OF_NUMBERS} | dict(more)

    def state(self):
        return self.kept

    def restore(self, state) -> None:
        self.restored = state


def test_callbacks_keep_arrays_and_numbers_of_any_kind(tmp_path) -> None:
    data = np.ones((8, 2)), np.zeros(8, int)

    def run(callback: Counting, folder: str = "a") -> Counting:
        options = {"epochs": 1, "callbacks": [callback], "progress": False}
        fit(mlp([2, 2]), data, checkpoint=tmp_path / folder, resume=True, **options)
        return callback

    run(Counting())
    restored = run(Counting()).restored
    assert restored["names"] == ["a"] and restored["last"] == 0.5
    assert all(restored[kind].dtype == kind for kind in KINDS_OF_NUMBERS)
    assert restored["seen"].tolist() == [0, 1, 2] and restored["mask"].shape == () and restored["mask"]
    for what, value in {"a set": {1}, "complex": np.ones(2, complex), "text": np.array("a")}.items():
        with pytest.raises(ValueError, match="^state of a callback: .*, wanted"):
            run(Counting({what: value}), what)


@pytest.mark.slow
def test_a_loss_with_settings_is_the_same_in_another_process(tmp_path) -> None:
    loss = functools.partial(losses.distillation, temperature=2.0, weight=0.5)
    targets = losses.distillation_targets(np.zeros(8, int), np.ones((8, 2)))
    fit(mlp([2, 2]), (np.ones((8, 2)), targets), loss=loss, epochs=1, checkpoint=tmp_path, progress=False)
    with checkpoints.Checkpoint(tmp_path) as saved:
        assert saved.read().settings["loss"] == ["distillation", "temperature=2.0", "weight=0.5"]


def test_weights_of_rows_are_settings_too(tmp_path) -> None:
    def run(weight) -> None:
        rows = np.ones((8, 2)), np.zeros(8, int), weight
        fit(mlp([2, 2]), rows, epochs=1, checkpoint=tmp_path, resume=True, progress=False)

    run(np.ones(8))
    run(np.ones(8))
    with pytest.raises(ValueError, match="has a training with training rows"):
        run(np.arange(8))


def test_a_refused_folder_is_not_held(folder, tmp_path, monkeypatch) -> None:
    def refuse(path) -> None:
        raise PermissionError("no")

    saved = checkpoints.Checkpoint(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "check_writable", refuse)
        with pytest.raises(PermissionError) as refused:
            saved.__enter__()
    with checkpoints.Checkpoint(tmp_path):
        assert refused  # whose traceback is alive


def test_what_a_killed_process_left_is_deleted(tmp_path) -> None:
    left, other = tmp_path / PARTS.replace("*", "0"), tmp_path / "other.part"
    for path in (left, other):
        path.touch()
    with checkpoints.Checkpoint(tmp_path):
        assert other.exists() and not left.exists()


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as for a job in the background of a script
    try:
        with Signals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.caught == 0
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.caught == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_state_is_written_about_once_a_minute(folder, tmp_path, monkeypatch) -> None:
    written: list[float] = []
    seconds = checkpoints.SECONDS

    def write(self, state) -> None:
        written.append(state.progress["step"])

    monkeypatch.setattr(checkpoints.Checkpoint, "write", write)
    rows = tuple(np.load(folder / "rows.npz").values())
    fit(mlp([7, 3]), rows, epochs=2, batch_size=16, checkpoint=tmp_path / "a")
    assert written == [0, 0]  # at the ends of epochs: a minute has not passed
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    fit(mlp([7, 3]), rows, epochs=1, batch_size=16, checkpoint=tmp_path / "b")
    assert written[2:] == [*range(1, 14), 0]
    saved = checkpoints.Checkpoint(tmp_path / "c")
    saved._written = 1.0
    monkeypatch.setattr(checkpoints, "SECONDS", seconds)
    for passed, due in ((60, False), (60.5, True)):
        monkeypatch.setattr(time, "monotonic", lambda passed=passed: saved._written + passed)
        assert saved.is_due() == due


# -------------------------------------------------------------------- divergence and the last weights


def test_the_last_good_weights_are_kept(tmp_path) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(64, 4)), rng.normal(size=(64, 1))
    network, keep = mlp([4, 8, 1], seed=1), KeepLastGood()
    wild = schedules.constant(0.01)
    options: dict = {"loss": "mean_squared_error", "optimizer": optimizers.SGD(), "batch_size": 16}
    growing = {"schedule": lambda t: 1e12 if t > 0.5 else wild(t), "epochs": 10, "callbacks": [keep]}
    history = fit(network, data, **options, **growing)
    assert keep.divergence is not None and 1 < len(history) < 10
    assert all(np.isfinite(array).all() for array in network.params.values())
    other = mlp([4, 8, 1], seed=1)
    options["optimizer"] = optimizers.SGD()
    expected = fit(other, data, **options, schedule=wild, epochs=len(history))
    assert history["loss"] == expected["loss"]
    for name, array in other.params.items():
        assert (network.params[name] == array).all()


def test_a_full_disk_ends_no_training(folder, tmp_path, monkeypatch) -> None:
    """The state before it stays. Only at a signal, where nothing comes after it, is it an error."""
    rows = tuple(np.load(folder / "rows.npz").values())
    log = Log(tmp_path / "log.csv")
    original = os.fsync
    full = [False]

    def fsync(number: int) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        original(number)

    class Fill(Callback):
        observer = True

        def on_epoch_end(self, network, history) -> bool:
            full[0] = len(history) in (2, 3)
            return False

    monkeypatch.setattr(os, "fsync", fsync)
    network = mlp([7, 3], seed=1)
    with pytest.warns(UserWarning, match="No space left on device; the .*training goes on") as warned:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            history = fit(network, rows, epochs=4, checkpoint=tmp_path / "a", callbacks=[Fill(), log])
    assert len(history) == 4 and len(warned) == 4 and str(tmp_path / "log.csv") in str(warned[0].message)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 5
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"lock", checkpoints.NAME}
    again = mlp([7, 3], seed=1)
    assert len(fit(again, rows, epochs=4, checkpoint=tmp_path / "a", resume=True)) == 4
    assert (again.params["0.weight"] == network.params["0.weight"]).all()


def test_settings_do_not_depend_on_how_numpy_prints() -> None:
    """A loss with numbers of NumPy's is the same loss where print options are others."""
    loss = functools.partial(losses.distillation, temperature=np.float64(10 / 3))
    with np.printoptions(legacy="1.13"):
        found = plan.arguments_of(loss)
    assert found == plan.arguments_of(loss) == ["temperature=3.3333333333333335"]
