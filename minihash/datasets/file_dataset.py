"""A data set of the user's own: the rows of a file in three parts, and what a network must know of them."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from minihash import checks
from minihash.datasets import splitting
from minihash.datasets.classes import count_classes, describe, standardization, understand
from minihash.datasets.files import TemporaryFolder
from minihash.datasets.kinds import kind_of
from minihash.datasets.labelled import read_labelled
from minihash.datasets.npy import NpyRows
from minihash.datasets.rows import ArrayRows, Rows
from minihash.datasets.splitting import TEST, TRAIN, VALIDATION
from minihash.datasets.store import Store, StoreWriter
from minihash.datasets.tables import (
    Layout,
    Seen,
    Table,
    find_column,
    find_target,
    layout_like,
    learn_layout,
    open_table,
    read_rows,
    simple_layout,
)
from minihash.datasets.text_table import TextTable
from minihash.encoding import called
from minihash.files import naming_values
from minihash.schema import Model, Schema, Split
from minihash.tasks import MISSING, TASKS
from minihash.text import counted

COUNTED_ROWS = 8192


@dataclass(frozen=True, eq=False)
class FileDataset:
    """The rows of a file in three parts, and what a network needs to know of them.

    name : of the file.
    rows : all of them.
    parts : (rows,) uint8, the part of each: `splitting.TRAIN`, `VALIDATION` or `TEST`.
    input_shift, input_scale, output_shift, output_scale : as in `Network`.
    schema : the task, and how the file is laid out.
    class_names : the name of each class; () for regression.
    target, what : what the target is, and the features and what is left out, in words.
    notes : sentences on what was taken for what, which commands print.
    """

    name: str
    rows: Rows
    parts: np.ndarray
    input_shift: Any
    input_scale: Any
    output_shift: float
    output_scale: float
    schema: Schema
    class_names: tuple[str, ...]
    target: str
    what: str
    notes: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """What the targets are: one of TASKS."""
        return self.schema.task

    @property
    def features(self) -> int:
        """Inputs of a network for the rows."""
        return self.rows.features

    @property
    def arguments(self) -> dict[str, Any]:
        """What a network for the rows must know: arguments of `mlp` and `Network`."""
        scaling = ("input_shift", "input_scale", "output_shift", "output_scale", "schema")
        return {name: getattr(self, name) for name in scaling} | {"class_names": self.class_names or None}

    @property
    def train(self) -> Rows:
        """The rows to train on."""
        return self.rows.chosen(self.parts == TRAIN)

    @property
    def validation(self) -> Rows:
        """The rows to choose by, which may be none."""
        return self.rows.chosen(self.parts == VALIDATION)

    @property
    def test(self) -> Rows:
        """The rows to report, which may be none."""
        return self.rows.chosen(self.parts == TEST)

    def train_and_validation(self) -> Rows:
        """Return all rows that are not test rows."""
        return self.rows.chosen(self.parts != TEST)


class _Opened(NamedTuple):
    """A file that has been opened.

    rows : with numbers as targets.
    labels : the names of the classes 0, 1, … where it says them itself.
    schema : of its table, as far as its columns tell; the task is the one of labels.
    target, what : what the target is called; the features and what is left out, in words.
    input_shift, input_scale : what to do with its inputs; None: they are standardised.
    """

    rows: Rows
    labels: tuple[str, ...] | None
    schema: Schema
    target: str
    what: str
    notes: tuple[str, ...] = ()
    input_shift: Any = None
    input_scale: Any = None


def read_table(
    path: str | os.PathLike[str],
    *,
    target: str | int | None = None,
    task: str | None = None,
    drop: str | int | Sequence[str | int] = (),
    missing: str | None = None,
    header: bool | None = None,
    split: Split | None = None,
    like: Model | None = None,
    measured: bool = False,
) -> FileDataset:
    """Read a table of labelled rows as people have it: what the command `minihash train FILE` uses.

    A text file's separator, decimal sign, quotes and header are recognised. Words in a column of features
    become an input each, True and False are 1 and 0, an index of pandas is left out. Targets are classes
    where they are words, or FEW different whole numbers at most; else they are numbers. The rows of a text
    or Parquet file are made a store in the folder of temporary files: they may be larger than memory.

    Parameters
    ----------
    path : a text file (.gz or not), Parquet (extra `tables`), .npy, a store, or .npz as `read_labelled`
        reads.
    target : the column's name, or its number from 0, −1 is the last; by default the one called target, label,
        class or y, and of a file without names the first.
    task : "classification", "binary" or "regression"; by default what the targets look like.
    drop : columns to leave out, by names or numbers.
    missing : "mean" fills empty cells with the column's mean, "drop" leaves their rows out, and both leave
        out rows without a target; None refuses empty cells.
    header : whether the first line has names; by default what it looks like.
    split : which rows are trained on; by default as those of `like`, else shuffled, a tenth each to choose
        settings by and to report.
    like : a network; the file is read as the one that it was trained with.
    measured : whether the rows are only measured: of another file than that one, all are test rows.

    Returns
    -------
    A `FileDataset`. Inputs are standardised by mean and standard deviation over the whole file, targets that
    are numbers by those of the training rows: `mlp(sizes, **dataset.arguments)` makes a network of it.

    Raises
    ------
    ValueError with the file's name, and the column or line, for what does not fit; OSError if it cannot be
    read; ImportError if it needs a package that is missing.
    """
    if not isinstance(path, (str, os.PathLike)):
        use = "fit takes arrays and DataFrames as they are: fit(network, (inputs, targets))"
        raise ValueError(f"path is a {type(path).__name__}, wanted the name of a file: {use}")
    drop = (drop,) if isinstance(drop, (str, int)) else drop
    if missing is not None:
        checks.choice("missing", missing, MISSING)
    if task is not None:
        checks.choice("task", task, tuple(TASKS))
    known = None if like is None else like.schema
    split = split or (known.split if known else None) or Split()
    opened = _open(path, target, drop, missing, header, like)
    rows, targets = opened.rows, _targets(opened, split, task)
    task, names, values = understand(rows.name, targets, opened.labels, task, like)
    if values is not None:
        rows, targets = rows.labelled(values), np.searchsorted(values, targets)
    whole = len(targets) == len(rows)
    trained, split = split, replace(split, rows=len(rows), checksum=_checksum(targets) if whole else None)
    labels, notes = targets if names and whole else None, list(opened.notes)
    if measured and trained.rows is not None and split != trained:
        parts = np.full(len(rows), TEST, np.uint8)
        notes.append("it is not the file that the model was trained with: all rows are measured")
    else:
        parts = splitting.split(len(rows), labels, split)
    if not measured and len(targets) and targets.min() == targets.max():
        notes.append("warning: all targets are the same, there is nothing to learn from them")
    if labels is not None and (parts != TEST).any():
        notes += splitting.missing_classes(parts, labels, names)
    shift, scale = (0.0, 1.0) if names else standardization(targets[parts == TRAIN])
    std = rows.statistics.std if opened.input_scale is None else 1.0
    return FileDataset(
        name=os.fspath(path),
        rows=rows,
        parts=parts,
        input_shift=rows.statistics.mean if opened.input_shift is None else opened.input_shift,
        input_scale=1 / np.where(std > 0, std, 1) if opened.input_scale is None else opened.input_scale,
        output_shift=shift,
        output_scale=scale,
        schema=replace(opened.schema, task=task, split=split),
        class_names=names,
        target=f"{opened.target} ({describe(targets, names)})",
        what=opened.what,
        notes=tuple(notes),
    )


def _open(
    path: Any, target: Any, drop: Sequence[str | int], missing: str | None, header: bool | None, like: Any
) -> _Opened:
    kind, schema = kind_of(path), None if like is None else like.schema
    table = kind in ("csv", "parquet")
    if not table and (drop or missing):
        raise ValueError(f"{path}: is a file of the kind {kind}: drop and missing are for text and Parquet")
    if table:
        return _open_table(path, target, drop, missing, header, like)
    if kind == "npz":
        data = read_labelled(path, None if like is None else count_classes(like))
        what, facts = counted(data.features, "feature"), (data.notes, data.input_shift, data.input_scale)
        return _Opened(ArrayRows(*data.train), data.class_names, data.schema, "labels", what, *facts)
    if kind == "store":
        store = Store(path)
        what = counted(store.features, "feature")
        return _Opened(store, None, Schema("regression", standardized=True), "of the store", what)
    if kind != "npy":
        raise ValueError(f"{path}: is an {kind} file, wanted a file with a column of targets")
    place = (schema.target if schema and schema.columns else 0) if target is None else int(target)
    rows = NpyRows(path, label_column=place)
    columns = rows.features + 1
    wanted = schema.columns if schema and schema.columns else columns
    if columns != wanted:
        raise ValueError(f"{path}: has {columns} columns, and the model was trained with {wanted}")
    if schema and schema.columns and place % columns != schema.target:
        raise ValueError(f"target is {target!r}, and the model was trained with column {schema.target}")
    layout = Schema("regression", columns, place % columns, standardized=True)
    return _Opened(rows, None, layout, f"column {place % columns}", counted(rows.features, "feature"))


def _open_table(
    path: Any, target: Any, drop: Sequence[str | int], missing: str | None, header: bool | None, like: Any
) -> _Opened:
    """Open a text or Parquet file: its rows in a store."""
    table, names = open_table(path, header), None if like is None else like.class_names
    notes = [f"{table.path}: {table.dialect.describe()}"] if isinstance(table, TextTable) else []
    if like is not None and like.schema is not None and like.schema.table:
        layout = layout_like(table, like.schema, names, header=header, needs_target=True, target=target)
        _check_agreement(table, layout, target, drop, missing)
        store, seen = _store(table, layout)
    else:
        layout, store, seen = _learned(table, find_target(table, target), drop, missing, names)
    notes += layout.notes() + seen.notes()
    schema = _schema(table, layout)
    return _Opened(store, layout.labels, schema, layout.target_name, layout.describe(), tuple(notes))


def _check_agreement(
    table: Table, layout: Layout, target: Any, drop: Sequence[str | int], missing: str | None
) -> None:
    """Refuse what is said of a table if its model was trained with something else."""
    if target is not None and find_column(table, "target", target) != layout.target:
        raise ValueError(f"target is {target!r}, and the model was trained with {layout.target_name!r}")
    for column in drop:
        if find_column(table, "drop", column) in (*layout.places, layout.target):
            raise ValueError(f"drop has {column!r}, and the model was trained with it")
    if missing not in (None, layout.missing):
        trained = f"with {layout.missing!r}" if layout.missing else "without empty cells"
        raise ValueError(f"missing is {missing!r}, and the model was trained {trained}")


def _learned(
    table: Table, target: int, drop: Sequence[str | int], missing: str | None, names: tuple[str, ...] | None
) -> tuple[Layout, Store, Seen]:
    """Return what the columns of a table are, and their rows in a store."""
    if isinstance(table, TextTable) and table.dialect.plain and not drop and not missing:
        layout = simple_layout(table, target)
        with contextlib.suppress(ValueError):  # some cell is no number: what to make of it takes more care
            return layout, *_store(table, layout)
    layout = learn_layout(table, target, drop, missing)
    if layout.labels and names:
        layout = replace(layout, labels=names)
    return layout, *_store(table, layout)


def _store(table: Table, layout: Layout) -> tuple[Store, Seen]:
    """Return the rows of a table in a store, and what was met in it."""
    folder, seen = TemporaryFolder(), Seen()
    with open(folder.path / "rows.mh", "xb") as file:
        writer = StoreWriter(file, len(layout.inputs))
        with naming_values(table.path):
            for rows, _ in read_rows(table, layout, seen):
                writer.append(rows)
            if not writer.rows:
                raise ValueError("has no rows, wanted one at least")
            writer.finish([called(name) for name in (layout.target_name, *layout.inputs)])
    store = Store(folder.path / "rows.mh")
    store.name, store.folder = table.path, folder
    return store, seen


def _schema(table: Table, layout: Layout) -> Schema:
    """Return what a network must know of a table to read others like it."""
    all_but_target = tuple(place for place in range(table.width) if place != layout.target)
    return Schema(
        "regression",
        columns=table.width,
        target=layout.target,
        header=bool(table.names),
        feature_names=layout.inputs if table.names else None,
        standardized=True,
        encoding=None if layout.is_simple else layout.columns,
        places=None if layout.places == all_but_target else layout.places,
        target_name=layout.target_name if table.names else None,
        missing=layout.missing,
    )


def _checksum(targets: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(targets, "<f4").tobytes())


def _targets(opened: _Opened, split: Split, task: str | None) -> np.ndarray:
    """Return the targets of all rows; where the ends are all that is asked for, these."""
    low, high, whole = opened.rows.bounds
    if split.how == "last" and task != "regression" and (low, high, whole) == (0, 1, True):
        return np.array([low, high])  # a large file need not be read for it
    if isinstance(opened.rows, ArrayRows):
        return opened.rows.arrays.targets
    return np.concatenate([batch.targets.copy() for batch in opened.rows.batches(COUNTED_ROWS)])
