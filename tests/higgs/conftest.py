"""`run` and `fails` are of `python -m benchmarks.higgs` here."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.higgs.__main__ import higgs_parser


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    return higgs_parser()
