"""The command `minihash train`: what it prints, saves and draws, and that it fails before the work."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Fails, Run

from minihash import datasets, evaluate, fit, mlp, optimizers, schedules
from minihash.callbacks import EarlyStopping
from minihash.persistence import load
from minihash.size_matching import dense_sizes

TINY = ("train", "--epochs", "1", "--hidden", "20")


def errors(text: str, part: str = "test") -> list[float]:
    """All errors of one part of the data that were printed, in percent."""
    return [float(number) for number in re.findall(rf"^{part} error: (\d+\.\d\d) %$", text, re.MULTILINE)]


def percent(path: Path, part: str = "test") -> float:
    """The error of a saved network."""
    return round(100 * evaluate(load(path), getattr(datasets.load(), part))["error"], 2)


def compared(text: str) -> list[list[str]]:
    """The cells of the table of --compare, its header among them."""
    row = re.compile("(network|hashed|tiles|dense) .*(error|%)")
    return [re.split("  +", line) for line in text.splitlines() if row.match(line)]


few = pytest.mark.usefixtures("few_rows")


def test_train(tmp_path: Path, run: Run) -> None:
    status, out, err = run(*TINY, "--out", tmp_path / "model")
    assert (status, err) == (0, "")  # no bar: this is no terminal
    network = load(tmp_path / "model")
    costs = "992 bytes of 63,640 dense (1/64.15), 15,880 multiplications a row"
    assert out.startswith(f"training hashed 784-20-10 relu: {costs}; 1 epoch of 10,000 rows\nepoch 1, loss ")
    assert "settings: " not in out and network.summary() not in out
    assert network.num_virtual == 785 * 20 + 21 * 10 and network.num_parameters == 245 + 3
    assert re.search(r"^hashed, 10,000 training rows, 1 epoch in \d+\.\d s$", out, re.MULTILINE)
    assert errors(out) == [percent(tmp_path / "model")]
    assert errors(out, "validation") == [percent(tmp_path / "model", "validation")]
    assert "stored: 992 bytes, dense: 63,640 bytes\n" in out
    assert out.index(f"\nsaved {tmp_path / 'model'}\n") < out.index("\ntest error")  # saved first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.settings.json"]


@few
def test_verbose(tmp_path: Path, run: Run) -> None:
    status, out, err = run(*TINY, "--verbose", "--out", tmp_path / "model")
    assert (status, err) == (0, "")
    summary = load(tmp_path / "model").summary()
    assert out.startswith("settings: ") and f"\n{summary}\ntraining hashed " in out
    assert "verbose" not in (tmp_path / "model.settings.json").read_text()


@few
def test_dense_layers_and_no_hidden_ones_are_described(run: Run) -> None:
    out = run("train", "--epochs", 1, "--hidden", "--compression", 0)[1]
    said = "training dense 784-10: 31,400 bytes, dense, 7,840 multiplications a row; 1 epoch of 500 rows\n"
    assert out.startswith(said)


@pytest.mark.slow
def test_compiling_is_said_while_it_happens_and_takes_no_seconds(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    argv = [sys.executable, "-m", "minihash", *TINY]
    lines = []
    for _ in range(2):
        found = subprocess.run(argv, env=environment, capture_output=True, text=True)
        assert (found.returncode, found.stderr) == (0, "")
        lines.append(found.stdout.splitlines())
    cold, warm = lines
    assert cold[1] == "compiling kernels (once, about 15 s)" and cold.count(cold[1]) == 1
    assert cold[1] not in warm and warm[:2] == [cold[0], cold[2]]
    seconds = [float(re.findall(r"in (.*) s$", line)[0]) for line in cold if " 1 epoch in " in line]
    assert len(seconds) == 1 and seconds[0] < 4  # of 10 or more that it took


@few
def test_arguments_reach_the_network(tmp_path: Path, run: Run) -> None:
    status, *_ = run(
        *(*TINY[:3], "--hidden", 9, 7, "--compression", "0.25", "--activation", "tanh", "--bias", "free"),
        *("--input-dropout", 0, "--dropout", 0.5, "--seed", 3, "--out", tmp_path / "model"),
    )
    expected = mlp(
        [784, 9, 7, 10], compression=0.25, activation="tanh", bias="free", dropout=(0.0, 0.5), seed=3
    )
    found = load(tmp_path / "model").layers
    assert status == 0
    assert [layer.config() for layer in found] == [layer.config() for layer in expected.layers]


@few
@pytest.mark.parametrize("size", [("--compression", "1/8"), ("--memory-bytes", 7970)])
@pytest.mark.parametrize(
    "argv, tiles",
    [
        ((), [1, 1]),
        (("--tile", 1), [1, 1]),
        (("--tile", 4), [4, 4]),
        (("--tile", "auto"), [122, 2]),  # min(⌈785 / 4⌉, ⌊1962 / 16⌋), min(⌈21 / 4⌉, ⌊26 / 10⌋)
    ],
)
def test_tiles(
    argv: tuple[Any, ...], tiles: list[int], size: tuple[Any, ...], tmp_path: Path, run: Run
) -> None:
    status, out, err = run(*TINY, *size, *argv, "--verbose", "--out", tmp_path / "model")
    assert (status, err) == (0, "")
    network = load(tmp_path / "model")
    assert [layer.tile for layer in network.layers if layer.params] == tiles
    assert (f"tile {argv[1]}, " in out) if argv else ("tile" not in out.splitlines()[0])


@few
def test_a_tile_that_is_too_long(tmp_path: Path, run: Run) -> None:
    status, _, err = run(*TINY, "--tile", 246, "--out", tmp_path / "model")
    wanted = "tile is 246, wanted 1 <= tile < 246, in a layer 784 -> 20 with 245 buckets"
    assert (status, err) == (1, f"minihash: error: {wanted}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [("--map", "window"), ("--map", "element"), ("--window", "0.5")])
def test_the_maps_before_tiles_are_no_options(argv: tuple[str, ...], fails: Fails) -> None:
    line = fails(2, *TINY, *argv)
    assert line.startswith(f"minihash train: error: unrecognized arguments: {argv[0]}")


@few
def test_arguments_reach_the_training(tmp_path: Path, run: Run) -> None:
    base = ("--compression", "1/8")
    variants: tuple[tuple[Any, ...], ...] = (
        (),
        ("--batch-size", 64),
        ("--optimizer", "sgd"),
        ("--learning-rate", 0.01),
        ("--schedule", "cosine"),
        ("--schedule", "constant"),
        ("--seed", 1),
        ("--epochs", 2),
        ("--momentum", 0.5),
        ("--weight-decay", 0.1),
    )
    weights = set()
    for variant in variants:
        assert run(*TINY, *base, *variant, "--out", tmp_path / "model")[0] == 0
        weights.add(load(tmp_path / "model").params["1.weight"].tobytes())
    assert len(weights) == len(variants)


def test_trains_as_fit_does(few_rows: datasets.Dataset, tmp_path: Path, run: Run) -> None:
    argv = ("--seed", 5, "--optimizer", "sgd", "--learning-rate", 0.05, "--schedule", "cosine")
    assert run(*TINY, *argv, "--batch-size", 50, "--out", tmp_path / "model")[0] == 0
    network = mlp([784, 20, 10], compression=1 / 64, dropout=(0.1, 0.25), seed=5, input_scale=1 / 255)
    fit(
        network,
        few_rows.train,
        optimizer=optimizers.SGD(0.05, momentum=0.9),
        schedule=schedules.cosine(0.05),
        epochs=1,
        batch_size=50,
        seed=5,
    )
    for name, array in load(tmp_path / "model").params.items():
        np.testing.assert_array_equal(array, network.params[name])


@few
def test_same_seed_same_file_on_any_number_of_threads(tmp_path: Path, run: Run) -> None:
    contents = []
    for count in (1, 2):
        argv = ("train", "--epochs", 1, "--hidden", 200, "--threads", count, "--out", tmp_path / "model")
        assert run(*argv)[0] == 0
        contents.append((tmp_path / "model").read_bytes())
    assert contents[0] == contents[1]


@few
def test_threads_reach_the_kernels(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from minihash.kernels import threads

    counts: list[int | None] = []
    monkeypatch.setattr(threads, "set_num_threads", counts.append)
    assert run(*TINY, "--threads", 2)[0] == 0
    assert counts[0] == 2


@few
def test_compare(tmp_path: Path, run: Run) -> None:
    argv = ("train", "--epochs", "1", "--hidden", "100", "--compression", "1/16", "--compare")
    status, out, err = run(*argv, "--out", tmp_path / "model", "--plot", tmp_path / "curves.png")
    assert (status, err) == (0, "")
    header, hashed, tiles, dense = compared(out)
    assert header == ["network", "units", "stored", "bytes", "multiplications", "test error", "seconds"]
    network = load(tmp_path / "model")
    sizes = dense_sizes([784, 100, 10], network.num_parameters)
    stored = sum((fan_in + 1) * fan_out for fan_in, fan_out in zip(sizes, sizes[1:]))
    of_hashed = ["784-100-10", f"{network.num_parameters:,}", f"{network.nbytes:,}"]
    assert hashed[:5] == ["hashed", *of_hashed, f"{784 * 100 + 100 * 10:,}"]
    # 4,906 and 63 weights, in tiles of min(⌈785 / 8⌉, ⌊4906 / 16⌋) and min(⌈101 / 8⌉, ⌊63 / 10⌋)
    assert [layer.num_buckets for layer in network.layers if layer.params] == [4906, 63]
    assert tiles[:5] == ["tiles", *of_hashed, f"{784 * -(-4906 // 99) + 100 * 10:,}"]
    of_dense = ["-".join(map(str, sizes)), f"{stored:,}", f"{4 * stored:,}"]
    assert dense[:5] == ["dense", *of_dense, f"{stored - sum(sizes[1:]):,}"]
    assert [hashed[5], tiles[5], dense[5]] == [f"{error:.2f} %" for error in errors(out)]
    assert errors(out)[0] == percent(tmp_path / "model")
    assert all(re.fullmatch(r"\d+\.\d", row[6]) for row in (hashed, tiles, dense))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG\r\n")


@few
@pytest.mark.parametrize("tile", ["auto", 3, 1])
def test_compare_with_a_tile_of_ones_own(tile: str | int, tmp_path: Path, run: Run) -> None:
    """The networks of --compare are then the one asked for and the dense one."""
    status, out, err = run(*TINY, "--compare", "--tile", tile, "--out", tmp_path / "model")
    assert (status, err) == (0, "")
    _, hashed, dense = compared(out)
    assert (hashed[0], dense[0]) == ("hashed", "dense")
    assert hashed[4] == f"{load(tmp_path / 'model').multiplications:,}"


@few
def test_dense_layers(tmp_path: Path, run: Run) -> None:
    status, out, _ = run(*TINY, "--compression", "0", "--out", tmp_path / "model")
    assert status == 0 and "dense, 500 training rows" in out
    assert load(tmp_path / "model").num_parameters == 785 * 20 + 21 * 10


@few
def test_final_trains_on_the_validation_rows_too(tmp_path: Path, run: Run) -> None:
    status, out, err = run(*TINY, "--final", "--out", tmp_path / "model", "--plot", tmp_path / "curve.svg")
    assert (status, err) == (0, "")
    assert "hashed, 600 training rows (validation rows among them), 1 epoch in" in out
    assert errors(out, "validation") == [] and errors(out) == [percent(tmp_path / "model")]
    assert "<svg" in (tmp_path / "curve.svg").read_text()


@few
def test_patience_stops_and_keeps_the_best_weights(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stoppings: list[EarlyStopping] = []

    class Spy(EarlyStopping):
        def __init__(self, patience: int, monitor: str) -> None:
            super().__init__(patience, monitor)
            stoppings.append(self)

    monkeypatch.setattr("minihash.callbacks.EarlyStopping", Spy)
    rough = ("--compression", "1/8", "--learning-rate", 0.1, "--schedule", "constant")
    argv = ("train", "--epochs", 30, "--hidden", 10, *rough, "--patience", 2, "--out", tmp_path / "model")
    status, out, _ = run(*argv)
    (stopping,) = stoppings
    epochs = int(re.search(r"(\d+) epochs in", out)[1])  # type: ignore[index]
    assert status == 0 and stopping.patience == 2 and epochs == stopping.best_epoch + 2 < 30
    assert percent(tmp_path / "model", "validation") == round(100 * stopping.best, 2)
    assert errors(out, "validation") == [round(100 * stopping.best, 2)]  # of the network that is kept
    assert errors(out) == [percent(tmp_path / "model")]


@few
@pytest.mark.parametrize("ending, start", [("png", b"\x89PNG\r\n"), ("PDF", b"%PDF-"), ("svg", b"<?xml")])
def test_plot(ending: str, start: bytes, tmp_path: Path, run: Run) -> None:
    path = tmp_path / f"curve.{ending}"
    status, out, err = run(*TINY, "--plot", path)
    assert (status, err) == (0, "") and out.endswith(f"drew {path}\n")
    assert path.read_bytes().startswith(start) and list(tmp_path.iterdir()) == [path]


# Failures


@pytest.mark.parametrize(
    "option, value",
    [
        ("--compression", "-1"),
        ("--compression", "1.01"),
        ("--compression", "65/64"),
        ("--threads", "0"),
        ("--hidden", "0"),
        ("--seed", "-1"),
        ("--seed", str(2**32)),
        ("--dropout", "1"),
        ("--input-dropout", "-0.1"),
        ("--epochs", "0"),
        ("--epochs", "1.5"),
        ("--batch-size", "0"),
        ("--learning-rate", "-1"),
        ("--learning-rate", "nan"),
        ("--patience", "-1"),
        ("--patience", "0"),
        ("--tile", "0"),
        ("--tile", "-1"),
        ("--tile", "1.5"),
        ("--tile", "automatic"),
    ],
)
def test_wrong_values_are_wrong_usage(option: str, value: str, tmp_path: Path, fails: Fails) -> None:
    line = fails(2, *TINY, "--out", tmp_path / "model", option, value)
    assert f"argument {option}: {value!r} is not a" in line and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--out", "{folder}/none/model"], "/none: there is no such folder"),
        (["--plot", "{folder}/none/curve.png"], "/none: there is no such folder"),
        (["--out", "{folder}"], "is a folder, wanted a file"),
        (["--plot", "{folder}/curve.jpg"], "'jpg', wanted png, svg or pdf"),
        (["--plot", "{folder}/curve"], "'', wanted png, svg or pdf"),
        (["--final", "--patience", "1"], "validation"),
        (["--hidden", "--compare"], "hidden"),
        (["--compression", "0", "--compare"], "--compare is for hashed networks"),
        (["--compare", "--log", "{folder}/a.csv"], "--log is for one network, and --compare trains several"),
        (["--compression", "0", "--tile", "4"], "--tile is 4 and the network is dense, wanted --compression"),
        (["--tile", "auto", "--compression", "0"], "--tile is auto and the network is dense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refused_before_training(argv: list[str], message: str, tmp_path: Path, fails: Fails) -> None:
    line = fails(1, *TINY, *(argument.format(folder=tmp_path) for argument in argv))
    assert message in line and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--optimizer", "sgd", "--learning-rate", "1e6", "--schedule", "constant"], "training diverged at"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@few
def test_refused_without_a_result(argv: list[str], message: str, tmp_path: Path, run: Run) -> None:
    status, out, err = run(*TINY, "--out", tmp_path / "model", "--plot", tmp_path / "curve.png", *argv)
    assert status == 1 and err.startswith("minihash: error: ") and err.count("\n") == 1
    assert message in err and "test error" not in out
    assert list(tmp_path.iterdir()) == []


def test_a_missing_matplotlib_is_noticed_before_training(
    tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install matplotlib" in fails(1, *TINY, "--plot", tmp_path / "curve.png")


@few
def test_failure_while_drawing_leaves_no_picture(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    status, _, err = run(*TINY, "--plot", tmp_path / "curve.png")
    assert (status, err) == (1, f"minihash: error: {tmp_path / 'curve.png'}: No space left on device\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_interrupted(tmp_path: Path) -> None:
    argv = ["train", "--epochs", "10000", "--hidden", "20", "--out", str(tmp_path / "model")]
    code = (  # a shell may have started us with SIGINT ignored
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from minihash.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        while not process.stdout.readline().startswith("epoch 1,"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr.read() == "minihash: interrupted\n"
        saved = re.search(r"^saved (.*) as of epoch (\d+) of 10000$", process.stdout.read(), re.M)
    assert saved and saved[1] == str(tmp_path / "model") and int(saved[2]) >= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.settings.json"]
    load(tmp_path / "model")


# Where the output goes


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path, fails: Fails) -> None:
    os.mkfifo(tmp_path / "pipe")
    line = fails(1, *TINY, "--out", tmp_path / "pipe")
    assert "is not a regular file" in line and (tmp_path / "pipe").is_fifo()


@few
def test_a_link_is_followed(tmp_path: Path, run: Run) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    assert run(*TINY, "--out", tmp_path / "link")[0] == 0
    assert (tmp_path / "link").is_symlink() and load(tmp_path / "target").in_features == 784


@pytest.mark.slow
def test_a_reader_that_leaves_does_not_stop_the_training(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    argv = [sys.executable, "-m", "minihash", *TINY, "--out", str(tmp_path / "model")]
    found = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (found.returncode, found.stderr) == (0, "") and load(tmp_path / "model").in_features == 784
