"""Commands that write, killed, on a full disk, or with their terminal closed, at random points.

Afterwards every final name holds a whole file, the old one or the new one, and what was finished is under a
name that was printed. `MINIHASH_KILLS=50 pytest -m slow tests/cli/test_accidents.py` has fifty of each.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from minihash.cli import main
from minihash.datasets.store import Store
from minihash.persistence import load

KILLS = int(os.environ.get("MINIHASH_KILLS", "2"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
NETWORK = ("--hidden", "300", "--compression", "1/2", "--epochs", "20")


def words(path: Path) -> str:
    return path.read_text("utf-8")


class Command(NamedTuple):
    """A command that writes.

    argv : with the folder of outputs in place of OUT, and that of inputs in place of IN.
    old : what is different in the run that made the files that were there before.
    read : what raises an error for a file that is not whole; None: it is the old one or the new one, byte for
        byte.
    """

    argv: tuple[str, ...]
    old: tuple[str, ...]
    read: Callable[[Path], Any] | None = None


def read_store(path: Path) -> int:
    return sum(len(batch.targets) for batch in Store(path).batches(1000))


COMMANDS = {
    "train": Command(
        ("train", "IN/rows.csv", *NETWORK, "--out", "OUT/model"), ("--seed", "1"), load
    ),
    "quantize": Command(
        ("quantize", "IN/model", "IN/rows.csv", "--epochs", "10", "--out", "OUT/model"),
        ("--bits", "4"),
        load,
    ),
    "convert": Command(
        ("data", "convert", "IN/rows.csv", "OUT/rows.mh"), ("--target", "1"), read_store
    ),
    "predict": Command(("predict", "IN/model", "IN/rows.csv", "--out", "OUT/labels.csv"), ("IN/other",)),
    "export": Command(("export", "IN/model", "--out", "OUT/c"), ("--weights", "int8")),
    "export to ONNX": Command(
        ("export", "IN/model", "--format", "onnx", "--out", "OUT/model.onnx"), ("--dense",)
    ),
}


class Place(NamedTuple):
    """Where a command was run once: its inputs, the old outputs, the new ones, and how long it took."""

    inputs: Path
    old: Path
    new: Path
    seconds: float


def fill(argv: tuple[str, ...], inputs: Path, outputs: Path) -> list[str]:
    return [one.replace("IN/", f"{inputs}/").replace("OUT/", f"{outputs}/") for one in argv]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 10))
    np.savetxt(folder / "rows.csv", np.column_stack([rows[:, 0] > 0, rows]), delimiter=",", fmt="%.4g")
    for name, seed in (("model", "0"), ("other", "5")):
        argv = [*NETWORK[:-1], "1", "--seed", seed, "--out", str(folder / name)]
        assert main(["train", str(folder / "rows.csv"), *argv]) == 0
    return folder


@pytest.fixture(scope="module", params=COMMANDS)
def place(request: pytest.FixtureRequest, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    command = COMMANDS[request.param]
    old, new = (tmp_path_factory.mktemp(name) for name in ("old", "new"))
    other = list(command.argv)
    if request.param == "predict":
        other[1] = command.old[0]
    else:
        other += command.old
    assert main(fill(tuple(other), inputs, old)) == 0
    start = time.monotonic()
    argv = [sys.executable, "-m", "minihash", *fill(command.argv, inputs, new)]
    assert subprocess.run(argv, capture_output=True).returncode == 0
    return command, Place(inputs, old, new, time.monotonic() - start)


def check(command: Command, place: Place, out: Path, printed: str) -> None:
    """Hold what is left to the law; `printed` is all that the command said."""
    for old in filter(Path.is_file, place.old.rglob("*")):
        name = old.relative_to(place.old)
        found, new = out / name, place.new / name
        content = found.read_bytes()
        if content not in (old.read_bytes(), new.read_bytes()):
            assert command.read is not None, f"{name} is neither the old nor the new one"
            command.read(found)
    for name in re.findall(r"(?:saved|wrote|to be written is) (/\S+?)(?:,|$|\s)", printed):
        written = Path(name)
        assert written.exists()
        if command.read is not None:
            command.read(written)


def left(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".minihash-")]


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("draw", range(KILLS))
def test_killed(place: Any, number: int, draw: int, tmp_path: Path) -> None:
    command, here = place
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    shutil.copytree(here.old, out)
    temporary.mkdir()
    rng = np.random.default_rng([draw, number])
    argv = [sys.executable, "-m", "minihash", *fill(command.argv, here.inputs, out)]
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(here.seconds * rng.uniform(0.2, 1.1))
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    check(command, here, out, printed)
    if number != signal.SIGKILL and "Traceback" not in printed and process.returncode != -number:
        assert not left(out) and not list(temporary.iterdir())
    started = process.returncode not in (-number, 1)  # else the signal came before the command had begun
    assert not started or process.returncode in (0, 128 + number) and "Traceback" not in printed, printed


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("draw", range(KILLS))
def test_the_terminal_is_closed(place: Any, ignored: bool, draw: int, tmp_path: Path) -> None:
    """`ignored`: under nohup, whose output still goes to the terminal that is gone: it ends well."""
    command, here = place
    out = tmp_path / "out"
    shutil.copytree(here.old, out)
    rng = np.random.default_rng([draw, ignored])
    leader, follower = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(follower, termios.TIOCSCTTY, 0)
        if ignored:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    argv = [sys.executable, "-m", "minihash", *fill(command.argv, here.inputs, out)]
    process = subprocess.Popen(
        argv, stdin=follower, stdout=follower, stderr=follower, preexec_fn=own_terminal
    )
    os.close(follower)
    printed: list[bytes] = []
    closing = threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError):
            while not closing.is_set() and (content := os.read(leader, 4096)):
                printed.append(content)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(here.seconds * rng.uniform(0.2, 1.1))
    closing.set()
    os.close(leader)
    status = process.wait(timeout=60)
    check(command, here, out, b"".join(printed).decode(errors="replace"))
    if ignored:
        assert status == 0
        for new in filter(Path.is_file, here.new.rglob("*")):
            assert (out / new.relative_to(here.new)).read_bytes() == new.read_bytes()
    assert not left(out)


@pytest.mark.slow
@pytest.mark.parametrize("draw", range(2 * KILLS))
def test_the_disk_is_full(place: Any, draw: int, tmp_path: Path) -> None:
    """A small file system with the old files, and a random number of pages that are free."""
    command, here = place
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    files = [path for path in here.old.rglob("*") if path.is_file()]
    pages = sum(-(-path.stat().st_size // 4096) for path in files)
    size = 4096 * (pages + 4 + int(np.random.default_rng(draw).integers(0, 1.3 * pages + 1)))
    argv = " ".join([sys.executable, "-m", "minihash", *fill(command.argv, here.inputs, disk)])
    mount = f"mount -t tmpfs -o size={size} tmpfs {disk} && cp -r {here.old}/. {disk}"
    script = f"{mount} && {{ {argv}; status=$?; cp -r {disk} {out}; exit $status; }}"
    unshare = ["unshare", "-m" if os.getuid() == 0 else "-Urm", "sh", "-c", script]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    found = subprocess.run(unshare, capture_output=True, text=True, env=environment)
    printed = (found.stdout + found.stderr).replace(str(disk), str(out))
    assert found.returncode in (0, 1), printed
    check(command, here, out, printed)
    assert not left(out)
    if found.returncode == 0:
        without_settings = "the network is saved without its settings" in found.stderr
        for new in filter(Path.is_file, here.new.rglob("*")):
            if not (without_settings and new.name.endswith(".settings.json")):
                assert (out / new.relative_to(here.new)).read_bytes() == new.read_bytes()
    else:
        assert found.stderr.count("minihash: error: ") == 1 and str(disk) in found.stderr
        assert "No space left on device" in found.stderr
        if command.argv[0] in ("train", "quantize"):
            assert re.search(r"to be written is /\S+", found.stderr)  # and check() has read it
