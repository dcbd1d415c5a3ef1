"""Threads: how many, what they do to BLAS, and what a failing task or a fork does to them."""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
import warnings

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from minihash.kernels import threads

WAIT = 30  # seconds, before a test that hangs gives up


@pytest.fixture(autouse=True)
def default_threads(monkeypatch, set_num_threads):
    for name in ("MINIHASH_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    threads._default_num_threads.cache_clear()
    yield
    threads._default_num_threads.cache_clear()


@pytest.fixture
def blas(monkeypatch):
    """A function that returns the numbers of threads of the BLAS libraries; not 1 at the start."""

    def count():
        return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]

    before = count()
    if not before or min(before) == 1:
        pytest.skip("needs a BLAS with threads")
    # A fresh guard: a library loaded since the last use of the old one is unknown to it.
    monkeypatch.setattr(threads, "_single_threaded_blas", threads._SingleThreadedBlas())
    yield count
    if count() != before:  # a failure must not reach the next test
        threadpool_limits(max(before), "blas")


# ------------------------------------------------------------------------------------- how many


def test_set_num_threads(set_num_threads):
    default = threads.num_threads()
    assert default >= 1
    for count in (1, 3, np.int64(7), threads.MAX_THREADS):
        set_num_threads(count)
        assert threads.num_threads() == count
    set_num_threads(None)
    assert threads.num_threads() == default


@pytest.mark.parametrize("count", [0, -1, threads.MAX_THREADS + 1, 1.5, "2"])
def test_set_num_threads_refuses(set_num_threads, count):
    set_num_threads(3)
    with pytest.raises(ValueError, match="^count is"):
        set_num_threads(count)
    assert threads.num_threads() == 3


def test_environment_variable_sets_the_default(monkeypatch, set_num_threads):
    default = threads.num_threads()
    monkeypatch.setenv("MINIHASH_NUM_THREADS", "5")
    assert threads.num_threads() == 5
    set_num_threads(2)
    assert threads.num_threads() == 2
    set_num_threads(None)
    monkeypatch.setenv("MINIHASH_NUM_THREADS", "")
    assert threads.num_threads() == default


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "100000"])
def test_environment_variable_is_checked(monkeypatch, value):
    monkeypatch.setenv("MINIHASH_NUM_THREADS", value)
    with pytest.raises(ValueError, match=f"^MINIHASH_NUM_THREADS is '?{value}"):
        threads.num_threads()


@pytest.mark.parametrize(
    "numba, omp, wanted",
    [
        ("3", "", 3),
        ("", "3", 3),
        ("3", "2", 2),
        ("2", "3", 2),
        ("100", "", 4),
        ("", "2,4", 2),
        (" 3 ", " 2 , 1", 2),
        ("0", "-1", 4),
        ("two", "1.5", 4),
        ("", ",2", 4),
        ("two", "3", 3),
    ],
)
def test_variables_of_other_libraries_limit_the_default(monkeypatch, set_num_threads, numba, omp, wanted):
    monkeypatch.setattr(threads, "cores", lambda: set(range(4)))
    monkeypatch.setenv("NUMBA_NUM_THREADS", numba)
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    assert threads.num_threads() == wanted
    monkeypatch.setenv("MINIHASH_NUM_THREADS", "6")
    assert threads.num_threads() == 6
    set_num_threads(5)
    assert threads.num_threads() == 5


@pytest.mark.parametrize("omp, wanted", [("", 4), ("3", 3), ("1", 1)])
def test_a_share_of_the_cores_is_within_the_limit_of_a_process(monkeypatch, omp, wanted):
    monkeypatch.setattr(threads, "cores", lambda: set(range(8)))
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    with threads.shared(2):
        assert threads.num_threads() == wanted


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs sched_getaffinity")
def test_default_is_one_thread_a_core_of_this_process():
    assert threads.num_threads() == len(os.sched_getaffinity(0))


# -------------------------------------------------------------------------------------- running


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("tasks", [0, 1, 2, 17])
def test_every_task_runs_once(set_num_threads, count, tasks):
    set_num_threads(count)
    done = []
    threads.run((lambda n=n: done.append(n)) for n in range(tasks))
    assert sorted(done) == list(range(tasks))


def test_tasks_run_at_the_same_time_in_so_many_threads(set_num_threads):
    set_num_threads(3)
    barrier, names = threading.Barrier(3), set()

    def task():
        barrier.wait(WAIT)  # passes only if three threads are here together
        names.add(threading.current_thread())

    threads.run([task] * 3)
    assert len(names) == 3 and threading.current_thread() in names


