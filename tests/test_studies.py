"""Studies: what is better the larger it is, is."""

from __future__ import annotations

import pytest

from minihash.studies import STEPS, Range, ask, complete, open_study, tell

pytest.importorskip("optuna")


@pytest.mark.parametrize("larger, best", [(False, 0.1), (True, 0.9)])
def test_the_best_trial(larger: bool, best: float) -> None:
    study = open_study("a", larger_is_better=larger)
    for score in (0.5, 0.1, 0.9, 0.3):
        tell(study, ask(study, {"rate": Range(0.0, 1.0)}, {"rate": 0.5}, 0), score)
    assert complete(study)[0].values[0] == best


@pytest.mark.parametrize("larger", [False, True])
def test_the_worse_half_is_pruned(larger: bool) -> None:
    study = open_study("a", larger_is_better=larger)
    scores = [0.2, 0.4, 0.5, 0.6, 0.8]
    pruned = []
    for score in (*scores, 0.3, 0.7):
        trial = ask(study, {"rate": Range(0.0, 1.0)}, {"rate": 0.5}, 0)
        for step in range(1, STEPS + 1):
            trial.report(score, step)
        pruned.append(trial.should_prune())
        tell(study, trial, score)
    assert pruned[-2:] == [larger, not larger]
