"""Compare check_gradients with the gradient checkers of PyTorch, JAX and autograd.

    python -m benchmarks.gradient_checkers [--networks 100] [--planted 20] [--json FILE]

All check the same hashed networks. In every framework the hashed layer is written with its gradient by hand,
in plain lines over a stored map, and that gradient can be multiplied by a chosen factor a bucket. Options are
the defaults, except where a name says otherwise and that JAX and autograd are asked for reverse mode of first
order, the only one that a layer written like this has. Prints Markdown; everything runs on one thread.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.checked_networks import (
    Problem,
    kinked_problem,
    make_problem,
    minihash_network,
    random_problem,
)
from benchmarks.checkers import Minihash, Peer, make_peers
from benchmarks.machine import machine
from minihash import strict_json

ERRORS = [10 ** (-power / 2) for power in range(31)]  # relative: 1, 0.32, 0.1, ... 1e-15
MISSED = 10.0
SCALES = {  # of weights and inputs; three times the weights saturate some tanh
    "order 1": (1.0, 1.0),
    "weights × 3": (3.0, 1.0),
    "all × 1000": (1e3, 1e3),
    "all × 1/1000": (1e-3, 1e-3),
}
MIDDLE, LARGE = (64, 100, 10), (784, 128, 10)  # the latter has 10⁵ virtual weights
ROUNDS, ENOUGH = 7, 60.0  # rounds of timing, and seconds after which a slow checker sits out


def compare_gradients(peers: list[Peer]) -> None:
    """Make sure that every framework computes what minihash does, right and wrong gradients alike."""
    for seed in range(6):
        problem = random_problem(seed).planted(0, 0, 0.5)
        cotangent = np.random.default_rng(seed).normal(size=(len(problem.inputs), problem.sizes[-1]))
        wanted = peers[0].gradients(problem, cotangent)
        for peer in peers[1:]:
            for found, expected in zip(peer.gradients(problem, cotangent), wanted, strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=peer.name)


def progress(words: str) -> None:
    print(f"{time.strftime('%X')} {words}", file=sys.stderr, flush=True)


def in_turn(peers: list[Peer], turn: int) -> list[Peer]:
    """Return the peers, each time starting with another."""
    turn %= len(peers)
    return peers[turn:] + peers[:turn]


def false_alarms(peers: list[Peer], problems: list[Problem]) -> dict[str, list[int]]:
    """Return the seeds of the correct problems that each checker calls wrong."""
    progress(f"{len(problems)} correct networks")
    alarms: dict[str, list[int]] = {peer.name: [] for peer in peers}
    for turn, problem in enumerate(problems):
        for peer in in_turn(peers, turn):
            if peer.complaint(problem):
                alarms[peer.name].append(problem.seed)
    return alarms


def place_to_plant(problem: Problem) -> tuple[int, int]:
    """Draw a layer and a bucket among those that move the outputs (by 1/1000 of the one that does most)."""
    network = minihash_network(replace(problem, dtype=np.float64))
    rng = np.random.default_rng(problem.seed)
    outputs = network.forward(problem.inputs, training=True)
    network.backward(rng.choice([-1.0, 1.0], outputs.shape))
    effects = [np.abs(g * w) for g, w in zip(network.grads.values(), network.params.values())]
    largest = max(effect.max() for effect in effects)
    places = [
        (i, int(k)) for i, effect in enumerate(effects) for k in np.flatnonzero(effect > 1e-3 * largest)
    ]
    return places[rng.integers(len(places))]


def smallest_caught(peer: Peer, problem: Problem, layer: int, buckets: Any) -> float | None:
    """Return the smallest relative error caught, MISSED if not even 1 is, None for a false alarm."""
    if peer.complaint(problem):
        return None
    low, high = 0, len(ERRORS)  # caught below low, missed from high on
    while low < high:
        middle = (low + high) // 2
        if peer.complaint(problem.planted(layer, buckets, ERRORS[middle])):
            low = middle + 1
        else:
            high = middle
    return ERRORS[low - 1] if low else MISSED


def sensitivity(peers: list[Peer], problems: list[Problem]) -> dict[str, dict[str, list[float | None]]]:
    """Return the smallest errors caught in one bucket of a layer, and in all of its buckets."""
    caught: dict[str, dict[str, list[float | None]]] = {peer.name: {"one": [], "all": []} for peer in peers}
    progress(f"{len(problems)} networks with errors")
    for turn, problem in enumerate(problems):
        layer, bucket = place_to_plant(problem)
        for peer in in_turn(peers, turn):
            caught[peer.name]["one"].append(smallest_caught(peer, problem, layer, bucket))
            caught[peer.name]["all"].append(smallest_caught(peer, problem, layer, slice(None)))
    return caught


def places_named(peers: list[Peer], problems: list[Problem]) -> dict[str, str]:
    """Look for the wrong bucket, then for the wrong array, in the message about a factor 1.1."""
    named = {}
    for peer in peers:
        found = {"bucket": 0, "array": 0, "caught": 0}
        for problem in problems:
            layer, bucket = place_to_plant(problem)
            message = peer.complaint(problem.planted(layer, bucket, 0.1))
            found["caught"] += bool(message)
            found["bucket"] += f"\n{2 * layer}.weight[{bucket}]: " in message and ": 1 wrong\n" in message
            found["array"] += f"with respect to input {layer + 1}," in message
        level = "bucket" if found["bucket"] else "array" if found["array"] else ""
        named[peer.name] = f"{level}, {found[level]} of {found['caught']}" if level else "nothing"
    return named


def times(peers: list[Peer], sizes: tuple[int, ...]) -> dict[str, Any]:
    """Return the seconds of checks of a correct network, the peers taking turns, and the false alarms."""
    progress(f"times of {sizes}")
    problem = make_problem(np.random.default_rng(0), 0, sizes, "tanh", 1 / 8, 4)
    seconds: dict[str, list[float]] = {peer.name: [] for peer in peers}
    alarms = [peer.name for peer in peers if peer.complaint(problem)]
    for turn in range(ROUNDS):
        for peer in in_turn(peers, turn):
            if sum(seconds[peer.name]) < ENOUGH:
                start = time.perf_counter()
                peer.complaint(problem)
                seconds[peer.name].append(time.perf_counter() - start)
    return {"seconds": seconds, "alarms": alarms}


def measure(networks: int, planted: int) -> dict[str, Any]:
    peers, missing = make_peers()
    compare_gradients(peers)
    problems = [random_problem(seed) for seed in range(networks)]
    single = [replace(problem, dtype=np.float32) for problem in problems]
    alone = Minihash("minihash, error in float32 alone", precisions=(np.float32,))
    float32_peers = [peers[0], alone, *peers[2:]]
    default = [peer for peer in peers if "atol" not in peer.options]  # others take as long
    at_scale = {name: [p.scaled(*scale) for p in problems] for name, scale in SCALES.items()}
    return {
        "versions": {peer.package: version(peer.package) for peer in peers} | {"numpy": np.__version__},
        "missing": missing,
        "alarms": {name: false_alarms(peers, some) for name, some in at_scale.items()}
        | {"ReLU at its kink": false_alarms(peers, [kinked_problem(seed) for seed in range(networks)])},
        "caught": {name: sensitivity(peers, some[:planted]) for name, some in at_scale.items()},
        "named": places_named(peers, problems[:planted]),
        "float32 alarms": false_alarms(float32_peers, single),
        "float32 caught": sensitivity(float32_peers, single[:planted]),
        "times": {"-".join(map(str, sizes)): times(default, sizes) for sizes in (MIDDLE, LARGE)},
    }


# ------------------------------------------------------------------------------------------ tables


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def describe_caught(caught: list[float | None]) -> str:
    """Say the median and the largest of the smallest errors caught."""
    known = [error for error in caught if error is not None]
    if not known:
        return "– (false alarms)"
    left_out = f" ({len(known)} of {len(caught)})" if len(known) < len(caught) else ""
    return f"{describe_error(statistics.median_high(known))}, {describe_error(max(known))}{left_out}"


def describe_error(error: float) -> str:
    return f"{error:.0e}".replace("e-0", "e-") if error < 1 else "missed" if error > 1 else "1"


def describe_times(timed: dict[str, Any], name: str, unit: str) -> str:
    if name not in timed["seconds"]:
        return ""
    milliseconds = [1e3 * seconds for seconds in timed["seconds"][name]]
    median = statistics.median(milliseconds)
    ratio = median / (1e3 * statistics.median(timed["seconds"][unit]))
    alarm = ", false alarm" if name in timed["alarms"] else ""
    return f"{ratio:.2g}× ({median:.3g} ms, {min(milliseconds):.3g} … {max(milliseconds):.3g}){alarm}"


def print_tables(results: dict[str, Any]) -> None:
    alarms, caught = results["alarms"], results["caught"]
    names = list(alarms["order 1"])
    print("False alarms on correct networks:\n")
    print(
        table(["", *alarms], [[name, *(str(len(alarms[kind][name])) for kind in alarms)] for name in names])
    )
    print("Smallest relative error caught in float64, in one bucket and in all of a layer (median, worst):\n")
    header = ["", *(f"{where}, {scale}" for scale in caught for where in ("one", "all"))]
    columns = [(scale, where) for scale in caught for where in ("one", "all")]
    rows = [[name, *(describe_caught(caught[scale][name][w]) for scale, w in columns)] for name in names]
    print(table(header, rows))
    print("In float32:\n")
    rows = [
        [
            name,
            str(len(results["float32 alarms"][name])),
            *(describe_caught(caught[w]) for w in ("one", "all")),
        ]
        for name, caught in results["float32 caught"].items()
    ]
    print(table(["", "false alarms", "one bucket", "all buckets"], rows))
    print("Time of a check (median, least … most), and the place named for a factor 1.1 in one bucket:\n")
    rows = [
        [name, *(describe_times(timed, name, names[0]) for timed in results["times"].values()), named]
        for name, named in results["named"].items()
    ]
    print(table(["", *results["times"], "place named"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=100, help="correct random networks of each kind")
    parser.add_argument("--planted", type=int, default=20, help="of these, networks that get errors")
    parser.add_argument("--json", type=Path, help="file for everything measured")
    arguments = parser.parse_args()
    os.environ["MINIHASH_NUM_THREADS"] = "1"
    with threadpool_limits(1):
        results = measure(arguments.networks, arguments.planted)
    print(", ".join(f"{name} {number}" for name, number in results["versions"].items()), end=", ")
    where = machine()
    print(f"Python {platform.python_version()}; one thread of {where['cores']} cores, {where['processor']}")
    print(f"not installed: {', '.join(results['missing']) or 'none'}\n")
    print_tables(results)
    if arguments.json:
        arguments.json.write_text(strict_json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
