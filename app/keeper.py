"""Sees to it that no child outlives a deployment that was killed without a word (SIGKILL, out of memory).

One small process per deployment, standard library only. The deployment writes lines to its standard input: `+PID` for a
new child, `-PID` for one that has ended, `@FOLDER` for a temporary folder to remove. When that pipe closes, the
deployment is gone, however it went: every child still listed is asked to stop, and killed when it does not.
(PR_SET_PDEATHSIG would do it on Linux only, and follows the thread that forked, not the process.)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time

GRACE_SECONDS = 7.0


def main() -> None:
    """Read until the pipe closes, then clean up."""
    children: set[int] = set()
    folders: set[str] = set()
    for line in sys.stdin:
        note(line.strip(), children, folders)
    stop_all(children)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def note(line: str, children: set[int], folders: set[str]) -> None:
    """Take one line of the deployment into account."""
    kind, rest = line[:1], line[1:]
    if kind == "+":
        children.add(int(rest))
    elif kind == "-":
        children.discard(int(rest))
    elif kind == "@":
        folders.add(rest)


def stop_all(children: set[int]) -> None:
    """SIGTERM, some seconds of grace, SIGKILL."""
    _signal(children, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline and any(_is_there(pid) for pid in children):
        time.sleep(0.1)
    _signal({pid for pid in children if _is_there(pid)}, signal.SIGKILL)


def _signal(children: set[int], number: signal.Signals) -> None:
    for pid in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main()
