"""The command `minihash export`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minihash import Network, datasets, save
from minihash.export import to_c
from minihash.layers import Linear
from minihash.persistence import load

FILES = ["Makefile", "digits.c", "digits.h", "digits_selftest.c", "main.c"]


@pytest.mark.parametrize("options", [(), ("--training",)], ids=str)
def test_export(options: tuple[str, ...], model: Path, run: Callable, tmp_path: Path) -> None:
    arguments = (model, "--format", "c", "--out", tmp_path / "new" / "c", "--name", "digits", *options)
    status, out, err = run("export", *arguments)
    assert (status, err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "new" / "c").iterdir()) == FILES
    report = to_c(load(model), tmp_path / "again", name="digits", training=bool(options))
    assert out.startswith(f"{report}\nwrote digits.h, ") and out.count("\n") < 12
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "new" / "c" / name).read_bytes()


def test_the_makefile_and_the_example(model: Path, run: Callable, tmp_path: Path) -> None:
    for tool in ("make", "gcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    assert run("export", model, "--out", tmp_path)[0] == 0
    subprocess.run(["make", "-s", "test"], cwd=tmp_path, check=True, capture_output=True)
    images = datasets.load("mnist-small").test[0][:5]
    text = "\n".join(" ".join(map(str, row)) for row in images)
    found = subprocess.run([tmp_path / "main"], input=text, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(label) for label in load(model).predict(images).argmax(axis=1)]
    assert found.stderr == "model: self-test passed\n"


def test_wrong_usage(model: Path, fails: Callable[..., str], tmp_path: Path) -> None:
    assert "--out" in fails(2, "export", model)
    assert "invalid choice" in fails(2, "export", model, "--out", tmp_path / "c", "--format", "rust")
    assert "name is '1st'" in fails(1, "export", model, "--out", tmp_path / "c", "--name", "1st")
    assert "No such file" in fails(1, "export", tmp_path / "none", "--out", tmp_path / "c")
    assert not (tmp_path / "c").exists()
    (tmp_path / "file").write_text("")
    assert "file" in fails(1, "export", model, "--out", tmp_path / "file")


def test_a_network_of_float64(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """As estimators make it of float64 data: rounded, and that is said."""
    save(Network([Linear(3, 2, dtype=np.float64)]), tmp_path / "double")
    status, out, _ = run("export", tmp_path / "double", "--out", tmp_path / "c")
    assert status == 0 and "numbers: float32, rounded from float64" in out
    assert (tmp_path / "c" / "model.c").exists()
