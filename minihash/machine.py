"""Where a figure was measured: processor, cores, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("minihash", "numpy", "scipy", "numba", "torch")


def machine() -> dict[str, Any]:
    """Return what figures depend on besides settings: date, processor, cores, versions, commit.

    The commit is that of a checkout, with a + where files of it have changed since; "" elsewhere.
    """
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(cores()),
        "versions": versions,
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    folder = Path(__file__).parent
    describe = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*"]
    if not (folder.parent / ".git").exists():  # installed into some other project's checkout, perhaps
        return ""
    try:
        found = subprocess.run(describe, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


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
