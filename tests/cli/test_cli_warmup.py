"""`minihash warmup`: what it says."""

from __future__ import annotations

from helpers import Run


def test_warmup(run: Run) -> None:
    status, out, err = run("warmup")
    assert (status, err) == (0, "") and out.startswith("kernels for float32 are ready after ")
