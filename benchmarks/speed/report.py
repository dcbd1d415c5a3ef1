"""What `python -m benchmarks.speed` prints and writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.machine import machine
from benchmarks.speed.breakdown import PARTS
from benchmarks.speed.cases import Result
from minihash import figures, strict_json, text
from minihash.files import replacing

HEADER = ("case", "side", "against", "threads", "ratio (quartiles)", "goal", "", "ms: " + ", ".join(PARTS))


def table(results: Sequence[Result]) -> str:
    """Return the figures with their goals; the breakdown in milliseconds."""
    return text.table(HEADER, [_row(result) for result in results], left=3)


def _row(result: Result) -> tuple[str, ...]:
    goal, met = "", ""
    if result.goal is not None:
        goal, met = f"{result.goal:.3g}", "met" if result.ratio.ratio <= result.goal else "missed"
    parts = ", ".join(f"{part:.2f}" for part in (result.parts or {}).values())
    return (result.case, result.side, result.base, str(result.threads), str(result.ratio), goal, met, parts)


def write(results: Sequence[Result], path: str) -> None:
    """Write a line of JSON a figure, the machine in each, the file whole or not at all."""
    where = machine()
    with replacing(path) as file:
        for result in results:
            file.write((strict_json.dumps({**result.as_dict(), "machine": where}) + "\n").encode())


def plot(results: Sequence[Result], path: str) -> None:
    """Draw every figure that has a goal beside it, with its quartiles."""
    shown = [result for result in results if result.goal is not None]

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        places = np.arange(len(shown))
        middle = np.array([result.ratio.ratio for result in shown])
        spread = [[r.ratio.ratio - r.ratio.low for r in shown], [r.ratio.high - r.ratio.ratio for r in shown]]
        axes.errorbar(middle, places, xerr=spread, fmt="o", color=figures.COLORS[0], label="measured")
        goals = [result.goal for result in shown]
        axes.plot(goals, places, "|", markersize=14, color=figures.COLORS[1], label="goal: at most")
        axes.set(xscale="log", xlabel="ratio (smaller is better)", ylim=(len(shown) - 0.5, -0.5))
        names = [f"{r.case}: {r.side}, {r.threads} thr. / {r.base}" for r in shown]
        axes.set_yticks(places, names, fontsize=8)
        axes.axvline(1, color="0.6", linewidth=1)
        axes.legend()

    figures.draw(path, (10, 1.2 + 0.28 * len(shown)), fill)
