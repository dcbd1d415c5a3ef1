"""What is printed forgives, and a command ends in order."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from minihash import terminal
from minihash.persistence import load
from minihash.terminal import Forgiving, attended, forgiving, lost, say

TRAIN = [sys.executable, "-m", "minihash", "train", "--hidden", "5", "--epochs", "1"]


class Broken(io.StringIO):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))

    def flush(self) -> None:
        self.write("")


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC])
def test_a_stream_that_fails_is_forgiven(number: int) -> None:
    stream = Forgiving(Broken(number))
    print("text", file=stream, flush=True)
    assert isinstance(stream.error, OSError) and stream.error.errno == number
    assert (lost(stream) is None) == (number != errno.ENOSPC)  # a reader that went away is no failure


def test_a_closed_stream_is_forgiven() -> None:
    closed = io.StringIO()
    closed.close()
    stream = Forgiving(closed)
    print("text", file=stream, flush=True)
    assert isinstance(stream.error, ValueError) and lost(stream) is None


@pytest.mark.parametrize("encoding, found", [("ascii", b"R? 1/64"), ("cp1251", b"R? 1/64"), ("utf-8", None)])
def test_what_an_encoding_does_not_have_is_replaced(encoding: str, found: bytes | None) -> None:
    content = io.BytesIO()
    stream = forgiving(io.TextIOWrapper(content, encoding))
    print("R² 1/64", end="", file=stream, flush=True)
    assert content.getvalue() == (found or "R² 1/64".encode())


def test_nothing_is_printed_where_there_is_no_output(monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    say("text")
    assert forgiving(None) is None and lost(None) is None
    with attended():
        say("text")


def test_warnings_are_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with attended():
        warnings.simplefilter("always")
        warnings.warn("something\nis odd")
    assert capsys.readouterr().err == "minihash: warning: something is odd\n"


@pytest.mark.parametrize("number", terminal.TERMINATIONS)
def test_a_signal_ends_the_block_in_order(number: int) -> None:
    done = []
    before = signal.signal(number, signal.SIG_DFL)  # whoever runs the tests may ignore it
    try:
        with pytest.raises(terminal.Terminated) as stop:
            with attended():
                try:
                    os.kill(os.getpid(), number)
                finally:
                    os.kill(os.getpid(), number)  # a second one does not disturb what is removed
                    done.append(True)
    finally:
        signal.signal(number, before)
    assert stop.value.signal == number and done


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as nohup does with SIGHUP
    try:
        with attended():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_a_full_disk_under_the_output_ends_no_training(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        argv = [*TRAIN, "--out", str(tmp_path / "model")]
        found = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True)
    load(tmp_path / "model")
    wanted = "minihash: error: standard output: No space left on device\n"
    assert (found.returncode, found.stderr) == (1, wanted)


def test_errors_that_cannot_be_told_end_no_training(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        argv = [*TRAIN, "--out", str(tmp_path / "model")]
        found = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=full)
    assert found.returncode == 0
    load(tmp_path / "model")


@pytest.mark.parametrize("encoding", ["cp1251", "ascii"])
def test_help_in_an_encoding_without_its_letters(encoding: str) -> None:
    argv = [sys.executable, "-m", "minihash", "train", "--help"]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    assert subprocess.run(argv, capture_output=True, env=environment).returncode == 0


def program(text: str) -> subprocess.CompletedProcess:
    """A program of a user's own, whose output is a full disk."""
    with open("/dev/full", "w") as full:
        argv = [sys.executable, "-c", text]
        return subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True)


ON_LINUX = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no such file here")


@ON_LINUX
@pytest.mark.parametrize("later", ["print('mine', flush=True)", "os.write(1, b'mine')"])
def test_the_output_of_a_program_stays_its_own(later: str) -> None:
    """What minihash says may be lost; what the program prints fails as ever, where nothing takes it."""
    said = "import os, sys; from minihash.terminal import say; say('ours'); print('on', file=sys.stderr)"
    found = program(f"{said}; {later}")
    assert found.stderr.startswith("on\n") and "OSError: [Errno 28] No space left on device" in found.stderr
    assert found.returncode


@ON_LINUX
def test_a_command_in_a_program_gives_the_output_back() -> None:
    """While it runs its output leads nowhere; after it, it leads where it did, and holds nothing of it."""
    text = """
import os
from minihash.cli import main
status = main(["data", "list"])
try:
    os.write(1, b"mine")
except OSError as error:
    print(status, error.strerror, file=os.sys.stderr)
"""
    found = program(text)
    ours = "minihash: error: standard output: No space left on device\n"
    assert (found.returncode, found.stderr) == (0, ours + "1 No space left on device\n")


def test_a_pipe_without_a_reader_ends_a_command_without_a_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    argv = [sys.executable, "-m", "minihash", "data", "list"]
    found = subprocess.run(argv, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (found.returncode, found.stderr) == (0, "")
