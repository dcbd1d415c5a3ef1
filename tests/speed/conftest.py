"""`run` and `fails` are of `python -m benchmarks.speed` here."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.speed.__main__ import speed_parser


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    return speed_parser()
