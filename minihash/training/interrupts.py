"""Signals that wait until a step is done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from minihash.terminal import TERMINATIONS


class Interrupted(KeyboardInterrupt):
    """A training was stopped by a signal; its state is saved if there is a checkpoint.

    signal : its number; that of SIGTERM where it came to another rank.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = number or signal.SIGTERM


class Signals:
    """Holds SIGINT, SIGTERM and SIGHUP back while it is entered: `caught` is the one that came, or 0.

    A second one is not held back. Outside the main thread, where there are no handlers, nothing changes.
    """

    def __init__(self) -> None:
        self.caught = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *TERMINATIONS):
                if signal.getsignal(number) is signal.SIG_IGN:  # a job in the background, or under nohup
                    continue
                self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _catch(self, number: int, frame: Any) -> None:
        if self.caught:
            raise KeyboardInterrupt
        self.caught = number


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let a signal that comes meanwhile do at the end what it would have done."""
    with Signals() as signals:
        yield
    if signals.caught:
        signal.raise_signal(signals.caught)