def test_one_thread_is_the_calling_one(set_num_threads):
    set_num_threads(1)
    names = set()
    threads.run([lambda: names.add(threading.current_thread())] * 4)
    assert names == {threading.current_thread()}


def test_blas_has_one_thread_inside_and_its_own_number_after(set_num_threads, blas):
    set_num_threads(2)
    seen, before = [], blas()
    threads.run([lambda: seen.append(blas())] * 4)
    assert [set(counts) for counts in seen] == [{1}] * 4
    assert blas() == before


def test_a_single_task_runs_in_the_calling_thread(blas):
    seen, before = [], blas()
    threads.run([lambda: seen.append((set(blas()), threading.current_thread()))])
    assert seen == [({1}, threading.current_thread())]
    assert blas() == before


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("where", [0, 3, 7])
def test_an_exception_is_raised_and_blas_restored(set_num_threads, blas, count, where):
    set_num_threads(count)
    before, running = blas(), []

    def task(n):
        running.append(n)
        time.sleep(0.002)
        running.remove(n)
        if n == where:
            raise ArithmeticError(n)

    with pytest.raises(ArithmeticError, match=str(where)):
        threads.run((lambda n=n: task(n)) for n in range(8))
    assert not running and blas() == before
    test_every_task_runs_once(set_num_threads, count, 17)  # and the pool is as good as new


def test_an_exception_of_a_helper_is_raised(set_num_threads, blas):
    set_num_threads(2)
    before, caller, barrier = blas(), threading.current_thread(), threading.Barrier(2)

    def task():
        barrier.wait(WAIT)
        if threading.current_thread() is not caller:
            raise ArithmeticError("helper")

    with pytest.raises(ArithmeticError, match="helper"):
        threads.run([task] * 2)
    assert blas() == before


@pytest.fixture
def no_more_threads(monkeypatch):
    """A function after which only so many threads start, as under `ulimit -u` or a limit of a container."""
    start = threading.Thread.start

    def limit(more):
        left = [None] * more

        def limited(thread):
            if not left:
                raise RuntimeError("can't start new thread")
            left.pop()
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)
        monkeypatch.setattr(threads, "_pool", None)  # without idle threads

    return limit


@pytest.mark.parametrize("more", [0, 1, 2])
def test_where_no_thread_can_be_started_the_calling_one_works(set_num_threads, blas, no_more_threads, more):
    set_num_threads(4)
    no_more_threads(more)
    before, names, done = blas(), set(), []

    def task(number):
        names.add(threading.current_thread())
        done.append(number)

    for _ in range(3):
        threads.run(lambda n=n: task(n) for n in range(50))
    assert sorted(done) == sorted([*range(50)] * 3)
    assert threading.current_thread() in names and len(names) <= 1 + more
    assert blas() == before


def test_a_helper_that_could_not_be_started_never_helps(set_num_threads, no_more_threads):
    """Its turn may come when the caller is gone: what it would take then nobody would wait for."""
    set_num_threads(2)
    go, release, busy, done = threading.Event(), threading.Event(), threading.Semaphore(0), []

    def task():
        busy.release()
        release.wait(WAIT)

    def use():
        go.wait(WAIT)
        threads.run([task] * 2)

    user = threading.Thread(target=use)
    user.start()
    no_more_threads(1)
    go.set()
    assert busy.acquire(timeout=WAIT) and busy.acquire(timeout=WAIT)  # the one thread of the pool has work
    tasks = [lambda: done.append(threading.current_thread())] * 2
    threads.run(tasks)
    assert done == [threading.current_thread()] * 2
    later = threads._workers()
    release.set()
    user.join(WAIT)
    assert not user.is_alive() and threads._workers() is later
    threads.run(tasks)
    assert len(done) == 4


def test_tasks_see_the_error_state_of_the_caller(set_num_threads):
    set_num_threads(2)
    barrier, seen = threading.Barrier(2), []

    def task():
        barrier.wait(WAIT)
        seen.append(np.geterr())

    with np.errstate(over="raise", invalid="ignore"):
        ref = np.geterr()
        threads.run([task] * 2)
    assert seen == [ref, ref]


