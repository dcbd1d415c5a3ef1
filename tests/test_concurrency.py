"""Networks in many threads and processes at once: the same bits as alone, and nobody waits for ever."""

from __future__ import annotations

import faulthandler
import functools
import multiprocessing
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from minihash import evaluate, fit, load, mlp, save
from minihash.fused import obstacle
from minihash.network import Network
from minihash.optimizers import SGD
from minihash.quantization import quantize

WORKERS = 8
WAIT = 600  # seconds, before a test that hangs says where
#: What `mlp` takes: small networks, which training fuses, and one that it does not.
NETWORKS = {
    "element": {"sizes": [20, 30, 5], "compression": 0.25},
    "tiles": {"sizes": [20, 30, 5], "compression": 0.25, "tile": "auto"},
    "dropout": {"sizes": [20, 30, 5], "compression": 0.25, "dropout": 0.2},
    "dense": {"sizes": [20, 30, 5]},
    "large": {"sizes": [20, 600, 300, 5], "compression": 1 / 16},
    "large, tiles": {"sizes": [20, 600, 300, 5], "compression": 1 / 64, "tile": "auto"},
}
INPUTS = np.random.default_rng(0).normal(size=(600, 20)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 5, 600)

pytestmark = pytest.mark.usefixtures("two_threads")


@pytest.fixture
def two_threads(set_num_threads):
    """Two threads a layer, and a traceback of all threads where a test hangs."""
    set_num_threads(2)
    faulthandler.dump_traceback_later(WAIT, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def made(name: str, seed: int = 0) -> Network:
    network = mlp(**NETWORKS[name], seed=seed)
    assert bool(obstacle(network)) == (name in ("large", "large, tiles", "dropout"))
    return network


def trained(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    """The parameters of a network after a training."""
    network = made(name, seed)
    fit(network, (INPUTS, LABELS), (INPUTS[:99], LABELS[:99]), epochs=3, seed=seed, progress=False)
    return network.params


def assert_equal(found: list[dict[str, np.ndarray]], wanted: list[dict[str, np.ndarray]]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted):
        assert one.keys() == other.keys()
        for name, array in other.items():
            np.testing.assert_array_equal(one[name], array, err_msg=name)


def at_once(tasks):
    """The results of tasks, all of which begin together in a thread of their own."""
    barrier = threading.Barrier(len(tasks))

    def begin(task):
        barrier.wait(WAIT)
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(begin, tasks))


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


# --------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("name", [*NETWORKS, "quantized"])
def test_one_network_predicts_in_many_threads(name: str) -> None:
    network = quantize(made("element"), 4) if name == "quantized" else made(name)
    batches = [INPUTS[: 1 + 61 * worker] for worker in range(WORKERS)]  # of all sizes: panels, one row
    wanted = [network.predict(batch) for batch in batches]

    def predict(worker: int) -> list[np.ndarray]:
        return [network.predict(batches[(worker + turn) % WORKERS]) for turn in range(2 * WORKERS)]

    found = at_once([functools.partial(predict, worker) for worker in range(WORKERS)])
    for worker, outputs in enumerate(found):
        for turn, values in enumerate(outputs):
            np.testing.assert_array_equal(values, wanted[(worker + turn) % WORKERS])


def test_networks_train_in_threads_of_their_own() -> None:
    before = blas_threads()
    jobs = [functools.partial(trained, name, seed) for name in NETWORKS for seed in (0, 1)]
    wanted = [job() for job in jobs]
    assert_equal(at_once(jobs), wanted)
    assert blas_threads() == before


def test_a_network_predicts_while_others_train() -> None:
    network, wanted = made("large"), trained("large")
    outputs = network.predict(INPUTS)
    jobs = [functools.partial(trained, "large")] + [functools.partial(network.predict, INPUTS)] * 3
    params, *found = at_once(jobs)
    assert_equal([params], [wanted])
    for values in found:
        np.testing.assert_array_equal(values, outputs)


def test_a_failing_training_does_not_touch_the_others() -> None:
    before, wanted = blas_threads(), trained("element")

    def diverge() -> str:
        with pytest.raises(FloatingPointError, match="training diverged") as error:
            fit(made("tiles"), (1e30 * INPUTS, LABELS), optimizer=SGD(1e5), epochs=9, progress=False)
        return str(error.value)

    params, *messages = at_once([functools.partial(trained, "element"), diverge, diverge])
    assert_equal([params], [wanted])
    assert messages[0] == messages[1] and blas_threads() == before


# ------------------------------------------------------------------------------------- processes

METHODS = multiprocessing.get_all_start_methods()


def scores(network: Network, seed: int) -> dict[str, float]:
    """What a process finds: of a network it was given, trained further."""
    fit(network, (INPUTS, LABELS), epochs=1, seed=seed, progress=False)
    return evaluate(network, (INPUTS, LABELS))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_processes_train_and_predict(method: str) -> None:
    wanted = [trained("element", 0), trained("large", 1)]  # the pool of threads is there before the fork
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forking with threads running
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            found = list(pool.map(trained, ["element", "large"], [0, 1]))
            given = list(pool.map(scores, [made("tiles"), made("large")], [2, 3]))
    assert_equal(found, wanted)
    assert given == [scores(made("tiles"), 2), scores(made("large"), 3)]


@pytest.mark.slow
@pytest.mark.skipif("fork" not in METHODS, reason="needs os.fork")
@pytest.mark.parametrize("name", ["element", "large"])
def test_a_process_forked_in_the_middle_of_a_training(name: str) -> None:
    wanted, found, stop = trained(name), [], threading.Event()

    def keep_training() -> None:
        while not stop.is_set():
            trained(name)

    busy = threading.Thread(target=keep_training)
    busy.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = multiprocessing.get_context("fork")
            for _ in range(5):
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    found.append(pool.submit(trained, name).result(WAIT))
    finally:
        stop.set()
        busy.join()
    assert_equal(found, [wanted] * 5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib(backend: str) -> None:
    joblib = pytest.importorskip("joblib")
    wanted = [trained(name) for name in NETWORKS]
    with joblib.parallel_backend(backend, n_jobs=2):
        assert_equal(joblib.Parallel()(joblib.delayed(trained)(name) for name in NETWORKS), wanted)


def test_a_file_is_written_and_read_by_many(tmp_path) -> None:
    path, networks = tmp_path / "model.mhn", [made("element", seed) for seed in range(WORKERS)]
    save(networks[0], path)

    def write(worker: int) -> None:
        for _ in range(10):
            save(networks[worker], path)

    def read() -> list[int]:
        return [load(path).layers[0].seed for _ in range(10)]

    jobs = [functools.partial(write, worker) for worker in range(WORKERS // 2)] + [read] * (WORKERS // 2)
    seeds = {network.layers[0].seed for network in networks}
    assert all(set(found) <= seeds for found in at_once(jobs)[WORKERS // 2 :])
    assert [file.name for file in tmp_path.iterdir()] == ["model.mhn"]  # nothing half-written is left
