"""benchmarks/mutants.py: its table names what there is, and annotations are no code."""

from __future__ import annotations

import ast
import shlex
import sqlite3
from pathlib import Path

import pytest

from benchmarks import mutants


@pytest.mark.parametrize("module", mutants.TESTS)
def test_modules_and_their_tests_are_there(module: str) -> None:
    assert (mutants.CHECKOUT / mutants.path_of(module)).is_file()
    for word in shlex.split(mutants.TESTS[module].partition(" -")[0]):
        path, _, name = word.partition("::")
        assert f"def {name}" in (mutants.CHECKOUT / path).read_text("utf-8")


def test_annotations_are_skipped(tmp_path: Path) -> None:
    source = "def f(a: int | None = 1 | 2) -> int | None:\n    b: int | str = a | 1\n    return b\n"
    places = [(row, place) for row, line in enumerate(source.splitlines(), 1) for place in range(len(line))]
    bars = [place for place in places if source.splitlines()[place[0] - 1][place[1]] == "|"]
    database = sqlite3.connect(tmp_path / "session")
    database.execute("CREATE TABLE work_results (job_id PRIMARY KEY, worker_outcome)")
    database.execute("CREATE TABLE mutation_specs (job_id, start_pos_row, start_pos_col)")
    database.executemany("INSERT INTO mutation_specs VALUES (?, ?, ?)", [(str(bar), *bar) for bar in bars])
    database.commit()
    mutants.skip_annotations(tmp_path / "session", ast.parse(source))
    skipped = [job for (job,) in database.execute("SELECT job_id FROM work_results")]
    assert len(bars) == 5 and skipped == [str(bars[n]) for n in (0, 2, 3)]
    database.close()