def test_nested_runs(set_num_threads, blas):
    set_num_threads(3)
    before, totals = blas(), []

    def outer(n):
        done = []
        threads.run((lambda m=m: done.append(m)) for m in range(n))
        totals.append(sum(done))

    threads.run((lambda n=n: outer(n)) for n in range(2, 20))
    assert sorted(totals) == [n * (n - 1) // 2 for n in range(2, 20)]
    assert blas() == before


def test_many_users_at_once(set_num_threads, blas):
    set_num_threads(3)
    before, totals = blas(), {}

    def user(name):
        for _ in range(20):
            done = []
            threads.run((lambda n=n: done.append(n * name)) for n in range(9))
            totals.setdefault(name, []).append(sum(done))

    users = [threading.Thread(target=user, args=(name,)) for name in range(4)]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join(WAIT)
    assert totals == {name: [36 * name] * 20 for name in range(4)}
    assert blas() == before


def in_a_thread(tasks):
    """Start a run of another user; return its thread."""
    user = threading.Thread(target=threads.run, args=(tasks,))
    user.start()
    return user


def test_blas_is_limited_whichever_thread_runs(set_num_threads, blas):
    set_num_threads(1)
    seen, before = [], blas()
    for _ in range(2):
        threads.run([lambda: seen.append(blas())] * 2)
        in_a_thread([lambda: seen.append(blas())] * 2).join(WAIT)
    assert [set(counts) for counts in seen] == [{1}] * 8
    assert blas() == before


def test_blas_stays_limited_until_the_last_user_leaves(set_num_threads, blas):
    set_num_threads(1)
    before, entered, release, seen = blas(), threading.Event(), threading.Event(), []

    def wait():
        entered.set()
        assert release.wait(WAIT)
        seen.append(blas())

    user = in_a_thread([wait] * 2)
    assert entered.wait(WAIT)
    threads.run([lambda: None] * 2)  # another user comes and goes
    release.set()
    user.join(WAIT)
    assert [set(counts) for counts in seen] == [{1}] * 2
    assert blas() == before


def test_blas_is_restored_whoever_leaves_last(set_num_threads, blas):
    set_num_threads(1)
    before, entered, release, users = blas(), threading.Event(), threading.Event(), []

    def start_another():
        if not users:
            users.append(in_a_thread([entered.set, lambda: release.wait(WAIT)]))
        assert entered.wait(WAIT)

    threads.run([start_another] * 2)  # the first to enter, and not the last to leave
    assert set(blas()) == {1}
    release.set()
    users[0].join(WAIT)
    assert blas() == before


def test_blas_that_is_loaded_while_others_are_inside_is_limited_too(blas, monkeypatch):
    """Who comes in the middle may be the first to use it, and nobody need ever leave."""
    before, controller = blas(), threads.ThreadpoolController
    nothing = controller().select(filepath="nothing")
    with monkeypatch.context() as patch:
        patch.setattr(threads, "ThreadpoolController", lambda: nothing)
        outer = threads.single_threaded_blas()
        outer.__enter__()
    assert blas() == before
    threads.blas_loaded()
    with threads.single_threaded_blas():
        assert set(blas()) == {1}
    assert set(blas()) == {1}  # until the last leaves
    outer.__exit__()
    assert blas() == before


# -------------------------------------------------------------------------------------- forking


def succeeds_in_a_child(function):
    """Whether `function()` is true in a forked child, in time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forking with threads running
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if function() else 1
        finally:
            os._exit(status)
    for _ in range(WAIT * 100):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def two_threads_meet():
    barrier, done = threading.Barrier(2), []

    def task():
        barrier.wait(5)
        done.append(1)

    threads.run([task] * 2)
    return len(done) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_has_threads_of_its_own(set_num_threads):
    set_num_threads(2)
    assert two_threads_meet()  # the pool exists, with an idle thread
    assert succeeds_in_a_child(two_threads_meet)
    assert not succeeds_in_a_child(lambda: False)
    assert two_threads_meet()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_child_forked_in_the_middle_of_a_run(set_num_threads):
    set_num_threads(2)
    results = []
    threads.run([lambda: results.append(succeeds_in_a_child(two_threads_meet))] * 2)
    assert results == [True, True]
    assert two_threads_meet()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_waits_for_a_compilation():
    """A child with a copy of the compiler's lock, held, would wait for ever at its first kernel."""
    from numba.core.compiler_lock import global_compiler_lock

    importlib.import_module("minihash.kernels.compiling")  # which sees to it
    compiling = threading.Event()

    def compile_something():
        with global_compiler_lock:
            compiling.set()
            time.sleep(0.5)

    def compiles():
        with global_compiler_lock:
            return True

    thread = threading.Thread(target=compile_something)
    thread.start()
    compiling.wait()
    assert succeeds_in_a_child(compiles)
    thread.join()
