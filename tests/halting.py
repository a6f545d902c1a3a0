"""Processes that stand still, as on a machine that hangs; and nobody else waits for them."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

_PATIENCE_SECONDS = 60.0


@contextmanager
def halted(pids: Sequence[int], database_url: str) -> Iterator[None]:
    """These processes stand still, and none of them in the middle of a transaction: on SQLite nobody could write until it goes on."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    try:
        _signal(pids, signal.SIGSTOP)
        while not can_be_written(database_url):
            assert time.monotonic() < deadline, f"one of {pids} holds the write lock whenever it is stopped"
            _signal(pids, signal.SIGCONT)
            time.sleep(0.05)
            _signal(pids, signal.SIGSTOP)
        yield
    finally:
        _signal(pids, signal.SIGCONT)


def can_be_written(database_url: str) -> bool:
    """Whether SQLite's only write lock is free, or becomes free within two seconds; PostgreSQL has one per row."""
    if not database_url.startswith("sqlite"):
        return True
    path = database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None, timeout=2.0)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
    return True


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)
