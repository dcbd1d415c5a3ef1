"""fetch, against a server of our own: only verified files ever get their names."""

from __future__ import annotations

import argparse
import errno
import gzip
import hashlib
import http.server
import os
import socket
import struct
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from minihash import datasets
from minihash.cli import data as data_command
from minihash.datasets import idx, mnist
from minihash.datasets.fetch import FetchError, fetch

SHAPES = ((6, 28, 28), (6,), (3, 28, 28), (3,))


class Server:
    """What the local server sends: `bodies` by path, and how."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.cut = 0  # bytes that the body is shorter than its Content-Length
        self.say_length = True


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            body = state.bodies.get(self.path)
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            if state.say_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) - state.cut])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        state = Server(f"http://127.0.0.1:{listener.server_port}")
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        listener.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, server: Server, tmp_path: Path) -> mnist.IdxSource:
    """A data set of 6 + 3 images, served under /good, and with wrong bytes under /wrong."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("MINIHASH_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    rng = np.random.default_rng(0)
    files = []
    for twin, shape in zip(mnist.MNIST.files, SHAPES):
        header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
        raw = header + rng.integers(0, 10, shape, dtype=np.uint8).tobytes()
        files.append(mnist.IdxFile(twin.name, shape, hashlib.sha256(raw).hexdigest()))
        server.bodies[f"/good/{twin.name}.gz"] = gzip.compress(raw)
        server.bodies[f"/wrong/{twin.name}.gz"] = gzip.compress(raw[:-1] + b"\xff")
    source = mnist.IdxSource(
        "tiny", tuple(files), (f"{server.url}/good/",), mnist.DIGITS  # type: ignore[arg-type]
    )
    monkeypatch.setitem(mnist.SOURCES, "tiny", source)
    return source


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def all_files() -> list[str]:
    return sorted(f"{file.name}.gz" for file in mnist.MNIST.files)


def test_fetch_then_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fetch("tiny", tmp_path)
    assert folder == tmp_path / "tiny"
    assert listing(tmp_path) == all_files()
    assert datasets.load("tiny", tmp_path, validation=2).train[0].shape == (4, 784)
    assert capsys.readouterr() == ("", "")  # no bar: stderr is no terminal


def test_progress_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch("tiny", tmp_path)
    assert all(name in capsys.readouterr().err for name in all_files()[:1])


def test_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch("tiny") == tmp_path / "share" / "minihash" / "tiny"
    monkeypatch.setenv("MINIHASH_DATA", str(tmp_path / "chosen"))
    assert fetch("tiny") == tmp_path / "chosen" / "tiny"


def test_present_files_are_skipped_and_wrong_ones_replaced(tmp_path: Path, server: Server) -> None:
    folder = fetch("tiny", tmp_path)
    server.requests.clear()
    fetch("tiny", tmp_path)
    assert server.requests == []
    (folder / all_files()[1]).write_bytes(b"damaged")
    fetch("tiny", tmp_path)
    assert server.requests == [f"/good/{all_files()[1]}"]
    datasets.load("tiny", tmp_path, validation=0)


def test_damaged_raw_file_does_not_hide_the_fetched_one(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"damaged")
    fetch("tiny", tmp_path)
    datasets.load("tiny", tmp_path, validation=0)


def fails(tmp_path: Path, message: str, mirror: str | None = None) -> None:
    """A failed fetch says `message` in one line that names file and URL, and leaves no file."""
    with pytest.raises(FetchError, match=message) as caught:
        fetch("tiny", tmp_path, mirror)
    text = str(caught.value)
    assert "cannot fetch train-images-idx3-ubyte.gz from http://127.0.0.1" in text
    assert "\n" not in text and ".part" not in text
    assert listing(tmp_path) == []


@pytest.mark.parametrize("cut", [1, 100])
def test_truncated_body(tmp_path: Path, server: Server, cut: int) -> None:
    server.cut = cut
    size = len(server.bodies["/good/train-images-idx3-ubyte.gz"])
    fails(tmp_path, f"ended after {size - cut} of {size} bytes|IncompleteRead")


def test_truncated_body_of_unsaid_length(tmp_path: Path, server: Server) -> None:
    server.cut, server.say_length = 10, False
    fails(tmp_path, "damaged gzip file")


