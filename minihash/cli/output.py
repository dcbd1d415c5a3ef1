"""What a long command prints: it goes on when nobody reads."""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """Print, at once; if the reader is gone (as `head` is), go on in silence: there is a network to save."""
    if sys.stdout is None:
        return
    try:
        print(text, flush=True)
    except BrokenPipeError:
        silence()


def silence() -> None:
    """Let standard output lead nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
