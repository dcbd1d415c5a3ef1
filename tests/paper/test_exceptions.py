"""The experiments on BG-RAND: one thing changed at a time, at the same storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.ledger import Ledger
from benchmarks.paper import exceptions, methods
from minihash.datasets import Dataset


def test_a_network_of_each_kind(tiny: Dataset, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(exceptions, "LEDGER", Ledger(tmp_path / "exceptions.jsonl", exceptions.KEYS))
    monkeypatch.setattr(
        exceptions,
        "VARIANTS",
        {
            "NN": exceptions.Variant("NN", settings={"epochs": 1}),
            "HashNet": exceptions.Variant(settings={"epochs": 1}),
            "6 units": exceptions.Variant(units=6, settings={"epochs": 1}),
        },
    )
    cells = exceptions.cells([0])
    assert len(cells) == 6 and {cell["layers"] for cell in cells} == {3, 5}
    for cell in cells[1:3]:
        exceptions.LEDGER.append(exceptions.run(cell))
    budget = methods.storage_budget([20, 12, 3], 1 / 8)
    assert [record["stored"] for record in exceptions.LEDGER.records()] == [pytest.approx(budget, abs=1)] * 2
    exceptions.report()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split("|")[1:-1] == [" NN ", *[" missing "] * 4]
    assert "missing" not in "".join(lines[3].split("|")[:4]) and lines[3].endswith("| missing | missing |")
