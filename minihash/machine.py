"""The machine: its cores, and the memory that there is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def cores() -> set[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def launched() -> tuple[int, int]:
    """Return which of how many processes this is, as mpiexec (MPICH, Intel, Open MPI) says; else (0, 1)."""
    for rank, size in (("PMI_RANK", "PMI_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")):
        if os.environ.get(size, "").isdecimal():
            return int(os.environ.get(rank, "0")), int(os.environ[size])
    return 0, 1


ALWAYS_THERE = 2**26  # bytes that are not worth asking for


def check_memory(what: str, needed: float, wanted: str) -> None:
    """Refuse what needs more bytes than are available, before the system kills the process for it.

    The ValueError says what needs how much, and that what is `wanted` would need less. There is none where
    the system does not say how much is available.
    """
    available = available_memory() if needed >= ALWAYS_THERE else None
    if available is not None and needed > available:
        amounts = f"about {_gigabytes(needed)}, and {_gigabytes(available)} are available"
        raise ValueError(f"{what} needs {amounts}: wanted {wanted}")


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.3g} GB" if count < 1e12 else f"{count / 1e9:,.0f} GB"


def available_memory() -> int | None:
    """Return how many bytes this process may still take, by the least of all limits; None if unknown."""
    return min((max(0, count) for count in (*_free(), *_of_groups(), *_of_limits())), default=None)


def _numbers(path: str | Path) -> dict[str, int]:
    """Return the numbers of a file of the system by the words before them, "" if there are none."""
    words_of_lines = [line.split() for line in lines(path)]
    named = [["", *words] if len(words) == 1 else words for words in words_of_lines]
    return {words[0].rstrip(":"): int(words[1]) for words in named if len(words) > 1 and words[1].isdecimal()}


def lines(path: str | Path) -> list[str]:
    """Return the lines of a file of the system, none where it is not to be read."""
    try:
        return Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _free() -> Iterator[int]:
    """Yield what the machine has left, in memory and swap."""
    kilobytes = _numbers("/proc/meminfo")
    if "MemAvailable" in kilobytes:
        yield 1024 * (kilobytes["MemAvailable"] + kilobytes.get("SwapFree", 0))


#: Of a control group, by the controllers of its line in /proc/self/cgroup ("" for version 2): the folder of
#: all groups, the files with its limit and its use, and what of that are cached files, to be had back.
CACHED = ("inactive_file", "active_file")
GROUPS = {
    "": ("", "memory.max", "memory.current", CACHED),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", [f"total_{x}" for x in CACHED]),
}


def _of_groups(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> Iterator[int]:
    """Yield what the limits of this process's control groups leave: of containers and batch systems."""
    for words in (line.split(":", 2) for line in lines(own)):
        if len(words) < 3 or words[1] not in GROUPS:
            continue
        folder, limit, use, cached = GROUPS[words[1]]
        group = Path(root, folder, words[2].lstrip("/"))
        for place in (group, *group.parents):
            if place == Path(root).parent:
                break
            most, used = _numbers(place / limit), _numbers(place / use)
            if most and used:
                files = _numbers(place / "memory.stat")
                yield most[""] - used[""] + sum(files.get(name, 0) for name in cached)


def _of_limits() -> Iterator[int]:
    """Yield what `ulimit -v` and `ulimit -d` leave."""
    if resource is None:
        return
    kilobytes = _numbers("/proc/self/status")
    for kind, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY and name in kilobytes:
            yield limit - 1024 * kilobytes[name]
