"""Compare check_gradients with the gradient checkers of PyTorch, JAX and autograd.

    python benchmarks/gradient_checkers.py [--networks 100] [--planted 20] [--json FILE]

All check the same hashed networks. In every framework the hashed layer is written with its gradient by hand,
in plain lines over a stored map, and that gradient can be multiplied by a chosen factor a bucket. Options are
the defaults, except where a name says otherwise and that JAX and autograd are asked for reverse mode of first
order, the only one that a layer written like this has. Prints Markdown; everything runs on one thread.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from minihash import HashedLinear, Network
from minihash.gradient_check import check_gradients
from minihash.hashing import layer_seed
from minihash.maps import ElementMap
from minihash.network import ACTIVATIONS

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


# ---------------------------------------------------------------------------------------- problems


@dataclass(frozen=True)
class Problem:
    """A hashed network at a point; the claimed gradient of each weight is multiplied by its factor."""

    sizes: tuple[int, ...]
    seed: int
    activation: str
    weights: list[np.ndarray]
    inputs: np.ndarray
    factors: list[np.ndarray]
    dtype: type = np.float64

    @functools.cached_property
    def maps(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Buckets and signs (out, in + 1) of each layer, the last column the bias."""
        maps = []
        for position, (fan_in, fan_out) in enumerate(zip(self.sizes, self.sizes[1:])):
            bucket_map = ElementMap(len(self.weights[position]), layer_seed(position, self.seed))
            buckets, signs = bucket_map(np.arange(fan_out)[:, None], np.arange(fan_in + 1))
            maps.append((buckets.astype(np.int64), signs))
        return maps

    def planted(self, layer: int, buckets: Any, error: float) -> Problem:
        """Return the problem with a relative error in some buckets of a layer."""
        factors = [factor.copy() for factor in self.factors]
        factors[layer][buckets] += error
        return replace(self, factors=factors)

    def scaled(self, of_weights: float, of_inputs: float) -> Problem:
        weights = [of_weights * weight for weight in self.weights]
        return replace(self, weights=weights, inputs=of_inputs * self.inputs)


def random_problem(seed: int) -> Problem:
    """Return a small network: 2-3 layers of up to 8 units, odd seeds with ReLU, numbers of order 1."""
    rng = np.random.default_rng(seed)
    sizes = tuple(int(size) for size in rng.integers(2, 9, rng.integers(3, 5)))
    activation = "relu" if seed % 2 else "tanh"
    return make_problem(rng, seed, sizes, activation, rng.uniform(0.2, 1), int(rng.integers(1, 7)))


def make_problem(
    rng: np.random.Generator,
    seed: int,
    sizes: tuple[int, ...],
    activation: str,
    compression: float,
    batch: int,
) -> Problem:
    gains = [1.0 if max(sizes) < 10 else fan_in**-0.5 for fan_in in sizes]
    virtual = [fan_out * (fan_in + 1) for fan_in, fan_out in zip(sizes, sizes[1:])]
    weights = [
        gain * rng.uniform(0.2, 1, max(1, round(compression * count))) for gain, count in zip(gains, virtual)
    ]
    weights = [weight * rng.choice([-1.0, 1.0], weight.shape) for weight in weights]
    inputs = rng.uniform(0.1, 2, (batch, sizes[0])) * rng.choice([-1.0, 1.0], (batch, sizes[0]))
    return Problem(sizes, seed, activation, weights, inputs, [np.ones_like(weight) for weight in weights])


def kinked_problem(seed: int) -> Problem:
    """Return a ReLU network with one unit of the first layer exactly at 0 where that matters.

    Weights are powers of two and inputs eighths, so that every order of summation gives exactly 0.
    """
    for attempt in range(1000):
        problem = replace(random_problem(seed + 10_000 * attempt), activation="relu")
        rng = np.random.default_rng(seed)
        first = np.sign(problem.weights[0]) * rng.choice([0.25, 0.5, 1.0], problem.weights[0].shape)
        inputs = np.ceil(8 * problem.inputs) / 8
        buckets, signs = problem.maps[0]
        row = (first[buckets] * signs)[0]
        inputs[0, 0] = -(inputs[0, 1:] @ row[1:-1] + row[-1]) / row[0]
        problem = replace(problem, weights=[first, *problem.weights[1:]], inputs=inputs)
        if _count_kinks(problem) == 1:
            return problem
    raise RuntimeError(f"no kink for seed {seed}")


def _count_kinks(problem: Problem) -> int:
    """Count the units of the first layer that are at 0 and whose outputs reach the network's."""
    network = minihash_network(problem)
    grad = np.random.default_rng(0).normal(size=network.forward(problem.inputs, training=True).shape)
    for layer in reversed(network.layers[2:]):
        grad = layer.backward(grad)
    return int(((network.layers[0].forward(problem.inputs) == 0) & (grad != 0)).sum())


