"""Training: `fit`, `evaluate`, the history of a run, callbacks, checkpoints."""

from minihash.sources import ClassWeight, Data
from minihash.training.evaluation import evaluate
from minihash.training.history import Callback, History
from minihash.training.interrupts import Interrupted
from minihash.training.loop import fit

__all__ = ["Callback", "ClassWeight", "Data", "History", "Interrupted", "evaluate", "fit"]
