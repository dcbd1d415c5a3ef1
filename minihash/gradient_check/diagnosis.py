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
    if not isinstance(objective, ModuleObjective):
        return sentences
    for position, (prefix, layer) in enumerate(objective.named_layers()):
        name = f"{prefix}weight"
        reports = [array for array in arrays if array.name == name and array.offenders]
        if reports and isinstance(layer, HashedLinear) and layer.num_virtual <= MAX_VIRTUAL:
            ledger = _Ledger(layer, *objective.layer_io(position))
            for report in reports:
                report.offenders = [ledger.annotate(offender) for offender in report.offenders]
            found = ledger.explain(reports[0].offenders)
            sentences += [f"{name}: {sentence}" for sentence in found]
    return sentences


class _Ledger:
    """Every virtual weight of a layer with its bucket and its contribution to the gradient."""

    def __init__(self, layer: HashedLinear, inputs: np.ndarray, grad_outputs: np.ndarray) -> None:
        if layer.bias == "hashed":
            inputs = np.column_stack([inputs, np.ones(len(inputs))])
        rows, columns = layer.out_features, inputs.shape[1]
        buckets, signs = layer.bucket_map(np.arange(rows)[:, None], np.arange(columns))
        self.layer = layer
        self.buckets, self.shape = buckets.ravel(), (rows, columns)
        self.contributions = (signs * (grad_outputs.T @ inputs)).ravel()

    def positions(self, bucket: int) -> list[tuple[int, int]]:
        places = np.flatnonzero(self.buckets == bucket)
        return [(int(i), int(j)) for i, j in zip(*np.unravel_index(places, self.shape))]

    def annotate(self, offender: Offender) -> Offender:
        """Add a note that says which virtual weights share the bucket, and what the largest contribute."""
        if offender.index is None:
            return offender
        bucket = offender.index[0]
        positions = self.positions(bucket)
        parts = self.contributions[self.buckets == bucket]
        largest = np.argsort(-np.abs(parts), kind="stable")[:SHOWN]
        listed = ", ".join(f"V{positions[place]} {parts[place]:+.4g}" for place in largest)
        more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
        note = f"{self._tiles(bucket)}shared by {len(parts)} virtual weights, which contribute {listed}{more}"
        return replace(offender, note=note)

    def _tiles(self, bucket: int) -> str:
        """Say in which tiles a bucket is, and which rows drew them; nothing where a tile is one weight."""
        layer = self.layer
        if layer.tile == 1:
            return ""
        starts = np.minimum(np.arange(layer.bucket_map.tiles) * layer.tile, layer.num_buckets - layer.tile)
        tiles = np.flatnonzero((starts <= bucket) & (bucket < starts + layer.tile))
        rows = np.unique([i for i, _ in self.positions(bucket)])
        return f"in {_listed('tile', tiles)}, drawn by {_listed('row', rows)}; "

    def explain(self, offenders: Sequence[Offender]) -> list[str]:
        """Return what explains all wrong buckets at once, or what explains single ones."""
        placed = {offender.index[0]: offender for offender in offenders if offender.index is not None}
        placed = {k: offender for k, offender in placed.items() if np.isfinite(offender.claimed)}
        placed = {k: offender for k, offender in placed.items() if np.isfinite(offender.expected)}
        if not placed:
            return []
        bad, offenders = np.array(list(placed)), list(placed.values())
        claimed = np.array([offender.claimed for offender in offenders])
        expected = np.array([offender.expected for offender in offenders])
        # What contributions are exact to: they come from the claimed gradients of the layers above.
        slack = 1e-6 * np.abs(expected).max() + 4 * max(offender.tolerance for offender in offenders)
        together = (
            self._mean(bad, claimed, expected, slack)
            or self._factor(claimed, expected, slack)
            or self._lines(bad, claimed - expected, slack)
        )
        return [together] if together else self._single(bad, claimed, expected, slack)

    def _mean(self, bad: np.ndarray, claimed: np.ndarray, expected: np.ndarray, slack: float) -> str:
        occupancy = np.bincount(self.buckets, minlength=self.layer.num_buckets)[bad]
        if (occupancy > 1).any() and np.allclose(claimed * occupancy, expected, rtol=1e-6, atol=slack):
            return "the means over the buckets, wanted the sums (eq. 12)"
        return ""

    def _factor(self, claimed: np.ndarray, expected: np.ndarray, slack: float) -> str:
        factor = float(claimed @ expected / (expected @ expected)) if expected.any() else 0.0
        # Beside the error, not the gradient: where few are wrong by little, some factor near 1 always fits.
        allowed = 0.02 * np.abs(claimed - expected) + 1e-3 * slack
        if len(claimed) > 2 and (np.abs(claimed - factor * expected) <= allowed).all():
            return f"all {len(claimed)} wrong buckets are {factor:.6g} times what they should be"
        return ""

    def _lines(self, bad: np.ndarray, excess: np.ndarray, slack: float) -> str:
        """Find rows or columns of V that are left out, or counted twice, in every bucket."""
        place_of = np.full(self.layer.num_buckets, -1)
        place_of[bad] = np.arange(len(bad))
        places = place_of[self.buckets]  # of each virtual weight's bucket among the bad ones
        shared = places >= 0
        lines = np.unravel_index(np.arange(self.buckets.size), self.shape)
        weights = shared & (lines[1] < self.layer.in_features)  # a hashed bias may be summed by itself
        for axis, which, aside in ((0, shared, ""), (0, weights, ", but for the bias,"), (1, shared, "")):
            matrix = np.zeros((len(bad), self.shape[axis]))
            np.add.at(matrix, (places[which], lines[axis][which]), self.contributions[which])
            counts = self._sparse_solution(matrix, excess, slack)
            for count, text in COUNTS.items():
                wrong = np.flatnonzero(np.abs(counts - count) < 1e-3)
                if len(wrong) and len(wrong) == np.count_nonzero(np.abs(counts) > 1e-3) < len(bad):
                    return f"{self._line_names(axis, wrong)} of V{aside} {text}"
        return ""

    def _line_names(self, axis: int, lines: np.ndarray) -> str:
        bias = self.layer.in_features if axis == 1 else None
        names = [f"{line} (the bias)" if line == bias else str(line) for line in lines.tolist()]
        return _listed(("row", "column")[axis], names)

    @staticmethod
    def _sparse_solution(matrix: np.ndarray, excess: np.ndarray, slack: float) -> np.ndarray:
        """Solve `matrix @ counts = excess` for few nonzero counts, greedily; zeros if there are none."""
        chosen: list[int] = []
        counts = np.zeros(matrix.shape[1])
        rest = excess.copy()
        norms = np.maximum(np.linalg.norm(matrix, axis=0), np.finfo(float).tiny)
        while np.abs(rest).max() > slack and len(chosen) < min(matrix.shape):
            correlation = np.abs(matrix.T @ rest) / norms
            correlation[chosen] = 0
            chosen.append(int(correlation.argmax()))
            solution = np.linalg.lstsq(matrix[:, chosen], excess, rcond=None)[0]
            rest = excess - matrix[:, chosen] @ solution
        if np.abs(rest).max() > slack:
            return counts
        counts[chosen] = solution if chosen else 0
        return counts

    def _single(self, bad: np.ndarray, claimed: np.ndarray, expected: np.ndarray, slack: float) -> list[str]:
        """Explain each bucket by itself: negated or exchanged whole, or wrong in one virtual weight."""
        found = []
        excess = claimed - expected
        for place, bucket in enumerate(bad):
            swapped = _matches(np.where(bad == bucket, np.inf, expected) - claimed[place], expected, slack)
            if abs(claimed[place] + expected[place]) <= slack:
                found.append(f"bucket {bucket}: the whole sum has the wrong sign")
            elif len(swapped):
                found.append(f"bucket {bucket}: has the sum of bucket {bad[swapped[0]]}")
            else:
                factor = claimed[place] / expected[place] if expected[place] else np.inf
                found += self._one_position(int(bucket), place, bad, excess, slack) or [
                    f"bucket {bucket}: {factor:.6g} times what it should be"
                ]
        more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        return found[:SHOWN] + more

    def _one_position(
        self, bucket: int, place: int, bad: np.ndarray, excess: np.ndarray, slack: float
    ) -> list[str]:
        """Find a virtual weight of the bucket that is left out, doubled, negated or elsewhere."""
        positions = self.positions(bucket)
        parts = self.contributions[self.buckets == bucket]
        multiples = np.outer(list(COUNTS), parts).ravel()
        matches = _matches(multiples - excess[place], multiples, slack)
        if len(matches) != 1:
            return []
        (count, text), match = list(COUNTS.items())[matches[0] // len(parts)], matches[0] % len(parts)
        where = self._destination(bad, excess, parts[match], slack) if count == -1.0 else ""
        return [f"bucket {bucket}: V{positions[match]} {text}{where}"]

    @staticmethod
    def _destination(bad: np.ndarray, excess: np.ndarray, part: float, slack: float) -> str:
        """Say which bucket has too much what another lacks, whatever its sign."""
        matches = _matches(np.abs(excess) - abs(part), excess, slack)
        others = [int(bad[match]) for match in matches if abs(excess[match] + part) > slack]
        return f", found in bucket {others[0]}" if len(others) == 1 else ""


def _listed(noun: str, names: Sequence[Any] | np.ndarray) -> str:
    """Return a noun with names: "row 3", or "rows 1, 2, 3" and how many more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{noun}{'s' * (len(names) > 1)} {', '.join(map(str, names[:SHOWN]))}{more}"


def _matches(distances: np.ndarray, candidates: np.ndarray, slack: float) -> np.ndarray:
    """Return the candidates at a distance within slack; none where so many may be so by chance."""
    chance = candidates.size * slack / (typical(candidates) or 1.0)
    return np.flatnonzero(np.abs(distances) <= slack) if chance < MAX_CHANCE else np.zeros(0, int)
