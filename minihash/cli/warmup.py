"""`minihash warmup`: compile all kernels ahead of their first use."""

from __future__ import annotations

import argparse
import time
from typing import Any

from minihash.terminal import say


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of `minihash`."""
    parser = subparsers.add_parser("warmup", help="compile all kernels, and keep them for later runs")
    parser.set_defaults(run=run)
    choices = ("float32", "float64")
    parser.add_argument("--dtype", choices=choices, default="float32", help="(default: float32)")


def run(args: argparse.Namespace) -> int:
    """Do steps of small networks, with and without tiles, in all the ways that take kernels of their own."""
    import numpy as np

    from minihash import kernels
    from minihash.builders import mlp
    from minihash.fused import FusedNetwork
    from minihash.layers.registry import activations
    from minihash.losses import LOSSES
    from minihash.quantization import quantize

    start = time.perf_counter()
    for tile in (1, "auto", 2):  # shared products, and tiles in panels
        network = mlp([500, 600, 10], compression=1 / 8, tile=tile, dtype=args.dtype)
        for rows in (1, 32):
            outputs = network.forward(np.ones((rows, 500)), training=True)
            network.backward(outputs)
            network.backward(outputs, need_grad_inputs=False)
            network.predict(np.ones((rows, 500)))
        for bits in (8, 4):
            quantize(network, bits).predict(np.ones((2, 500)))
        for activation in activations():
            small = mlp([4, 3, 2], compression=1 / 2, activation=activation, dtype=args.dtype)
            fused = FusedNetwork(small)
            fused.backward(fused.forward(np.ones((2, 4))))
        fused = FusedNetwork(mlp([4, 3, 1], compression=1 / 2, dtype=args.dtype))
        for loss in LOSSES.values():
            if loss.fused is not None:
                fused.loss_and_grads(loss, np.ones((2, 4)), np.zeros(2, int))
    where = " and ".join(f"{directory}" for directory in kernels.cache_directories())
    kept = f"kept in {where}" if where else "not kept: no directory can be written"
    say(f"kernels for {args.dtype} are ready after {time.perf_counter() - start:.1f} s, {kept}")
    return 0
