"""Training on several ranks: the same bits in exact mode, no row lost, accidents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mpi_worker
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash import fit, load, machine, mlp
from minihash.training import mpi
from minihash.training.shards import Shards, nodes, tree_sum

pytestmark = pytest.mark.slow  # processes of MPI

MPI = Path(sys.executable).with_name("mpiexec")
WORKER = Path(mpi_worker.__file__)


def run(ranks: int, *arguments: object, code: int = 0) -> subprocess.CompletedProcess:
    """Run `python ARGUMENTS` on so many ranks."""
    pytest.importorskip("mpi4py")
    if not MPI.exists():
        pytest.skip("there is no mpiexec beside python: pip install mpich")
    words = [str(MPI), "-n", str(ranks), sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(WORKER.parent.parent), *sys.path])}
    found = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300)
    assert found.returncode == code, found.stderr + found.stdout
    return found


def work(ranks: int, what: str, target: Path, *others: object) -> Any:
    """Let so many ranks do what mpi_worker.py says; return what the first has written."""
    run(ranks, WORKER, what, target, *others)
    return json.loads(target.read_text())


@given(st.integers(1, 40), st.integers(1, 300), st.integers(0, 200))
def test_every_row_is_in_one_shard_and_one_batch(count: int, rows: int, more: int) -> None:
    batch_size = count + more
    shards, steps = Shards(count, rows, batch_size), -(-rows // batch_size)
    assert sum(shards.sizes) == batch_size and (shards.starts[0], shards.starts[-1]) == (0, rows)
    batches = [sum(shards.rows_of(shard, step) for shard in range(count)) for step in range(steps)]
    assert batches[:-1] == [batch_size] * (steps - 1) and sum(batches) == rows


def test_every_row_of_an_example() -> None:
    shards = Shards(4, 203, 50)
    assert (shards.sizes, shards.starts) == ([12, 13, 12, 13], [0, 48, 101, 150, 203])


@given(st.integers(1, 40), st.integers(1, 40))
def test_every_shard_is_of_one_rank(count: int, size: int) -> None:
    shards = Shards(count, 100, 100)
    ranges = [shards.of_rank(rank, size) for rank in range(size)]
    assert [shard for start, stop in ranges for shard in range(start, stop)] == list(range(count))


@given(st.integers(1, 20), st.data())
def test_the_sum_is_the_same_whoever_adds_its_nodes(count: int, drawn: st.DataObject) -> None:
    size = drawn.draw(st.integers(1, count))
    values = np.random.default_rng(count).normal(size=(count, 5)).astype(np.float32)
    shards, whole = Shards(count, count, count), (0, count)

    def leaf(node: tuple[int, int]) -> np.ndarray | None:
        return values[node[0]] if node[1] - node[0] == 1 else None

    table = {}
    for rank in range(size):
        own = nodes(shards.of_rank(rank, size), whole)
        assert len(own) <= 2 * count.bit_length()
        assert [shard for node in own for shard in range(*node)] == list(range(*shards.of_rank(rank, size)))
        table |= {node: tree_sum(node, leaf) for node in own}
    assert (tree_sum(whole, table.get) == tree_sum(whole, leaf)).all()
    np.testing.assert_allclose(tree_sum(whole, leaf), values.sum(axis=0), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows of two classes in a store of small blocks."""
    from minihash.datasets.store import StoreWriter

    folder = tmp_path_factory.mktemp("ranks")
    inputs, labels, _ = mpi_worker.data()
    with open(folder / "rows.mh", "wb") as file:
        writer = StoreWriter(file, inputs.shape[1])
        writer.append(np.column_stack([labels > 0, inputs]).astype(np.float32))
        writer.finish()
    return folder


@pytest.fixture(scope="module")
def of_one(store: Path) -> Any:
    """What one rank gets in exact mode."""
    return work(1, "train", store / "one.json", "exact")


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_exact_mode_gives_the_same_bits_on_any_number_of_ranks(ranks: int, store: Path, of_one: Any) -> None:
    assert work(ranks, "train", store / f"{ranks}.json", "exact") == of_one


def test_fast_mode_gives_nearly_the_same(store: Path, of_one: Any) -> None:
    found = work(2, "train", store / "fast.json", "fast")
    for name in mpi_worker.NETWORKS:
        np.testing.assert_allclose(found[name][1], of_one[name][1], rtol=1e-4)
        np.testing.assert_allclose(found[name][2], of_one[name][2], rtol=1e-4)