class PlantedLinear(HashedLinear):
    """A hashed layer whose gradient is multiplied by `factors`, in some precisions."""

    factors: np.ndarray
    precisions: tuple[type, ...]

    def _backward(self, saved: Any, grad_outputs: np.ndarray, need_grad_inputs: bool) -> Any:
        grad_inputs = super()._backward(saved, grad_outputs, need_grad_inputs)
        if self.dtype in self.precisions:
            self.grads["weight"] *= self.factors
        return grad_inputs


def minihash_network(problem: Problem, precisions: tuple[type, ...] = (np.float32, np.float64)) -> Network:
    layers: list[Any] = []
    for position, weight in enumerate(problem.weights):
        if position:
            layers.append(ACTIVATIONS[problem.activation](problem.dtype))
        shape, seed = problem.sizes[position : position + 2], layer_seed(position, problem.seed)
        layer = PlantedLinear(*shape, num_buckets=len(weight), seed=seed, dtype=problem.dtype)
        layer.weight = weight
        layer.factors, layer.precisions = problem.factors[position], precisions
        layers.append(layer)
    return Network(layers)


# ------------------------------------------------------------------------------------------- peers


class Peer:
    """A gradient checker, and hashed networks in its framework. Making one imports it."""

    package = "minihash"
    errors: tuple[type[Exception], ...] = (AssertionError,)

    def __init__(self, name: str, **options: Any) -> None:
        self.name, self.options = name, options

    def complaint(self, problem: Problem) -> str:
        """Return what the checker finds wrong, or nothing."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch's about float32
                self.check(problem)
        except self.errors as error:
            return str(error) or type(error).__name__
        return ""

    def check(self, problem: Problem) -> None:
        raise NotImplementedError

    def gradients(self, problem: Problem, cotangent: np.ndarray) -> list[np.ndarray]:
        """Return the gradients of inputs and weights, for the test of what is compared."""
        raise NotImplementedError


class Minihash(Peer):
    def __init__(
        self, name: str, precisions: tuple[type, ...] = (np.float32, np.float64), **options: Any
    ) -> None:
        super().__init__(name, **options)
        self.precisions = precisions

    def check(self, problem: Problem) -> None:
        network = minihash_network(problem, self.precisions)
        check_gradients(network, problem.inputs, **self.options).raise_for_errors()

    def gradients(self, problem: Problem, cotangent: np.ndarray) -> list[np.ndarray]:
        network = minihash_network(problem)
        network.forward(problem.inputs, training=True)
        return [np.asarray(network.backward(cotangent)), *network.grads.values()]


class Torch(Peer):
    package = "torch"

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.torch = torch = import_module("torch")
        torch.set_num_threads(1)
        self.errors = (import_module("torch.autograd.gradcheck").GradcheckError,)

        class Hashed(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, inputs: Any, weight: Any, buckets: Any, signs: Any, factors: Any) -> Any:
                V = weight[buckets] * signs
                ctx.save_for_backward(inputs, V, buckets, signs, factors)
                return inputs @ V[:, :-1].T + V[:, -1]

            @staticmethod
            def backward(ctx: Any, grad: Any) -> Any:
                inputs, V, buckets, signs, factors = ctx.saved_tensors
                grad_V = torch.cat([grad.T @ inputs, grad.sum(0)[:, None]], 1) * signs
                sums = torch.zeros_like(factors).index_add_(0, buckets.ravel(), grad_V.ravel())
                return grad @ V[:, :-1], sums * factors, None, None, None

        self.hashed = Hashed.apply

    def function(self, problem: Problem) -> tuple[Callable, list[Any]]:
        def tensor(array: np.ndarray, grad: bool = False) -> Any:
            return self.torch.tensor(array.astype(problem.dtype), requires_grad=grad)

        constants = [
            (self.torch.tensor(buckets), tensor(signs), tensor(factors))
            for (buckets, signs), factors in zip(problem.maps, problem.factors)
        ]
        layers = [lambda a, w, c=constant: self.hashed(a, w, *c) for constant in constants]
        arguments = [tensor(array, grad=True) for array in (problem.inputs, *problem.weights)]
        return chain(layers, problem.activation, self.torch.tanh), arguments

    def check(self, problem: Problem) -> None:
        self.torch.manual_seed(0)
        self.torch.autograd.gradcheck(*self.function(problem), **self.options)

    def gradients(self, problem: Problem, cotangent: np.ndarray) -> list[np.ndarray]:
        function, arguments = self.function(problem)
        function(*arguments).backward(self.torch.tensor(cotangent))
        return [argument.grad.numpy() for argument in arguments]


class Jax(Peer):
    package = "jax"

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ.update(JAX_PLATFORMS="cpu", XLA_FLAGS=flags)
        self.jax = import_module("jax")
        self.jax.config.update("jax_enable_x64", True)
        self.check_grads = import_module("jax.test_util").check_grads

    def hashed(self, buckets: np.ndarray, signs: np.ndarray, factors: np.ndarray) -> Callable:
        jnp = self.jax.numpy

        @self.jax.custom_vjp
        def layer(inputs: Any, weight: Any) -> Any:
            return forward(inputs, weight)[0]

        def forward(inputs: Any, weight: Any) -> Any:
            V = weight[buckets] * signs
            return inputs @ V[:, :-1].T + V[:, -1], (inputs, V)

        def backward(saved: Any, grad: Any) -> Any:
            inputs, V = saved
            grad_V = jnp.concatenate([grad.T @ inputs, grad.sum(0)[:, None]], 1) * signs
            return grad @ V[:, :-1], jnp.zeros_like(factors).at[buckets].add(grad_V) * factors

        layer.defvjp(forward, backward)
        return layer

    def function(self, problem: Problem) -> tuple[Callable, list[Any]]:
        def array(values: np.ndarray) -> Any:
            return self.jax.numpy.asarray(values.astype(problem.dtype))

        layers = [
            self.hashed(buckets, array(signs), array(factors))
            for (buckets, signs), factors in zip(problem.maps, problem.factors)
        ]
        arguments = [array(values) for values in (problem.inputs, *problem.weights)]
        return chain(layers, problem.activation, self.jax.numpy.tanh), arguments

    def check(self, problem: Problem) -> None:
        self.check_grads(*self.function(problem), order=1, modes=("rev",), **self.options)

    def gradients(self, problem: Problem, cotangent: np.ndarray) -> list[np.ndarray]:
        function, arguments = self.function(problem)
        return [np.asarray(grad) for grad in self.jax.vjp(function, *arguments)[1](cotangent)]


class Autograd(Peer):
    package = "autograd"

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.tanh = import_module("autograd.numpy").tanh
        self.extend = import_module("autograd.extend")
        self.make_vjp = import_module("autograd").make_vjp
        self.check_grads = import_module("autograd.test_util").check_grads

    def hashed(self, buckets: np.ndarray, signs: np.ndarray, factors: np.ndarray) -> Callable:
        def matrix(weight: np.ndarray) -> np.ndarray:
            return weight[buckets] * signs

        @self.extend.primitive
        def layer(inputs: np.ndarray, weight: np.ndarray) -> np.ndarray:
            V = matrix(weight)
            return inputs @ V[:, :-1].T + V[:, -1]

        def backward(outputs: Any, inputs: np.ndarray, weight: np.ndarray) -> Callable:
            def grad_weight(grad: np.ndarray) -> np.ndarray:
                grad_V = np.concatenate([grad.T @ inputs, grad.sum(0)[:, None]], 1) * signs
                sums = np.bincount(buckets.ravel(), grad_V.ravel(), len(factors))
                return sums.astype(factors.dtype) * factors

            return grad_weight

        self.extend.defvjp(layer, lambda z, a, w: lambda grad: grad @ matrix(w)[:, :-1], backward)
        return layer

    def function(self, problem: Problem) -> tuple[Callable, list[Any]]:
        layers = [
            self.hashed(buckets, signs.astype(problem.dtype), factors.astype(problem.dtype))
            for (buckets, signs), factors in zip(problem.maps, problem.factors)
        ]
        arguments = [values.astype(problem.dtype) for values in (problem.inputs, *problem.weights)]
        return chain(layers, problem.activation, self.tanh), arguments

    def check(self, problem: Problem) -> None:
        function, arguments = self.function(problem)
        np.random.seed(0)  # of its directions
        every = tuple(range(len(arguments)))
        self.check_grads(function, every, modes=["rev"], order=1, **self.options)(*arguments)

    def gradients(self, problem: Problem, cotangent: np.ndarray) -> list[np.ndarray]:
        function, arguments = self.function(problem)
        return list(self.make_vjp(function, tuple(range(len(arguments))))(*arguments)[0](cotangent))


def chain(layers: list[Callable], activation: str, tanh: Callable) -> Callable:
    """Return the network as a function of inputs and weights."""

    def function(inputs: Any, *weights: Any) -> Any:
        outputs = inputs
        for position, (layer, weight) in enumerate(zip(layers, weights)):
            if position:
                outputs = tanh(outputs) if activation == "tanh" else outputs * (outputs > 0)
            outputs = layer(outputs, weight)
        return outputs

    return function


ROWS: list[tuple[type[Peer], str, dict[str, Any]]] = [
    (Minihash, "minihash check_gradients", {}),
    (Minihash, "minihash, max_coordinates=0", {"max_coordinates": 0}),
    (Torch, "torch gradcheck", {}),
    (Torch, "torch gradcheck, fast_mode", {"fast_mode": True}),
    (Torch, "torch gradcheck, atol = rtol = 1e-8", {"atol": 1e-8, "rtol": 1e-8}),
    (Jax, "jax check_grads", {}),
    (Autograd, "autograd check_grads", {}),
]


def make_peers() -> tuple[list[Peer], list[str]]:
    """Return the checkers that are installed, and the names of those that are not."""
    peers, missing = [], []
    for kind, name, options in ROWS:
        try:
            peers.append(kind(name, **options))
        except ImportError:
            missing.append(name)
    return peers, missing


# ------------------------------------------------------------------------------------ measurements


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


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


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
    print(f"Python {platform.python_version()}; one thread of {os.cpu_count()} cores, {processor()}")
    print(f"not installed: {', '.join(results['missing']) or 'none'}\n")
    print_tables(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
