"""The network as of the last finished epoch, for a training that did not come to its end."""

from __future__ import annotations

from minihash.callbacks import KeepLastGood, put_back
from minihash.network import Network
from minihash.training import History


class LastGood(KeepLastGood):
    """Puts the weights of the last finished epoch back, whatever ended the training.

    It only looks where all goes well, so that it is no setting of a checkpoint.
    """

    observer = True

    def on_divergence(self, network: Network, error: FloatingPointError) -> bool:
        return False  # an error of all ranks: only the first one has observers

    def on_train_end(self, network: Network, history: History) -> None:
        put_back(network, self._good[0])  # before `EarlyStopping` puts back the best ones
        super().on_train_end(network, history)
