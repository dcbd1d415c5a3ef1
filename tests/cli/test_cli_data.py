"""The command `minihash data`: make, show, convert and synthesize."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minihash import datasets
from minihash.datasets import made
from minihash.datasets.store import Store

Run = Callable[..., tuple[int, str, str]]
Fails = Callable[..., str]


@pytest.fixture(autouse=True)
def few_test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(made.RECIPES, "rect", replace(made.RECIPES["rect"], test=30))


def test_make_then_list(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rect" / "rect.npz"
    assert run("data", "make", "rect", "--data-dir", tmp_path) == (0, f"{path}\n", "")
    assert path.is_file()
    line = run("data", "list", "--data-dir", tmp_path)[1].splitlines()[-2]
    assert line == f"rect            1,200 train     30 test  made, seed 2007, in {path.parent}"


def test_make_fails(fails: Fails, tmp_path: Path) -> None:
    where = ("--data-dir", tmp_path / "none")
    assert "minihash data fetch mnist" in fails(1, "data", "make", "rot", *where)
    assert "name is 'mnist', wanted one of 'basic'" in fails(1, "data", "make", "mnist", *where)
    photographs = ("--photographs", tmp_path)
    assert "rect has no photographs" in fails(1, "data", "make", "rect", *photographs, *where)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["mnist-small", "rect"])
def test_show(name: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("matplotlib.image")
    monkeypatch.chdir(tmp_path)
    assert run("data", "show", name, "--data-dir", tmp_path) == (0, f"{name}.png\n", "")
    assert run("data", "show", name, "--data-dir", tmp_path, "--rows", 2, "--out", "two.png")[0] == 0
    long, short = image.imread(f"{name}.png"), image.imread("two.png")
    assert long.shape[1] == short.shape[1] > 28 * 16 and long.shape[0] > 2 * short.shape[0]
    assert len(np.unique(short[..., 0])) > 2
    assert not list(tmp_path.glob(".*"))


def test_show_writes_class_names_and_origin(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text as text
        argv = ("--data-dir", tmp_path, "--rows", 1, "--out", tmp_path / "a.svg")
        assert run("data", "show", "rect", *argv)[0] == 0
    text = (tmp_path / "a.svg").read_text("utf-8")
    data = datasets.load("rect", tmp_path)
    tall = int(data.train[1][:16].sum())
    assert (text.count(">tall<"), text.count(">wide<")) == (tall, 16 - tall)
    assert "rect: 1,000 train, 200 validation, 30 test" in text and data.origin in text


def test_show_fails(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "wanted png, svg or pdf" in fails(1, "data", "show", "rect", "--out", "a.txt")
    assert "no such folder" in fails(1, "data", "show", "mnist-small", "--out", "none/a.png")
    assert "'cifar', wanted one of" in fails(1, "data", "show", "cifar")
    assert "--rows" in fails(2, "data", "show", "rect", "--rows", "0")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert "pip install matplotlib" in fails(1, "data", "show", "mnist-small")
    assert list(tmp_path.iterdir()) == []


def test_convert(run: Run, tmp_path: Path) -> None:
    source, target = tmp_path / "a.csv", tmp_path / "a.mh"
    source.write_text("label,a,b\n" + "1,2,3\n" * 50 + "x,2,3\n")
    status, out, err = run("data", "convert", source, target, "--header", "--skip-bad", "1")
    assert (status, err) == (0, "") and re.fullmatch(
        rf"50 rows, [\d,]+ a second, 1 lines skipped: wrote {re.escape(str(target))}\n", out
    )
    assert len(Store(target)) == 50 and Store(target).features == 2
    target.unlink()
    status, out, err = run("data", "convert", source, target, "--header")
    assert status == 1 and "a.csv: line 52 has 'x', wanted finite numbers" in err and err.count("\n") == 1
    assert not target.exists()


def test_convert_with_weights(run: Run, tmp_path: Path) -> None:
    source, target = tmp_path / "a.csv", tmp_path / "a.mh"
    source.write_text("1,2,3,4\n" * 5)
    assert run("data", "convert", source, target, "--weight-column", "-1")[0] == 0
    inputs, targets, weight = next(Store(target).batches(5))
    assert (inputs[0].tolist(), targets[0], weight[0]) == ([2, 3], 1, 4)


def test_synthesize(run: Run, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.mh", "b.mh", "c.mh")]
    for path, seed in zip(paths, (("--seed", 1), ("--seed", 1), ())):
        status, out, err = run("data", "synthesize", "higgs", path, "--rows", 50, *seed)
        assert (status, err) == (0, "") and re.fullmatch(
            rf"50 rows, [\d,]+ a second: wrote {re.escape(str(path))}, synthetic\n", out
        )
    assert len(Store(paths[0])) == 50 and Store(paths[0]).features == 28
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()


def test_synthesize_says_how_far_it_is(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minihash.cli.data.SECONDS", 0)
    out = run("data", "synthesize", "higgs", tmp_path / "a.mh", "--rows", 10_000)[1]
    assert [line.partition(" rows, ")[0] for line in out.splitlines()] == ["8,192", "10,000", "10,000"]


def test_synthesize_fails(fails: Fails, tmp_path: Path) -> None:
    path = tmp_path / "a.mh"
    assert "--rows: '0' is not an integer" in fails(2, "data", "synthesize", "higgs", path, "--rows", 0)
    assert "'susy'" in fails(2, "data", "synthesize", "susy", path, "--rows", 5)
    assert "--rows" in fails(2, "data", "synthesize", "higgs", path)
    seed = ("--seed", 2**32)
    assert "--seed: '4294967296' is not" in fails(2, "data", "synthesize", "higgs", path, "--rows", 5, *seed)
    none = tmp_path / "none" / "a.mh"
    assert "no such folder" in fails(1, "data", "synthesize", "higgs", none, "--rows", 5)
    assert "is a folder" in fails(1, "data", "synthesize", "higgs", tmp_path, "--rows", 5)
    assert list(tmp_path.iterdir()) == []
