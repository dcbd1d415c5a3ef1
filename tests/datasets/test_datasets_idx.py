"""read_idx: round trips, and a ValueError for whatever is not a whole idx file."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minihash.datasets.idx import DigestError, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array: np.ndarray) -> bytes:
    """The naive writer: the format's description, line by line."""
    magic = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim])
    sizes = b"".join(struct.pack(">I", n) for n in array.shape)
    return magic + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def read_bytes(data: bytes, **options: object) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(data)
        return read_idx(path, **options)  # type: ignore[arg-type]


def refused(data: bytes, message: str, **options: object) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_bytes(data, **options)
    assert str(Path("file")) in str(caught.value)
    assert "\n" not in str(caught.value)


arrays = hnp.arrays(
    dtype=st.sampled_from(["u1", "i1", "i2", "i4", "f4", "f8"]),
    shape=hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5),
)
SMALL = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)


@settings(deadline=None)
@given(arrays, st.booleans())
def test_round_trip(array: np.ndarray, zipped: bool) -> None:
    raw = idx_bytes(array)
    result = read_bytes(gzip.compress(raw) if zipped else raw)
    assert result.dtype == array.dtype and result.dtype.isnative
    assert result.shape == array.shape and result.flags.writeable
    np.testing.assert_array_equal(result, array)


@settings(deadline=None)
@given(st.data(), st.booleans())
def test_shortened_or_lengthened_is_refused(data: st.DataObject, zipped: bool) -> None:
    raw = idx_bytes(SMALL)
    whole = gzip.compress(raw) if zipped else raw
    cut = data.draw(st.integers(0, len(whole) - 1))
    refused(whole[:cut], "file: ")
    refused(whole + data.draw(st.binary(min_size=1).filter(lambda b: b.strip(b"\0"))), "file: ")


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 39), st.integers(1, 255), st.booleans())
def test_a_changed_byte_is_noticed(at: int, flip: int, zipped: bool) -> None:
    raw = idx_bytes(SMALL)
    changed = bytearray(gzip.compress(raw) if zipped else raw)
    changed[at % len(changed)] ^= flip
    try:
        result = read_bytes(bytes(changed), sha256=hashlib.sha256(raw).hexdigest())
    except ValueError as error:
        assert "file: " in str(error)
    else:  # gzip's own header has bytes that mean nothing, such as the time
        assert zipped
        np.testing.assert_array_equal(result, SMALL)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_give_an_array_or_a_value_error(data: bytes) -> None:
    try:
        read_bytes(data)
    except ValueError as error:
        assert "file: " in str(error)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "starts with the bytes .none., wanted an idx file"),
        (b"\x89PNG\r\n", "starts with the bytes 89 50 4e 47, wanted an idx file"),
        (b"\0\0\x0a\1\0\0\0\0", "00 00 0a 01, wanted an idx file"),
        (b"\0\0\x08\0\0", "has 0 dimensions, wanted 1 to 32"),
        (b"\0\0\x08\xff" + bytes(1020), "has 255 dimensions"),
        (b"\0\0\x08\3\0\0\0\1", "ends within the header"),
        (idx_bytes(SMALL)[:-1], "promises 24 bytes of data, the file holds 23"),
        (idx_bytes(SMALL) + b"x", "promises 24 bytes of data, the file holds more"),
        (gzip.compress(idx_bytes(SMALL) + b"x"), "the file holds more"),
        (gzip.compress(idx_bytes(SMALL))[:-1], "damaged gzip file"),
        (b"\x1f\x8bnonsense", "damaged gzip file"),
    ],
)
def test_message(data: bytes, message: str) -> None:
    refused(data, message)


@pytest.mark.parametrize("shape", [(2**32 - 1,) * 3, (0, 2**32 - 1, 2**32 - 1), (1 << 30,)])
def test_huge_promise_is_refused(shape: tuple[int, ...]) -> None:
    header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    refused(header, f"promises shape {re.escape(str(shape))}, wanted at most {1 << 30} bytes")


def test_max_bytes_counts_the_raw_bytes() -> None:
    raw = idx_bytes(SMALL)
    assert read_bytes(raw, max_bytes=len(raw)).shape == SMALL.shape
    refused(gzip.compress(raw), "wanted at most", max_bytes=len(raw) - 1)


def test_gzip_bomb_is_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx_bytes(SMALL) + bytes(50_000_000)))
    handed_out = []
    read = gzip.GzipFile.read

    def counting(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        handed_out.append(data := read(self, size))
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", counting)
    with pytest.raises(ValueError, match="bomb.gz: header promises 24 bytes"):
        read_idx(path)
    assert sum(map(len, handed_out)) == len(idx_bytes(SMALL)) + 1


def test_digest_is_of_the_raw_bytes() -> None:
    raw = idx_bytes(SMALL)
    digest = hashlib.sha256(raw).hexdigest()
    np.testing.assert_array_equal(read_bytes(gzip.compress(raw), sha256=digest), SMALL)
    with pytest.raises(DigestError, match=rf"{digest[:12]}\.\.\., wanted 000000000000") as caught:
        read_bytes(raw, sha256="0" * 64)
    assert caught.value.actual == digest


def test_not_a_regular_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path.name}: not a regular file"):
        read_idx(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        read_idx(tmp_path / "absent")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: not a regular file"):
        read_idx(tmp_path / "pipe")
