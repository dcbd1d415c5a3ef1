"""Where a figure was measured."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from minihash.machine import cores, lines

PACKAGES = ("minihash", "numpy", "scipy", "numba", "torch")


def machine() -> dict[str, Any]:
    """Return what figures depend on besides settings: date, processor, cores, versions, commit.

    The commit is that of a checkout, with a + where files of it have changed since; "" elsewhere.
    """
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(cores()),
        "versions": versions,
        "commit": _commit(),
    }


def _processor() -> str:
    for line in lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    checkout = Path(__file__).parent.parent
    if not (checkout / ".git").exists():  # installed into some other project's checkout, perhaps
        return ""
    describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
