"""How kernels are compiled, and where their machine code is kept between runs.

The cache is a convenience: whatever fails in it, a kernel is compiled and not kept. A file holds a kernel
for one signature, behind a checksum. It lies in a directory named after the code of all modules that
kernels are made of: other code, other directory. Numba's own cache does not see a change of a function
that a kernel calls from another file, needs source files, and raises where a file of it is damaged.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numba
from numba import config as numba_config
from numba.core import event
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps, loads

_config: Any = numba_config  # its attributes are made from the environment
KERNELS = ("numba_cpu", "shared_numba", "fused_numba")
LOSSES = ("softmax", "squared", "binary")
COMPILED = "hashing", *(f"kernels.{name}" for name in KERNELS), *(f"losses.{name}" for name in LOSSES)
MODULES = tuple(f"minihash.{name}" for name in COMPILED)
CHECKSUM = hashlib.sha256().digest_size

_used: set[Path] = set()  # directories that machine code of this process is kept in
_lost: list[str] = []  # names of what was compiled and could not be kept


inline: Any = numba.njit(inline="always")  # a decorator of what is a part of kernels


def kernel(function: Callable | None = None, *, made_of: Callable | None = None, **options: Any) -> Any:
    """Decorate a kernel: compiled at its first call, without the GIL, from the cache if it is there.

    One that is made of a function of no module in MODULES is not kept: nothing tells its old code from new.
    """
    if function is None:
        return functools.partial(kernel, **options)
    dispatcher: Any = numba.njit(nogil=True, **options)(function)
    if made_of is None or made_of.__module__ in MODULES:
        dispatcher._cache = KernelCache(function)  # what `cache=True` sets, to a cache of Numba's
    return dispatcher


def with_callees(function: Callable, compile: Callable[[Callable], Any]) -> Any:
    """Compile a plain function, and the plain functions that it calls by name, to be called by kernels."""
    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        if isinstance(scope.get(name), FunctionType):
            scope[name] = with_callees(scope[name], compile)
    own = function.__name__, function.__defaults__, function.__closure__
    plain = FunctionType(function.__code__, scope, *own)
    plain.__qualname__ = function.__qualname__  # by which machine code is linked
    return compile(plain)


class Compilations(event.Listener):
    """Counts seconds of compiling; calls `begin` before the first one, `end` after each, in its thread."""

    def __init__(self, begin: Callable[[], object], end: Callable[[], object]) -> None:
        self._begin, self._end = begin, end
        self.seconds, self._start, self._depth = 0.0, 0.0, 0  # a kernel may be compiled while another is

    def on_start(self, event: Any) -> None:
        self._depth += 1
        if self._depth == 1:
            if not self.seconds:
                self._begin()
            self._start = time.perf_counter()

    def on_end(self, event: Any) -> None:
        self._depth -= 1
        if not self._depth:
            self.seconds += time.perf_counter() - self._start
            self._end()


class KernelCache(NullCache):
    """The machine code of one kernel, in the first of `directories` that has it, or takes it."""

    def __init__(self, function: Callable) -> None:
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the result of an earlier compilation for a signature, or None."""
        target_context.refresh()
        name = self._file_name(sig, target_context.codegen())
        for directory in directories():
            try:
                content = (directory / name).read_bytes()
            except OSError:  # not there, or not for us
                continue
            try:
                if hashlib.sha256(content[CHECKSUM:]).digest() != content[:CHECKSUM]:
                    raise ValueError("damaged")
                result = CompileResult._rebuild(target_context, *loads(content[CHECKSUM:]))
            except Exception:  # as many kinds as there are ways to be damaged
                with contextlib.suppress(OSError):
                    (directory / name).unlink()
                continue
            _used.add(directory)
            return result
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the result of a compilation, if that is possible."""
        name = self._file_name(sig, data.codegen)
        if not data.library.has_dynamic_globals:  # addresses, which no other process has
            content = dumps(data._reduce())
            for directory in directories():
                with contextlib.suppress(OSError):
                    _write(directory / name, hashlib.sha256(content).digest() + content)
                    _used.add(directory)
                    return
        _lost.append(name)

    def _file_name(self, sig: Any, codegen: Any) -> str:
        """Return a name for a signature, as this Python and this Numba compile it for this processor."""
        key = sig, codegen.magic_tuple(), numba.__version__, sys.implementation.cache_tag
        return f"{self._name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"


def _write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, for everyone to read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(part, "xb") as file:
            file.write(content)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


@functools.cache
def directories() -> list[Path]:
    """Return where machine code may be kept; not all of them need exist, or can be written.

    It is NUMBA_CACHE_DIR if that is set, else a directory beside this file, and one in the user's cache. The
    folder of a frozen program may be a temporary one: there the user's comes first.
    """
    try:
        name = f"minihash-{_digest()}"
    except Exception:  # of an importer that does not show its code: nothing would tell old from new
        return []
    beside, user = Path(__file__).absolute().with_name("__pycache__"), _user_cache()
    bases = [user, beside] if getattr(sys, "frozen", False) else [beside, user]
    if _config.CACHE_DIR:
        bases = [Path(_config.CACHE_DIR).absolute()]
    return [base / name for base in bases if base is not None]


def used_directories() -> list[Path]:
    """Return where the machine code of this process is kept; nothing if some of it is not."""
    return [] if _lost else sorted(_used)


def _user_cache() -> Path | None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "minihash")
    return cache if cache.is_absolute() else None  # without a home, "~" stays what it is


def _digest() -> str:
    """Return what identifies the code of kernels, which may have no source files."""
    code = [importlib.util.find_spec(name).loader.get_code(name) for name in MODULES]  # type: ignore
    if None in code:  # compiled by something else
        raise ImportError("a module has no code of Python")
    return hashlib.sha256("\n".join(map(_text, code)).encode()).hexdigest()[:12]


def _text(value: Any) -> str:
    """Return a constant of a module's code as text, and code without the places of files and lines."""
    if isinstance(value, CodeType):
        own = value.co_code, value.co_names, value.co_varnames, value.co_argcount, value.co_flags
        return f"{own} {[_text(constant) for constant in value.co_consts]}"
    if isinstance(value, frozenset):  # in any order
        return str(sorted(map(_text, value)))
    return repr(value)


if hasattr(os, "register_at_fork"):
    # A child has a copy of the lock and not the thread that would release it: nobody may hold it then.
    release = global_compiler_lock.release
    os.register_at_fork(
        before=global_compiler_lock.acquire, after_in_parent=release, after_in_child=release
    )