def test_one_process_alone_gives_nearly_the_same_as_fast_mode_on_one_rank(store: Path) -> None:
    """Rows are cut into as many stripes, so it is held to what one shard gives."""
    inputs, labels, weights = mpi_worker.data()
    pytest.importorskip("mpi4py")
    losses = []
    for options in ({}, {"distributed": "fast", "shards": 1}, {"distributed": "exact", "shards": 1}):
        network = mlp([mpi_worker.FEATURES, 30, 3], compression=1 / 8)
        data = inputs, labels, weights
        history = fit(network, data, data, epochs=3, batch_size=len(inputs), **options)
        losses.append([history["loss"], history["validation_loss"]])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-5)


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_uneven_numbers_lose_no_row(mode: str, tmp_path: Path) -> None:
    epochs = work(3, "rows", tmp_path / "found.json", mode)
    for rows in epochs:
        assert sorted(rows) == list(range(mpi_worker.ROWS))
    assert epochs[0] != epochs[1]


def test_traffic_is_that_of_the_stored_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two ranks each gets half of the other's sum, and half of the result: a float a parameter."""
    found = work(2, "traffic", tmp_path / "found.json")
    for parameters, received in found.values():
        assert abs(received - 4 * (parameters + 2)) <= 4  # two numbers more, and an odd one
    dense = found.pop("dense")[1]
    for compression, (_, received) in found.items():
        with capsys.disabled():
            print(f"\nbytes a step, as MPI counts them: {received:,} at {compression}, {dense:,} dense")
        assert received / dense == pytest.approx(eval(compression), rel=0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a training without an accident gives."""
    return work(1, "accident", tmp_path_factory.mktemp("whole") / "found.json", -1, 10**6, "SIGKILL")


@pytest.mark.parametrize(("rank", "step", "before", "after"), [(1, 27, 2, 2), (0, 35, 2, 4), (2, 14, 4, 1)])
def test_a_killed_rank_resumed_on_others(
    rank: int, step: int, before: int, after: int, whole: Any, tmp_path: Path
) -> None:
    target = tmp_path / "found.json"
    died = run(before, WORKER, "accident", target, rank, step, "SIGKILL", code=9)
    assert "signal 9" in (died.stdout + died.stderr).lower() and "Traceback" not in died.stderr
    assert (tmp_path / "state" / "checkpoint.safetensors").exists() and not target.exists()
    assert work(after, "accident", target, -1, 10**6, "SIGKILL") == whole


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_stops_all_with_their_state(rank: int, whole: Any, tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    stopped = run(2, WORKER, "accident", target, rank, 27, "SIGTERM", code=1)
    assert "stopped in epoch 3, step 6 of 11" in stopped.stderr  # the flag comes with the next step
    assert work(2, "accident", target, -1, 10**6, "SIGTERM") == whole


def test_an_error_of_one_rank_stops_all(whole: Any, tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    stopped = run(2, WORKER, "accident", target, 1, 27, "error", code=1)
    message = "minihash: error: rank 1 of 2: the disk of this machine is gone: all ranks are stopped\n"
    assert stopped.stderr.count(message) == 1 and "Traceback" not in stopped.stderr
    assert work(1, "accident", target, -1, 10**6, "error") == whole


def test_fast_mode_goes_on_on_others_too(tmp_path: Path) -> None:
    whole = work(2, "accident", tmp_path / "whole.json", -1, 10**6, "SIGTERM", "fast")
    (tmp_path / "state" / "checkpoint.safetensors").unlink()
    target = tmp_path / "found.json"
    run(4, WORKER, "accident", target, 3, 30, "SIGTERM", "fast", code=1)
    found = work(2, "accident", target, -1, 10**6, "SIGTERM", "fast")
    np.testing.assert_allclose(found["loss"], whole["loss"], rtol=1e-4)


def test_weights_of_any_size(tmp_path: Path) -> None:
    """Only their ratios count, to the bit where they differ by a power of two."""
    found = work(2, "weights", tmp_path / "found.json")
    assert found[0] == found[1] == found[2]


def test_all_ranks_begin_stop_and_share_the_cores_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first's weights; a callback of one stops all; observers are asked on the first."""
    monkeypatch.delenv("MINIHASH_NUM_THREADS", raising=False)
    first, second = work(2, "agreed", tmp_path / "found.json")
    share = max(1, len(machine.cores()) // 2)
    assert first[1:] == [2, 2, share] and second[1:] == [0, 2, share]
    assert first[0] == second[0]


def test_ctrl_c_without_a_checkpoint_stops_all(tmp_path: Path) -> None:
    stopped = run(2, WORKER, "interrupted", tmp_path / "found.json", code=1)
    assert stopped.stderr.count("Interrupted: stopped in epoch 1, step 4 of 11\n") == 2
    assert "all ranks are stopped" not in stopped.stderr


def test_an_error_before_training_stops_all(tmp_path: Path) -> None:
    stopped = run(2, WORKER, "early", tmp_path / "found.json", code=1)
    assert stopped.stderr.count("KeyError: 'a mistake'") == 1


def test_ranks_with_other_settings_are_refused(tmp_path: Path) -> None:
    found = run(2, WORKER, "unlike", tmp_path / "found.json", code=1)
    assert "ValueError: rank 1 has batch_size 51, wanted 50 as rank 0 has" in found.stderr
    assert "all ranks are stopped" not in found.stderr


def test_the_command(tmp_path: Path) -> None:
    common = "-m", "minihash", "train", "--hidden", 50, "--epochs", 2, "--distributed", "exact"
    files = [tmp_path / f"{ranks}.safetensors" for ranks in (1, 2)]
    said = [
        run(ranks, *common, "--out", path, "--log", f"{path}.csv", "--checkpoint", tmp_path / f"state{ranks}")
        for ranks, path in zip((1, 2), files)
    ]
    first, second = (one.stdout.splitlines() for one in said)
    assert len(first) == len(second) and f"saved {files[1]}" in second
    assert sum("test error" in line for line in second) == 1
    assert files[0].read_bytes() == files[1].read_bytes()
    assert load(files[1]).num_parameters and (tmp_path / "2.safetensors.csv").read_text().count("\n") == 3
    assert json.loads((tmp_path / "2.safetensors.settings.json").read_text())["shards"] == 4
    before = (tmp_path / "state2" / "hashed" / "checkpoint.safetensors").read_bytes()
    run(2, *common, "--out", files[1], "--checkpoint", tmp_path / "state2", "--resume")
    assert json.loads((tmp_path / "2.safetensors.settings.json").read_text())["shards"] == 4
    assert (tmp_path / "state2" / "hashed" / "checkpoint.safetensors").read_bytes() == before
    repeated = tmp_path / "again.safetensors"
    run(2, "-m", "minihash", "train", "--from-settings", f"{files[0]}.settings.json", "--out", repeated)
    assert repeated.read_bytes() == files[0].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--shards", "1"], "shards is 1, wanted 2 at least, the number of ranks", 1),
        (["--batch-size", "3"], "batch_size is 3, wanted 4 at least, the number of shards", 1),
        (["nothing"], "data is 'nothing', wanted", 1),
        (["--epochs", "x"], "argument --epochs: 'x' is not an integer", 2),
        (["--out", "nowhere/net"], "nowhere: there is no such folder to write to", 1),
    ],
)
def test_wrong_arguments_are_told_once(arguments: list[str], message: str, code: int) -> None:
    found = run(2, "-m", "minihash", "train", "--distributed", "exact", *arguments, code=code)
    assert found.stderr.count(message) == 1 and found.stderr.count("\n") == 1


def test_processes_that_do_not_know_of_each_other_are_told_so() -> None:
    found = run(2, "-m", "minihash", "train", "--epochs", 1, "--hidden", 5)
    told = "2 processes train a network each; --distributed lets them train one together"
    assert found.stderr.count(told) == 1
    assert found.stdout.count("test error") == 2


def test_wrong_arguments_of_fit() -> None:
    data = np.zeros((10, 2), np.float32), np.zeros(10, int)
    with pytest.raises(ValueError, match="shards is 2 and distributed is False, wanted None"):
        fit(mlp([2, 2]), data, shards=2)
    with pytest.raises(ValueError, match="distributed is 'slow', wanted one of 'exact', 'fast'"):
        fit(mlp([2, 2]), data, distributed="slow")


def test_the_mpiexec_of_another_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mpi4py.MPI")  # it would warn, of the same
    for name in ("PMI_RANK", "PMI_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(ImportError, match="mpiexec has started 4 processes, and mpi4py sees 1"):
        mpi.world.__wrapped__()


def test_without_mpi4py_there_is_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match="pip install mpi4py mpich"):
        mpi.world.__wrapped__()
