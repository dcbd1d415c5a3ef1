"""How files start: their kinds, byte order marks, and what is neither."""

from __future__ import annotations

import codecs
import gzip

import numpy as np
import pytest
from helpers import inputs_of

from benchmarks.paper.data import amat
from minihash.datasets import csv_rows
from minihash.datasets.csv_rows import convert
from minihash.datasets.file_dataset import read_table
from minihash.datasets.files import open_rows
from minihash.datasets.kinds import kind_of

ROWS = np.array([[1.0, 2, 3], [0, 1, 2], [1, 4, 1]])
TEXT = "\r\n".join(",".join(f"{value:g}" for value in row) for row in ROWS)
MARKS = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
MARKS |= {"utf-32-le": codecs.BOM_UTF32_LE, "utf-32-be": codecs.BOM_UTF32_BE}


@pytest.mark.parametrize("opener", [open, gzip.open])
@pytest.mark.parametrize("chunk", [5, 1000])
def test_the_mark_of_utf8_is_no_number(tmp_path, monkeypatch, opener, chunk):
    """Excel's "CSV UTF-8" begins with one: no row is refused, and none is lost."""
    monkeypatch.setattr(csv_rows, "CHUNK_BYTES", chunk)
    with opener(tmp_path / "a.csv", "wb") as file:
        file.write(codecs.BOM_UTF8 + TEXT.encode())
    assert convert(tmp_path / "a.csv", tmp_path / "a.mh").rows == 3
    (batch,) = open_rows(tmp_path / "a.csv").batches(9)
    np.testing.assert_array_equal(np.column_stack([batch.targets, batch.inputs]), ROWS)
    np.testing.assert_array_equal(inputs_of(tmp_path / "a.csv", 3), ROWS)
    with opener(tmp_path / "a.csv", "wb") as file:
        file.write(codecs.BOM_UTF8 + b"y,a,b\n" + TEXT.encode())
    assert convert(tmp_path / "a.csv", tmp_path / "a.mh", header=True).rows == 3
    with pytest.raises(ValueError, match=r"line 1 has 'y', .* \(--header, header=True: leave it out\)$"):
        convert(tmp_path / "a.csv", tmp_path / "a.mh")


@pytest.mark.parametrize("encoding", list(MARKS)[1:])
@pytest.mark.parametrize("opener", [open, gzip.open])
def test_other_encodings_are_named(tmp_path, encoding, opener):
    with opener(tmp_path / "a.csv", "wb") as file:
        file.write(MARKS[encoding] + TEXT.encode(encoding))
    message = rf"a\.csv: is in {encoding[:6].upper()}, wanted UTF-8: save it as that$"
    reads = [lambda path: convert(path, tmp_path / "a.mh"), open_rows, read_table]
    for read in (*reads, lambda path: inputs_of(path, 3)):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / "a.csv")


def test_marks_of_amat_files(tmp_path):
    path, text = tmp_path / "a.amat", ("0.5 " * 784 + "1\n") * 2
    path.write_bytes(codecs.BOM_UTF8 + text.encode())
    inputs, labels = amat.read(path, 2, 10)
    assert (inputs == 128).all() and labels.tolist() == [1, 1]
    path.write_bytes(codecs.BOM_UTF8 + b"x" + text.encode())
    with pytest.raises(ValueError, match="line 1: number 1 is 'x0.5', wanted a number"):
        amat.read(path, 2, 10)
    path.write_bytes(MARKS["utf-16-le"] + text.encode("utf-16-le"))
    with pytest.raises(ValueError, match="a.amat: is in UTF-16, wanted UTF-8"):
        amat.read(path, 2, 10)


def test_what_is_no_file_of_rows(tmp_path):
    path = tmp_path / "a"
    refusals = {
        b"\x89HDF\r\n\x1a\n" + bytes(9): "starts with the bytes 89 48 44 46 0d 0a 1a 0a, wanted a store, ",
        b"\0\0\x08\x01" + bytes(4): "is an idx file, wanted a file with a column of targets$",
        gzip.compress(b"minihash" + bytes(9)): "is packed by gzip, wanted it unpacked",
        gzip.compress(b"\x93NUMPY" + bytes(9)): "is packed by gzip, wanted it unpacked",
    }
    for content, message in refusals.items():
        path.write_bytes(content)
        for read in (open_rows, read_table):
            with pytest.raises(ValueError, match=f"a: {message}"):
                read(path)
    path.write_bytes(gzip.compress(b"\0\0\x08\x01" + bytes(4)))
    assert kind_of(path) == "idx"
