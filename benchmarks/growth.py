"""How a hashed layer's cost grows with width, batch and compression, as a ratio to dense PyTorch.

    python -m benchmarks.growth [--seconds 1] [--plot benchmarks/growth.svg]

A square layer, forward and backward with all gradients, one thread, both sides in turn.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.speed import peers
from benchmarks.speed.cases import layer_step, thread_count
from benchmarks.speed.timing import Ratio, Samples
from minihash import figures, text
from minihash.layers import HashedLinear

WIDTH, BATCH, COMPRESSION = 1024, 128, 1 / 64
SWEEPS: dict[str, tuple[Any, ...]] = {
    "width": (256, 512, 1024, 2048, 4096, 8192),
    "batch": (1, 4, 16, 50, 128, 256, 1024),
    "1 / compression": (1, 8, 64, 256, 1000),
}
KINDS: dict[str, dict[str, Any]] = {
    "element": {},
    "tiles": {"tile": "auto"},
}


def measure(width: int, batch: int, compression: float, seconds: float) -> dict[str, Ratio]:
    torch = peers.torch()
    inputs, grad_outputs = np.random.default_rng(0).normal(size=(2, batch, width)).astype(np.float32)
    sides = {"dense": peers.module_step(torch.nn.Linear(width, width), inputs, grad_outputs)}
    for name, arguments in KINDS.items():
        layer = HashedLinear(width, width, compression=compression, **arguments)
        sides[name] = layer_step(layer, inputs, grad_outputs)
    with thread_count(1):
        samples = Samples(sides, seconds)
    return {name: samples.ratio(name, "dense") for name in KINDS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="a point, at least seven rounds")
    parser.add_argument("--plot", default="benchmarks/growth.svg")
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, Ratio]]] = {}
    for sweep, values in SWEEPS.items():
        found[sweep] = []
        for value in values:
            width = value if sweep == "width" else WIDTH
            batch = value if sweep == "batch" else BATCH
            compression = 1 / value if sweep == "1 / compression" else COMPRESSION
            found[sweep].append(measure(width, batch, compression, arguments.seconds))
        rows = [(str(value), *map(str, ratios.values())) for value, ratios in zip(values, found[sweep])]
        print(text.table((sweep, *KINDS), rows, left=1) + "\n", flush=True)

    def fill(figure: Any) -> None:
        for axes, (sweep, values) in zip(figure.subplots(1, 3, sharey=True), SWEEPS.items()):
            for name, color, dashes in zip(KINDS, figures.COLORS, figures.DASHES):
                ratios = [point[name] for point in found[sweep]]
                line = {"color": color, "linestyle": dashes, "marker": "o", "markersize": 3}
                axes.plot(values, [ratio.ratio for ratio in ratios], label=name, **line)
                low, high = [ratio.low for ratio in ratios], [ratio.high for ratio in ratios]
                axes.fill_between(values, low, high, color=color, alpha=0.15, linewidth=0)
            axes.axhline(1, color="0.5", linewidth=1)
            axes.set(xscale="log", yscale="log", xlabel=sweep)
            axes.set_xticks(values, map(str, values), fontsize=8)
            axes.set_yticks((0.125, 0.25, 0.5, 1, 2, 4), ("1/8", "1/4", "1/2", "1", "2", "4"))
            axes.minorticks_off()
        figure.axes[0].set(ylabel="time / dense PyTorch")
        figure.axes[0].legend()

    figures.draw(arguments.plot, (10, 3.6), fill)


if __name__ == "__main__":
    main()
