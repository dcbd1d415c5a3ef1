"""How kernels are compiled, and where their machine code is kept between runs.

Numba keeps what it has compiled as long as the kernel's own file is unchanged, and does not see a change
of a function that the kernel calls from another file. So the machine code lies in a directory named
after the text of all files that kernels are made of: other text, other directory.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import config as numba_config
from numba.core.compiler_lock import global_compiler_lock

from minihash import hashing

_config: Any = numba_config  # its attributes are made from the environment
SOURCES = (hashing.__file__, os.path.join(os.path.dirname(__file__), "numba_cpu.py"))


def kernel(function: Callable | None = None, **options: Any) -> Any:
    """Decorate a kernel: compiled at its first call, without the GIL, from the cache if it is there."""
    if function is None:
        return functools.partial(kernel, **options)
    directory = cache_directory()
    if directory is None:  # a read-only installation without a home
        return numba.njit(nogil=True, **options)(function)
    before, _config.CACHE_DIR = _config.CACHE_DIR, str(directory)  # read by the decorator
    try:
        return numba.njit(nogil=True, cache=True, **options)(function)
    finally:
        _config.CACHE_DIR = before


@functools.cache
def cache_directory() -> Path | None:
    """Return the directory of the machine code, or None where none can be written.

    It is under NUMBA_CACHE_DIR if that is set, else beside this file, else in the user's cache.
    """
    text = b"".join(Path(source).read_bytes() for source in SOURCES)
    name = f"minihash-{hashlib.sha256(text).hexdigest()[:12]}"
    bases = [Path(__file__).with_name("__pycache__"), _user_cache()]
    for base in [Path(_config.CACHE_DIR)] if _config.CACHE_DIR else bases:
        try:
            (base / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(base / name, os.W_OK):
            return base / name
    return None


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "minihash")


if hasattr(os, "register_at_fork"):
    # A child has a copy of the lock and not the thread that would release it: nobody may hold it then.
    release = global_compiler_lock.release
    os.register_at_fork(
        before=global_compiler_lock.acquire, after_in_parent=release, after_in_child=release
    )
