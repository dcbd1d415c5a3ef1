"""Compiling kernels in a training: said once, and no second of the training."""

from __future__ import annotations

import time

import numba
import numpy as np
import pytest

from minihash import Network, fit, kernels, mlp
from minihash.kernels import numpy_cpu
from minihash.training import Callback
from minihash.training.progress import COMPILING

DATA = np.ones((60, 4), np.float32), np.arange(60) % 3


class Compile(Callback):
    """Compiles another function in each step."""

    def on_gradients(self, network: Network) -> None:
        numba.njit(lambda number: number + 1.0)(1.0)


@pytest.mark.parametrize("shown", [True, False])
def test_compiling_is_said_once_and_is_no_second_of_training(
    shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    start = time.perf_counter()
    with kernels.compilations(lambda: told.append("begin"), lambda: told.append("end")) as compiled:
        history = fit(mlp([4, 3]), DATA, epochs=1, batch_size=20, callbacks=[Compile()], progress=shown)
    assert 0 < history["seconds"][0] <= time.perf_counter() - start - compiled.seconds
    assert told[0] == "begin" and told.count("begin") == 1 and told.count("end") >= 3
    assert capsys.readouterr().err.count(f"{COMPILING}\n") == shown


def test_what_is_compiled_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    fit(mlp([4, 3]), DATA, epochs=1, progress=False)
    with kernels.compilations(pytest.fail, pytest.fail) as compiled:
        fit(mlp([4, 3]), DATA, epochs=1, progress=True)
    assert compiled.seconds == 0.0 and COMPILING not in capsys.readouterr().err


def test_kernels_of_numpy_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "module", lambda: numpy_cpu)
    with kernels.compilations(pytest.fail, pytest.fail) as compiled:
        numba.njit(lambda number: number + 1.0)(1.0)
    assert compiled.seconds == 0.0
