"""HIGGS: the network of the slides, trained in a process of its own, in bounded memory; ledger and table."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.higgs import higgs, process
from benchmarks.higgs.synthetic import synthesize_higgs
from minihash.cli import main
from minihash.datasets.file_dataset import read_table
from minihash.datasets.store import StoreWriter
from minihash.layers import HashedLinear

pytestmark = pytest.mark.slow  # trains in processes of its own

SLIDES = "8 buckets a layer"


def records(folder: Path) -> dict[str, dict]:
    lines = (folder / higgs.LEDGER).read_text().splitlines()
    return {record["network"]: record for record in map(json.loads, lines)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("higgs") / "a.mh"
    synthesize_higgs(path, 3000)
    return path


def test_the_network_is_that_of_the_slides(store: Path) -> None:
    sizes, hashed, _ = higgs.NETWORKS[SLIDES]
    network = process.build({"sizes": sizes, "hashed": hashed, "seed": 0}, read_table(store))
    assert (network.num_virtual, network.num_parameters) == (8410, 32)
    layers = [layer for layer in network.layers if isinstance(layer, HashedLinear)]
    assert [layer.num_buckets for layer in layers] == [8] * 4 and {layer.tile for layer in layers} == {1}


def test_100_000_rows_in_300_megabytes(tmp_path: Path, capfd: pytest.CaptureFixture[str], parser) -> None:
    argv = ["train", "--rows", "100000", "--out", str(tmp_path), "--networks", SLIDES, "1/8"]
    assert main(argv, parser) == 0
    out = capfd.readouterr().out
    found = records(tmp_path)
    for name, record in found.items():
        memory = record["memory"]
        parts = ("process", "data", "model", "scores", "workspace")
        assert memory["peak"] <= 300e6 and memory["workspace"] <= 30e6
        assert memory["peak"] == pytest.approx(sum(memory[part] for part in parts), rel=0.1)
        assert memory["data"] == (2 * 8 * 8192 + 1024) * 29 * 4
        assert record["rows"] == 100_000 and record["test_rows"] == 100_000 // 22
        assert f"{name}, seed 0: AUC {record['auc']:.4f}, {record['rows_per_second']:,.0f} rows/s" in out
    assert found["1/8"]["auc"] > 0.6 and found[SLIDES]["auc"] > 0.54 and found["1/8"]["stored"] == 1050
    assert (tmp_path / "higgs.md").read_text().startswith("| network | stored |")
    assert "there is nothing to compare with" in out

    before = (tmp_path / higgs.LEDGER).read_bytes()
    assert main(argv, parser) == 0  # nothing is trained again
    assert (tmp_path / higgs.LEDGER).read_bytes() == before


def test_a_file_of_ones_own_and_several_seeds(store: Path, tmp_path: Path, capfd, parser) -> None:
    argv = ["train", "--data", str(store), "--networks", "1/8", "--seeds", "0", "1"]
    assert main([*argv, "--epochs", "2", "--batch-size", "128", "--out", str(tmp_path)], parser) == 0
    out = capfd.readouterr().out
    spreads = r"\| 0\.\d{4} \(0\.\d{4} to 0\.\d{4}\) \| [\d,]+ \([\d,]+ to [\d,]+\) \|"
    assert re.search(spreads, out) and "| 1/8 | 1,050 | 8,410 |" in out
    lines = (tmp_path / higgs.LEDGER).read_text().splitlines()
    assert [json.loads(line)["rows"] for line in lines] == [2100, 2100]
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / store.name  # other rows under the same name are not those of the ledger
    synthesize_higgs(other, 3000, seed=1)
    argv = ["train", "--data", str(other), "--networks", "1/8", "--out", str(tmp_path)]
    assert main(argv, parser) == 0
    assert len((tmp_path / higgs.LEDGER).read_text().splitlines()) == 3


def test_what_is_refused(tmp_path: Path, capfd, parser) -> None:
    def fails(*argv: str) -> str:
        capfd.readouterr()
        assert main(["train", "--out", str(tmp_path), *argv], parser) == 1
        return capfd.readouterr().err

    assert "networks is 'tiny', wanted one of '8 buckets a layer'" in fails("--networks", "tiny")
    narrow = tmp_path / "narrow.mh"
    with open(narrow, "wb") as file:
        writer = StoreWriter(file, 2)
        writer.append(np.ones((9, 3)))
        writer.finish()
    assert "has 9 rows of 2 features, wanted more than 2 of 28" in fails("--data", str(narrow))
    assert "none.csv" in fails("--data", str(tmp_path / "none.csv"))


def test_a_failed_process_ends_in_one_line(store: Path, tmp_path: Path) -> None:
    planned = higgs.plans([SLIDES], [0], "a", 10**9, 0, epochs=1)
    with pytest.raises(ChildProcessError, match="^training of '8 buckets a layer' failed: .*FileNotFound"):
        higgs.run(planned, tmp_path / "none.mh", tmp_path)
    assert not (tmp_path / higgs.LEDGER).exists()


def test_ratios_compare_like_with_like() -> None:
    speeds = {"1/8": 30.0, "dense, PyTorch": 10.0, "wide, 1/64": 8.0, "wide, dense, PyTorch": 2.0}
    found = [{"network": name, "seed": 0, "rows_per_second": speed} for name, speed in speeds.items()]
    assert higgs.ratios(found).splitlines() == [
        "1/8: 3.00 times the rows a second of dense, PyTorch",
        "wide, 1/64: 4.00 times the rows a second of wide, dense, PyTorch",
    ]
    more = {"seed": 1, "rows_per_second": 20.0}, {"seed": 1, "rows_per_second": 4.0}
    found = [record | {"network": name} for record, name in zip((*found[:2], *more), 2 * ("1/8", "PyTorch"))]
    assert higgs.ratios(found) == "1/8: 4.00 (3.00 to 5.00) times the rows a second of PyTorch"


def test_test_rows_of_one_class_have_no_auc(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 29))
    rows[:, 0] = np.arange(60) < 30
    with open(tmp_path / "a.mh", "wb") as file:
        writer = StoreWriter(file, 28)
        writer.append(rows)
        writer.finish()
    planned = higgs.plans([SLIDES], [0], "a", 50, 10, batch_size=10)
    (found,) = higgs.run(planned, tmp_path / "a.mh", tmp_path)
    assert found["auc"] is None and found["loss"] > 0
    assert "NaN" not in (tmp_path / higgs.LEDGER).read_text()
    assert "| undefined |" in higgs.table([found])
    assert "| 0.5000 |" in higgs.table([found, {**found, "auc": 0.5}])
    with pytest.raises(ValueError, match="^networks is 'tiny', wanted one of '8 buckets a layer'"):
        higgs.plans(["tiny"], [0], "a", 50, 10)


def test_an_auc_of_one_class_is_undefined(tmp_path: Path, capfd: pytest.CaptureFixture[str], parser) -> None:
    rows = np.random.default_rng(0).normal(size=(400, 29))
    rows[:, 0] = np.arange(400) < 200  # the test rows are the last
    with open(tmp_path / "a.mh", "wb") as file:
        writer = StoreWriter(file, 28)
        writer.append(rows)
        writer.finish()
    argv = ["train", "--data", str(tmp_path / "a.mh"), "--networks", "1/8"]
    assert main([*argv, "--batch-size", "128", "--out", str(tmp_path)], parser) == 0
    out = capfd.readouterr().out
    assert re.search(r"^1/8, seed 0: AUC undefined, [\d,]+ rows/s, peak \d+ MB$", out, re.MULTILINE)
    assert "| undefined |" in (tmp_path / "higgs.md").read_text()
