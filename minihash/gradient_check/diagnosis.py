"""Why the gradient of a hashed layer is wrong: which virtual weights share a bad bucket, and what they add.

The gradient of bucket k is a sum of contributions `C[i, j] = ξ(i, j) · Σ_n δ[n, i] a[n, j]` over the
positions (i, j) with h(i, j) = k (eq. 12). The checker knows the true sums and the contributions, so it
can tell a contribution that is missing from one that has the wrong sign or went to another bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minihash.gradient_check.objective import ModuleObjective, Objective
from minihash.gradient_check.report import ArrayReport, Offender
from minihash.gradient_check.rounding import typical
from minihash.layers import HashedLinear

MAX_VIRTUAL = 4_000_000  # virtual weights of a layer up to which contributions are laid out
SHOWN = 6  # contributions of one bucket, lines of one kind
MAX_CHANCE = 0.1  # matches that may be expected by chance, for one to be named
COUNTS = {-2.0: "with the wrong sign", -1.0: "left out", 1.0: "counted twice"}


def diagnose(objective: Objective, arrays: list[ArrayReport]) -> list[str]:
    """Add to each offender among hashed weights its contributions; return sentences about all of them."""
    sentences: list[str] = []
    wrong = [array for array in arrays if array.offenders]
    if not wrong or not isinstance(objective, ModuleObjective):
        return sentences
    for prefix, layer, inputs, grad_outputs in objective.layer_passes():
        name = f"{prefix}weight"
        reports = [array for array in wrong if array.name == name]
        if reports and isinstance(layer, HashedLinear) and layer.num_virtual <= MAX_VIRTUAL:
            ledger = _Ledger(layer, inputs, grad_outputs, reports[0].offenders)
            for report in reports:
                report.offenders = [ledger.annotate(offender) for offender in report.offenders]
            sentences += [f"{name}: {sentence}" for sentence in ledger.explain()]
    return sentences


class _Ledger:
    """Every virtual weight of a layer with its bucket and its contribution, and which buckets are wrong."""

    def __init__(
        self, layer: HashedLinear, inputs: np.ndarray, grad_outputs: np.ndarray, offenders: list[Offender]
    ) -> None:
        if layer.bias == "hashed":
            inputs = np.column_stack([inputs, np.ones(len(inputs))])
        self.shape = layer.out_features, inputs.shape[1]
        buckets, signs = layer.bucket_map(np.arange(self.shape[0])[:, None], np.arange(self.shape[1]))
        self.layer, self.buckets = layer, buckets.ravel()
        self.contributions = (signs * (grad_outputs.T @ inputs)).ravel()
        wrong = {
            offender.index[0]: offender
            for offender in offenders
            if offender.index is not None and np.isfinite([offender.claimed, offender.expected]).all()
        }
        self.bad = np.array(list(wrong), int)
        self.claimed = np.array([offender.claimed for offender in wrong.values()])
        self.expected = np.array([offender.expected for offender in wrong.values()])
        self.excess = self.claimed - self.expected
        # What contributions are exact to: they come from the claimed gradients of the layers above.
        most = max((offender.tolerance for offender in wrong.values()), default=0.0)
        self.slack = 1e-6 * np.abs(self.expected).max(initial=0.0) + 4 * most

    def _sharers(self, bucket: int) -> tuple[list[tuple[int, int]], np.ndarray]:
        """Return the positions in V that share a bucket, and their contributions."""
        places = np.flatnonzero(self.buckets == bucket)
        positions = [(int(i), int(j)) for i, j in zip(*np.unravel_index(places, self.shape))]
        return positions, self.contributions[places]

    def annotate(self, offender: Offender) -> Offender:
        """Add a note that says which virtual weights share the bucket, and what the largest contribute."""
        if offender.index is None:
            return offender
        bucket = offender.index[0]
        positions, parts = self._sharers(bucket)
        largest = np.argsort(-np.abs(parts), kind="stable")
        listed = _listed([f"V{positions[place]} {parts[place]:+.4g}" for place in largest])
        tiles = ""
        if self.layer.tile > 1:
            starts = np.arange(self.layer.bucket_map.tiles) * self.layer.tile
            starts = np.minimum(starts, self.layer.num_buckets - self.layer.tile)
            those = np.flatnonzero((starts <= bucket) & (bucket < starts + self.layer.tile))
            rows = sorted({i for i, _ in positions})
            tiles = f"in {_named('tile', those)}, drawn by {_named('row', rows)}; "
        note = f"{tiles}shared by {len(parts)} virtual weights, which contribute {listed}"
        return replace(offender, note=note)

    def explain(self) -> list[str]:
        """Return what explains all wrong buckets at once, or what explains single ones."""
        if not len(self.bad):
            return []
        together = self._mean() or self._factor() or self._lines()
        if together:
            return [together]
        sentences = [sentence for place in range(len(self.bad)) for sentence in self._single(place)]
        more = [f"and {len(sentences) - SHOWN} more"] if len(sentences) > SHOWN else []
        return sentences[:SHOWN] + more

    def _mean(self) -> str:
        occupancy = np.bincount(self.buckets, minlength=self.layer.num_buckets)[self.bad]
        means = np.allclose(self.claimed * occupancy, self.expected, rtol=1e-6, atol=self.slack)
        return "the means over the buckets, wanted the sums (eq. 12)" if means and max(occupancy) > 1 else ""

    def _factor(self) -> str:
        square = self.expected @ self.expected
        factor = float(self.claimed @ self.expected / square) if square else 0.0
        # Beside the error, not the gradient: where few are wrong by little, some factor near 1 always fits.
        allowed = 0.02 * np.abs(self.excess) + 1e-3 * self.slack
        if len(self.bad) > 2 and (np.abs(self.claimed - factor * self.expected) <= allowed).all():
            return f"all {len(self.bad)} wrong buckets are {factor:.6g} times what they should be"
        return ""

    def _lines(self) -> str:
        """Find rows or columns of V that are left out, or counted twice, in every bucket."""
        place_of = np.full(self.layer.num_buckets, -1)
        place_of[self.bad] = np.arange(len(self.bad))
        places = place_of[self.buckets]  # of each virtual weight's bucket among the bad ones
        shared = places >= 0
        lines = np.unravel_index(np.arange(self.buckets.size), self.shape)
        weights = shared & (lines[1] < self.layer.in_features)  # a hashed bias may be summed by itself
        for axis, which, aside in ((0, shared, ""), (0, weights, ", but for the bias,"), (1, shared, "")):
            matrix = np.zeros((len(self.bad), self.shape[axis]))
            np.add.at(matrix, (places[which], lines[axis][which]), self.contributions[which])
            counts = _sparse_solution(matrix, self.excess, self.slack)
            for count, text in COUNTS.items():
                wrong = np.flatnonzero(np.abs(counts - count) < 1e-3)
                if 0 < len(wrong) == np.count_nonzero(np.abs(counts) > 1e-3) < len(self.bad):
                    bias = self.layer.in_features if axis == 1 else None
                    names = [f"{line} (the bias)" if line == bias else line for line in wrong.tolist()]
                    return f"{_named(('row', 'column')[axis], names)} of V{aside} {text}"
        return ""

    def _single(self, place: int) -> list[str]:
        """Explain a bucket by itself: negated or exchanged whole, wrong in one virtual weight, or no more."""
        bucket, claimed, expected = self.bad[place], self.claimed[place], self.expected[place]
        others = np.where(self.bad == bucket, np.inf, self.expected)
        swapped = self._matches(others - claimed, self.expected)
        if abs(claimed + expected) <= self.slack:
            return [f"bucket {bucket}: the whole sum has the wrong sign"]
        if len(swapped):
            return [f"bucket {bucket}: has the sum of bucket {self.bad[swapped[0]]}"]
        positions, parts = self._sharers(bucket)
        multiples = np.outer(list(COUNTS), parts).ravel()
        matches = self._matches(multiples - self.excess[place], multiples)
        if len(matches) != 1:
            factor = claimed / expected if expected else np.inf
            return [f"bucket {bucket}: {factor:.6g} times what it should be"]
        kind, match = divmod(matches[0], len(parts))
        count, text = list(COUNTS.items())[kind]
        where = self._destination(parts[match]) if count == -1.0 else ""
        return [f"bucket {bucket}: V{positions[match]} {text}{where}"]

    def _destination(self, part: float) -> str:
        """Say which bucket has too much what another lacks, whatever its sign."""
        matches = self._matches(np.abs(self.excess) - abs(part), self.excess)
        others = [self.bad[match] for match in matches if abs(self.excess[match] + part) > self.slack]
        return f", found in bucket {others[0]}" if len(others) == 1 else ""

    def _matches(self, distances: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Return the candidates at a distance within slack; none where so many may be so by chance."""
        chance = candidates.size * self.slack / (typical(candidates) or 1.0)
        return np.flatnonzero((np.abs(distances) <= self.slack) & (chance < MAX_CHANCE))


def _sparse_solution(matrix: np.ndarray, excess: np.ndarray, slack: float) -> np.ndarray:
    """Solve `matrix @ counts = excess` for few nonzero counts, greedily; zeros if there are none."""
    chosen: list[int] = []
    counts = np.zeros(matrix.shape[1])
    rest = excess
    norms = np.maximum(np.linalg.norm(matrix, axis=0), np.finfo(float).tiny)
    while np.abs(rest).max() > slack and len(chosen) < min(matrix.shape):
        correlation = np.abs(matrix.T @ rest) / norms
        correlation[chosen] = 0
        chosen.append(int(correlation.argmax()))
        counts[chosen] = np.linalg.lstsq(matrix[:, chosen], excess, rcond=None)[0]
        rest = excess - matrix @ counts
    return counts if np.abs(rest).max() <= slack else np.zeros_like(counts)


def _named(noun: str, names: Sequence[Any] | np.ndarray) -> str:
    """Return a noun with names: "row 3", or "rows 1, 2, 3" and how many more."""
    return f"{noun}{'s' * (len(names) > 1)} {_listed(names)}"


def _listed(names: Sequence[Any] | np.ndarray) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(str, names[:SHOWN])) + more
