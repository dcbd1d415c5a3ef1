"""What all tests share: the Hypothesis profile, and the number of threads left as it was."""

from __future__ import annotations

import pytest

from minihash import testing
from minihash.kernels import threads

testing.load_profile()


@pytest.fixture
def set_num_threads():
    """`threads.set_num_threads`, undone after the test."""
    yield threads.set_num_threads
    threads.set_num_threads(None)
