"""Random networks: 25 of them with `pytest -m slow`, a thousand with MINIHASH_PROFILE=nightly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihash.gradient_check import check_gradients
from minihash.testing import batches, networks, seeds


@pytest.mark.slow
@given(
    data=st.data(),
    dtype=st.sampled_from([np.float32, np.float64]),
    max_coordinates=st.sampled_from([10, 1000]),
    seed=seeds(),
)
def test_random_networks_have_right_gradients(data, dtype, max_coordinates, seed):
    network = data.draw(networks(max_layers=4, dtype=dtype))
    inputs = data.draw(batches(network))
    check_gradients(network, inputs, max_coordinates=max_coordinates, seed=seed).raise_for_errors()