def test_unsaid_length(tmp_path: Path, server: Server) -> None:
    server.say_length = False
    fetch("tiny", tmp_path)
    assert listing(tmp_path) == all_files()


def test_wrong_digest(tmp_path: Path, server: Server) -> None:
    fails(tmp_path, "sha256 is .*, wanted ", f"{server.url}/wrong")


def test_body_without_end(tmp_path: Path, server: Server) -> None:
    server.bodies["/good/train-images-idx3-ubyte.gz"] = bytes(1_000_000)
    fails(tmp_path, "sent more than")


def test_not_found(tmp_path: Path, server: Server) -> None:
    fails(tmp_path, "HTTP 404 Not Found", f"{server.url}/absent")


def test_connection_refused(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: nobody else can take the port
        fails(tmp_path, "refused", f"http://127.0.0.1:{unused.getsockname()[1]}")


def test_bad_url(tmp_path: Path) -> None:
    fails(tmp_path, "InvalidURL", "http://127.0.0.1:port")


def test_next_mirror(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    source = mnist.SOURCES["tiny"]
    mirrors = (f"{server.url}/absent/", f"{server.url}/wrong/", *source.mirrors)
    several = mnist.IdxSource("tiny", source.files, mirrors, source.class_names)
    monkeypatch.setitem(mnist.SOURCES, "tiny", several)
    fetch("tiny", tmp_path)
    assert listing(tmp_path) == all_files()


def test_files_before_the_failure_stay(tmp_path: Path, server: Server) -> None:
    del server.bodies["/good/t10k-images-idx3-ubyte.gz"]
    with pytest.raises(FetchError, match="t10k-images-idx3-ubyte.gz"):
        fetch("tiny", tmp_path)
    assert listing(tmp_path) == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    with pytest.raises(FileNotFoundError, match="minihash data fetch tiny"):
        datasets.load("tiny", tmp_path)


def interrupt(*args: object, **kwargs: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["read", "fsync", "replace"])
def test_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    if place == "read":
        monkeypatch.setattr(mnist.IdxFile, "read", interrupt)
    else:
        monkeypatch.setattr(f"minihash.datasets.fetch.os.{place}", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch("tiny", tmp_path)
    assert listing(tmp_path) == []


def test_interrupted_in_the_middle_of_a_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urlopen: Callable[..., object] = urllib.request.urlopen

    def opened(*args: object, **kwargs: object) -> object:
        response = urlopen(*args, **kwargs)
        read, calls = response.read, []  # type: ignore[attr-defined]

        def read_then_interrupt(size: int) -> bytes:
            calls.append(size)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return read(10)

        response.read = read_then_interrupt  # type: ignore[attr-defined]
        return response

    monkeypatch.setattr(urllib.request, "urlopen", opened)
    with pytest.raises(KeyboardInterrupt):
        fetch("tiny", tmp_path)
    assert listing(tmp_path) == []


def test_full_disk_is_not_blamed_on_the_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minihash.datasets.fetch.os.fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        fetch("tiny", tmp_path)
    assert not isinstance(caught.value, FetchError)
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "mirror", "message"),
    [
        ("cifar", None, "'cifar'.*'mnist-small', 'mnist', 'fashion-mnist', 'tiny'"),
        ("mnist-small", None, "comes with the package"),
        ("tiny", "file:///tmp", "mirror is 'file:///tmp', wanted an http or https URL"),
        ("tiny", "", "mirror is ''"),
    ],
)
def test_refused(tmp_path: Path, name: str, mirror: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fetch(name, tmp_path, mirror)
    assert list(tmp_path.iterdir()) == []


def test_command(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    data_command.add_parser(parser.add_subparsers())
    argv = ["data", "fetch", "tiny", "--data-dir", str(tmp_path), "--mirror", f"{server.url}/good"]
    args = parser.parse_args(argv)
    assert args.run(args) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'tiny'}\n"
    assert listing(tmp_path) == all_files()


def test_a_file_that_cannot_be_read_again_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(idx, "_read", fail)
    with pytest.raises(OSError) as found:
        fetch("tiny", tmp_path)
    first = tmp_path / "tiny" / f"{mnist.MNIST.files[0].name}.gz"
    assert (found.value.errno, found.value.filename) == (errno.EIO, str(first))
    assert listing(tmp_path) == []
