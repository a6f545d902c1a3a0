"""The ends that come from outside, taken like Ctrl-C, so that children are stopped and half-written folders removed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn


def end_as_by_ctrl_c() -> None:
    """From here on Ctrl-C, SIGTERM and a lost terminal (SIGHUP, where there is one) raise KeyboardInterrupt in the main thread.

    A SIGHUP that is ignored, as under `nohup`, stays so; so does the Ctrl-C of what a script runs in the background.
    """
    handle_unless_ignored(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        handle_unless_ignored(signal.SIGHUP, _end_once)


def handle_unless_ignored(number: signal.Signals, handler: Callable[[int, FrameType | None], object]) -> None:
    """Take this signal from here on, unless whoever started the process wants it ignored."""
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, handler)


def _end_once(number: int, _frame: FrameType | None) -> NoReturn:
    # The shell sends it and the kernel again: a second one must not break the tidying up.
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
