"""What is printed: it goes on when nobody reads, and what an encoding does not have is replaced."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

#: What tells a process to end; Windows has no SIGHUP.
TERMINATIONS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
AGAIN = 0.1  # seconds until a signal that was swallowed is sent again
GONE = (errno.EPIPE, errno.EIO, errno.ENXIO, errno.EBADF)  # the reader of a pipe (`head`), or the terminal


class Forgiving:
    """A text stream whose failures end nothing: there may be a network to save.

    error : the first failure, or None.
    own : whether the stream is a command's: then after a failure the process's output leads nowhere, until
        `close_own`. That of a program which uses minihash is not ours to lead.
    """

    def __init__(self, stream: Any, own: bool = False) -> None:
        self._stream, self._own = stream, own
        self._descriptor: int | None = None  # of the output that was lost
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        """Write text, with ? for what the stream's encoding does not have."""
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            return self.write(text.encode(encoding, "replace").decode(encoding))
        except (OSError, ValueError) as error:  # ValueError: closed
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        """Remember the error, and lead what is in the buffer nowhere: Python flushes it at its end."""
        self.error = self.error or error
        if self._own and self._descriptor is None:
            with contextlib.suppress(OSError, ValueError):  # of a stream without a file
                number = self._stream.fileno()
                with open(os.devnull, "wb") as nowhere:
                    self._descriptor = os.dup(number)
                    os.dup2(nowhere.fileno(), number)

    def close_own(self) -> None:
        """Forget what could not be written, and let the process have its output again."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()
                os.dup2(self._descriptor, self._stream.fileno())
            os.close(self._descriptor)
            self._descriptor = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def forgiving(stream: Any, own: bool = False) -> Any:
    """Return a stream that forgives; None, which is what stdout is under pythonw, stays."""
    return stream if stream is None or isinstance(stream, Forgiving) else Forgiving(stream, own)


def say(text: object) -> None:
    """Print, at once, whether somebody reads or not."""
    if sys.stdout is not None:
        print(text, file=forgiving(sys.stdout), flush=True)


def lost(stream: Any) -> OSError | None:
    """Return the error with which a stream failed, such as a full disk; None where its reader went away."""
    error = getattr(stream, "error", None)
    return error if isinstance(error, OSError) and error.errno not in GONE else None


@contextlib.contextmanager
def attended() -> Iterator[None]:
    """Run a command: its output forgives, its warnings are a line, and signals end it in order."""
    streams, hook = (sys.stdout, sys.stderr), sys.unraisablehook
    own = [forgiving(stream, own=True) for stream in streams]
    sys.stdout, sys.stderr = own
    before = end_in_order()
    sys.unraisablehook = functools.partial(_send_again, hook)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            yield
    finally:
        for stream, before_it in zip(own, streams):
            if stream is not before_it:  # else it is that of a command which runs this one
                stream.close_own()
        (sys.stdout, sys.stderr), sys.unraisablehook = streams, hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _show_warning(message: Warning | str, *place: Any, **others: Any) -> None:
    print(f"minihash: warning: {' '.join(str(message).split())}", file=sys.stderr)


class Terminated(KeyboardInterrupt):
    """A signal, of the number `signal`, told the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__("terminated")
        self.signal = number


class _End:
    """A handler that ends the process in order; until that is done, further signals do not disturb it."""

    ending = False

    def __call__(self, number: int, frame: Any) -> None:
        if not self.ending:
            self.ending = True
            raise Terminated(number)


def end_in_order() -> dict[int, Any]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, so that temporary files are removed.

    Return the handlers that there were, of the signals that are not ignored (as nohup does with SIGHUP).
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    end, default = _End(), signal.SIG_DFL
    return {one: signal.signal(one, end) for one in TERMINATIONS if signal.getsignal(one) is default}


def _send_again(hook: Callable[[Any], object], ignored: Any) -> None:
    """Send a signal again whose exception was swallowed, in a callback of LLVM or a finalizer."""
    if not isinstance(ignored.exc_value, KeyboardInterrupt):
        hook(ignored)
        return
    number = getattr(ignored.exc_value, "signal", signal.SIGINT)
    handler = signal.getsignal(number)
    if isinstance(handler, _End):
        handler.ending = False
    threading.Timer(AGAIN, os.kill, (os.getpid(), number)).start()
