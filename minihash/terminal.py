"""What is printed: it goes on when nobody reads, and what an encoding does not have is replaced."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

#: What tells a process to end; Windows has no SIGHUP.
TERMINATIONS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
GONE = (errno.EPIPE, errno.EIO, errno.ENXIO, errno.EBADF)  # the reader of a pipe (`head`), or the terminal


class Forgiving:
    """A text stream whose failures end nothing: there may be a network to save.

    error : the first one, or None. What is written after it leads nowhere.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        """Write text, with ? for what the stream's encoding does not have."""
        try:
            return self._stream.write(text)
        except UnicodeEncodeError as error:
            return self.write(text.encode(error.encoding, "replace").decode(error.encoding))
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
        with contextlib.suppress(OSError, ValueError):  # of a stream without a file
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def forgiving(stream: Any) -> Any:
    """Return a stream that forgives; None, which is what stdout is under pythonw, stays."""
    return stream if stream is None or isinstance(stream, Forgiving) else Forgiving(stream)


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
    """Run a command: its output forgives, its warnings are a line, and it ends in order when it is told to."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(forgiving, before)
    try:
        with warnings.catch_warnings(), _terminations():
            warnings.showwarning = _show_warning
            yield
    finally:
        sys.stdout, sys.stderr = before


def _show_warning(message: Warning | str, *place: Any) -> None:
    print(f"minihash: warning: {' '.join(str(message).split())}", file=sys.stderr)


class Terminated(KeyboardInterrupt):
    """A signal told the process to end.

    signal : its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__("terminated")
        self.signal = number


@contextlib.contextmanager
def _terminations() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, once: then temporary files are removed, undisturbed."""
    before: dict[int, Any] = {}

    def end(number: int, frame: Any) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)
        raise Terminated(number)

    if threading.current_thread() is threading.main_thread():
        for number in TERMINATIONS:
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
