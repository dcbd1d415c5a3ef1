"""What a network knows of its task and its data, who notes it, and who asks."""

from __future__ import annotations

import pytest

from minihash.schema import Schema


def test_names_of_features_are_no_word() -> None:
    with pytest.raises(ValueError, match="feature_names is 'abcd', wanted a name for each feature"):
        Schema("regression", feature_names="abcd")
    assert Schema("regression", feature_names=["ab", "cd"]).feature_names == ("ab", "cd")
