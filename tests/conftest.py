"""What all tests share: one Hypothesis profile, and the number of threads left as it was."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from minihash.kernels import threads

settings.register_profile(
    "ci",
    deadline=None,  # the first call of a kernel compiles it
    max_examples=25,
    derandomize=False,  # Hypothesis would where it sees a CI: look for new examples there too
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci")


@pytest.fixture
def set_num_threads():
    """`threads.set_num_threads`, undone after the test."""
    yield threads.set_num_threads
    threads.set_num_threads(None)
