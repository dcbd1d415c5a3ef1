"""Stores: every row once in every epoch, bounded buffers, damage that is noticed; CSV files made stores."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import inputs_of, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from minihash.datasets import blocks, csv_rows, store
from minihash.datasets.csv_rows import convert
from minihash.datasets.file_dataset import read_table
from minihash.datasets.files import open_rows
from minihash.datasets.store import HEAD, TAIL, Store, StoreWriter


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(store, "BLOCK_ROWS", 4)
    monkeypatch.setattr(blocks, "BLOCKS", 3)
    monkeypatch.setattr(csv_rows, "CHUNK_BYTES", 64)


def write(path, rows):
    with open(path, "wb") as file:
        writer = StoreWriter(file, rows.shape[1] - 1)
        for part in np.array_split(rows, 3):
            writer.append(part)
        writer.finish()
    return Store(path)


def collected(found, batch_size, rng=None):
    """All rows of an epoch in their order, and the lengths of the batches."""
    batches = [(inputs.copy(), targets.copy()) for inputs, targets, _ in found.batches(batch_size, rng)]
    rows = np.concatenate([np.column_stack([targets, inputs]) for inputs, targets in batches])
    return rows, [len(targets) for _, targets in batches]


# ---------------------------------------------------------------------------------------- reading


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 60), batch_size=st.integers(1, 70), seed=st.none() | st.integers(0, 9))
def test_every_row_comes_once_in_every_epoch(tmp_path_factory, count, batch_size, seed):
    rows = rows_of(count)
    found = write(tmp_path_factory.mktemp("store") / "a.mh", rows)
    rng = None if seed is None else np.random.default_rng(seed)
    orders = []
    for _ in range(2):
        read, lengths = collected(found, batch_size, rng)
        if rng is None:
            np.testing.assert_array_equal(read, rows)
        orders.append(read[:, 0].tolist())
        np.testing.assert_array_equal(read[np.argsort(read[:, 0])], rows)
        assert sum(lengths) == count and set(lengths[:-1]) <= {batch_size} and lengths[-1] <= batch_size
    if rng is not None and count > 20:
        assert orders[0] != orders[1] and orders[0] != sorted(orders[0])


def test_the_seed_decides_the_order(tmp_path):
    found = write(tmp_path / "a.mh", rows_of(50))
    first, same, other = (collected(found, 8, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert (first == same).all() and not (first == other).all()


def test_rows_far_apart_in_the_file_come_near_each_other(tmp_path):
    """Shuffled blocks, and rows shuffled among the blocks of a buffer: neighbours are parted."""
    found = write(tmp_path / "a.mh", rows_of(400))
    order = collected(found, 400, np.random.default_rng(0))[0][:, 0]
    assert (np.abs(np.diff(order)) == 1).mean() < 0.3
    assert abs(np.corrcoef(order, np.arange(400))[0, 1]) < 0.3


def test_what_is_known_at_once(tmp_path):
    rows = rows_of(50)
    found = write(tmp_path / "a.mh", rows)
    assert (len(found), found.rows, found.features, found.num_blocks) == (50, 50, 3, 13)
    np.testing.assert_allclose(found.statistics.mean, rows[:, 1:].mean(axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.statistics.std, rows[:, 1:].std(axis=0), rtol=1e-5)


def test_moments_do_not_cancel(tmp_path):
    rows = rows_of(60)
    rows[:, 1] = 1e6 + np.arange(60) % 2
    found = write(tmp_path / "a.mh", rows)
    assert found.statistics.mean[0] == 1e6 + 0.5 and found.statistics.std[0] == 0.5


def test_whoever_stops_early_stops_the_reader(tmp_path):
    found = write(tmp_path / "a.mh", rows_of(200))
    before = threading.active_count()
    batches = found.batches(5, np.random.default_rng(0))
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_without_a_thread_the_rows_are_the_same(tmp_path, monkeypatch):
    found = write(tmp_path / "a.mh", rows_of(200)).part(3, 190)
    ref, _ = collected(found, 5, np.random.default_rng(0))

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    np.testing.assert_array_equal(collected(found, 5, np.random.default_rng(0))[0], ref)
    batches = found.batches(5)
    next(batches)
    batches.close()


def test_two_buffers_are_all_the_memory(tmp_path, monkeypatch):
    found = write(tmp_path / "a.mh", rows_of(500))
    made, empty = [], np.empty
    monkeypatch.setattr(blocks.np, "empty", lambda *a, **k: made.append(empty(*a, **k)) or made[-1])
    for _ in found.batches(7, np.random.default_rng(0)):
        pass
    assert sorted(len(array) for array in made if array.ndim == 2) == [7, 12, 12]


# ----------------------------------------------------------------------------------------- damage


@pytest.mark.slow
def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "a.mh"
    write(path, rows_of(10))
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.mh: .*, wanted a file of minihash data convert$"):
            for _ in Store(path).batches(4):
                pass


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_cut_off_or_nonsense_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("store") / "a.mh"
    write(path, rows_of(10))
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    nonsense = data.draw(st.binary(max_size=60))
    for damaged in (content[:cut], content[cut:][1:], content + nonsense + b"x", nonsense):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.mh: .*, wanted a file of minihash data convert$"):
            Store(path)


def test_an_index_of_another_version_is_refused(tmp_path):
    path = tmp_path / "a.mh"
    write(path, rows_of(3))
    content = path.read_bytes()
    path.write_bytes(HEAD.pack(b"minihash", 2, 4) + content[HEAD.size :])
    with pytest.raises(ValueError, match="has version 2, wanted 1"):
        Store(path)
    assert TAIL.size == 20


def test_the_writer_refuses():
    class Nothing:
        def write(self, content):
            pass

    writer = StoreWriter(Nothing(), 2)
    with pytest.raises(ValueError, match=r"^rows has shape \(2, 2\), wanted \(rows, 3\)$"):
        writer.append(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="^row 1 has NaN or infinity, wanted finite"):
        writer.append(np.array([[0, 0, 0], [0, 1e50, 0]]))


# -------------------------------------------------------------------------------------------- CSV


def csv(path: Path, rows: np.ndarray, header: str = "", end: str = "\n", opener=open) -> Path:
    lines = [*([header] if header else []), *(",".join(map(repr, row)) for row in rows.tolist())]
    with opener(path, "wb") as file:
        file.write((end.join(lines) + end).encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("opener", [open, gzip.open])
@pytest.mark.parametrize("label_column", [0, 2, -1])
@pytest.mark.parametrize("header", ["", "a,b,c,d"])
def test_a_csv_file_becomes_a_store(tmp_path, end, opener, label_column, header):
    rows = rows_of(50)
    source = csv(tmp_path / "a.csv", rows, header, end, opener)
    seen = []
    options = {"header": bool(header), "label_column": label_column}
    progress = convert(source, tmp_path / "a.mh", **options, report=lambda now: seen.append(now.rows))
    assert (progress.rows, progress.skipped) == (50, 0) and len(seen) > 5 and seen == sorted(seen)
    read, _ = collected(Store(tmp_path / "a.mh"), 10)
    order = [label_column % 4, *(column for column in range(4) if column != label_column % 4)]
    np.testing.assert_array_equal(read, rows[:, order])


BAD = {
    "1,2,3": "has 3 fields, wanted 4",
    "1,2,3,4,5": "has 5 fields, wanted 4",
    "1,2,x,4": "has 'x', wanted finite numbers",
    "1,,3,4": "has '', wanted finite numbers",
    "1,2,nan,4": "has 'nan', wanted finite numbers",
    "1,2,1e50,4": "has '1e50', wanted finite numbers",
    "1;2;3;4": "has '1;2;3;4', wanted finite numbers",
}


@pytest.mark.parametrize("line, what", BAD.items(), ids=BAD)
@pytest.mark.parametrize("place", [1, 2, 17])
def test_a_bad_line_is_named_and_nothing_is_left(tmp_path, monkeypatch, line, what, place):
    if place == 1:  # most of the first chunk's lines say how many fields there are
        monkeypatch.setattr(csv_rows, "CHUNK_BYTES", 1000)
    source = csv(tmp_path / "a.csv", rows_of(30))
    lines = source.read_text().splitlines()
    lines.insert(place - 1, line)
    source.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=rf"a\.csv: line {place} {what}$"):
        convert(source, tmp_path / "a.mh")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    progress = convert(source, tmp_path / "a.mh", skip_bad=1)
    assert (progress.rows, progress.skipped) == (30, 1)
    np.testing.assert_array_equal(collected(Store(tmp_path / "a.mh"), 30)[0], rows_of(30))


WORDS = "label,m_jj,Größe", '"y","x 1"', ",a,b", "α;β"
NO_WORDS = "label,1,2", "x,2,3", "1,2,3x", "NA,NA,NA", "nan,null,?", "1;2", '"1","2"', ",,", "1e50,2,3"


@pytest.mark.parametrize("line", [*WORDS, *NO_WORDS])
def test_to_leave_the_first_line_out_is_advised_only_of_names(tmp_path, monkeypatch, line):
    """Who follows the advice on a damaged row of numbers loses it."""
    monkeypatch.setattr(csv_rows, "CHUNK_BYTES", 1000)
    source = tmp_path / "a.csv"
    row = ",".join("1" * (line.count(",") + 1))
    source.write_text("\n".join([line, *[row] * 5]), encoding="utf-8")
    hint = r" \(--header, header=True: leave it out\)" if line in WORDS else ""
    with pytest.raises(ValueError, match=rf"a\.csv: line 1 has .*, wanted finite numbers{hint}$"):
        convert(source, tmp_path / "a.mh")


def test_more_bad_lines_than_allowed(tmp_path):
    source = csv(tmp_path / "a.csv", rows_of(30))
    lines = source.read_text().splitlines()
    for place in (5, 12, 20):
        lines[place - 1] = "what,is,this,?"
    source.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="line 20 has 'what', wanted finite numbers; 2 bad lines were"):
        convert(source, tmp_path / "a.mh", skip_bad=2)
    assert convert(source, tmp_path / "a.mh", skip_bad=3).rows == 27


def test_a_negative_weight_is_a_bad_line(tmp_path):
    rows = rows_of(30)
    rows[:, 2], rows[11, 2] = abs(rows[:, 2]), -2
    source = csv(tmp_path / "a.csv", rows)
    with pytest.raises(ValueError, match=r"a\.csv: line 12 has the weight -2, wanted one >= 0$"):
        convert(source, tmp_path / "a.mh", weight_column=2)
    progress = convert(source, tmp_path / "a.mh", weight_column=2, skip_bad=1)
    assert (progress.rows, progress.skipped) == (29, 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("opener", [open, gzip.open])
def test_a_pipe_loses_no_row_or_is_refused(tmp_path, opener):
    content = csv(tmp_path / "a.csv", rows_of(30), opener=opener).read_bytes()
    os.mkfifo(tmp_path / "pipe")

    def write():
        (tmp_path / "pipe").write_bytes(content)

    writer = threading.Thread(target=write)
    writer.start()
    assert convert(tmp_path / "pipe", tmp_path / "a.mh").rows == 30
    writer.join()
    for read in (open_rows, read_table, lambda path: inputs_of(path, 3)):
        with pytest.raises(ValueError, match="pipe: is no regular file, wanted one"):
            read(tmp_path / "pipe")


def test_the_store_is_not_written_over_its_source(tmp_path):
    source = csv(tmp_path / "a.csv", rows_of(30))
    before = source.read_bytes()
    with pytest.raises(ValueError, match=r"a\.csv: is read, wanted another file to write"):
        convert(source, tmp_path / ".." / tmp_path.name / "a.csv")
    assert source.read_bytes() == before


def test_empty_lines_are_passed_over(tmp_path):
    source = tmp_path / "a.csv"
    source.write_text("\n1,2\n\n  \n3,4\n\n")
    assert convert(source, tmp_path / "a.mh").rows == 2


@pytest.mark.parametrize(
    "content, what",
    [
        (b"", "has no rows"),
        (b"\n\n", "has no rows"),
        (b"1\n2\n", "has 1 number in a line"),
        (gzip.compress(b"1,2\n" * 100)[:-20], "is damaged"),
        (gzip.compress(b"1,2\n" * 100)[:10] + b"x" * 30, "is damaged"),
    ],
)
def test_files_that_are_no_rows_are_refused(tmp_path, content, what):
    source = tmp_path / "a.csv"
    source.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.csv: {what}"):
        convert(source, tmp_path / "a.mh")
    assert not (tmp_path / "a.mh").exists()


def test_a_label_that_is_not_there_is_refused(tmp_path):
    source = csv(tmp_path / "a.csv", rows_of(3))
    with pytest.raises(ValueError, match="^label_column is 4, wanted -4 <= label_column < 4$"):
        convert(source, tmp_path / "a.mh", label_column=4)
