"""`python -m benchmarks.paper list`, `make` and `show`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import Fails, Run

from benchmarks.paper import data
from benchmarks.paper.data import made


@pytest.fixture(autouse=True)
def few_test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(made.RECIPES, "rect", replace(made.RECIPES["rect"], test=30))


def test_make_then_list(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rect" / "rect.npz"
    assert run("make", "rect", "--data-dir", tmp_path) == (0, f"{path}\n", "")
    assert path.is_file()
    line = run("list", "--data-dir", tmp_path)[1].splitlines()[-2]
    assert line == f"rect            1,200 train     30 test  made, seed 2007, in {path.parent}"


def test_make_fails(fails: Fails, tmp_path: Path) -> None:
    where = ("--data-dir", tmp_path / "none")
    assert "minihash data fetch mnist" in fails(1, "make", "rot", *where)
    assert "name is 'mnist', wanted one of 'basic'" in fails(1, "make", "mnist", *where)
    photographs = ("--photographs", tmp_path)
    assert "rect has no photographs" in fails(1, "make", "rect", *photographs, *where)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["mnist-small", "rect"])
def test_show(name: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("matplotlib.image")
    monkeypatch.chdir(tmp_path)
    assert run("show", name, "--data-dir", tmp_path) == (0, f"{name}.png\n", "")
    assert run("show", name, "--data-dir", tmp_path, "--rows", 2, "--out", "two.png")[0] == 0
    long, short = image.imread(f"{name}.png"), image.imread("two.png")
    assert long.shape[1] == short.shape[1] > 28 * 16 and long.shape[0] > 2 * short.shape[0]
    assert len(np.unique(short[..., 0])) > 2
    assert not list(tmp_path.glob(".*"))


def test_show_writes_class_names_and_origin(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text as text
        argv = ("--data-dir", tmp_path, "--rows", 1, "--out", tmp_path / "a.svg")
        assert run("show", "rect", *argv)[0] == 0
    text = (tmp_path / "a.svg").read_text("utf-8")
    rect = data.load("rect", tmp_path)
    tall = int(rect.train[1][:16].sum())
    assert (text.count(">tall<"), text.count(">wide<")) == (tall, 16 - tall)
    assert "rect: 1,000 train, 200 validation, 30 test" in text and rect.origin in text


def test_show_fails(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "wanted png, svg or pdf" in fails(1, "show", "rect", "--out", "a.txt")
    assert "no such folder" in fails(1, "show", "mnist-small", "--out", "none/a.png")
    assert "'cifar', wanted one of" in fails(1, "show", "cifar")
    assert "--rows" in fails(2, "show", "rect", "--rows", "0")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert "pip install matplotlib" in fails(1, "show", "mnist-small")
    assert list(tmp_path.iterdir()) == []
