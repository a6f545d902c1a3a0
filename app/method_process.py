"""Runs a module of the method's rooms as a child process, since this room knows nothing of the method."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Sequence

from app.child_environment import child_environment

_NEEDED = ("torch", "torchvision", "safetensors", "jaxtyping", "numpy", "filelock", "platformdirs")
_END_SECONDS = 10.0


class WorkerExtraMissing(Exception):
    """The method's requirements are not installed here."""

    def __init__(self, missing: list[str]) -> None:
        super().__init__(f"This needs what the workers need, and {', '.join(missing)} is not installed: pip install 'personalseg[worker]'.")


def run_module(module: str, arguments: Sequence[str], *, standard_input: bytes | None = None) -> int:
    """`python -m module arguments…`, on this terminal; its exit code. Broken off with Ctrl-C, it ends before this does.

    Raises WorkerExtraMissing.
    """
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise WorkerExtraMissing(missing)
    child = subprocess.Popen(  # noqa: S603 - ours, no shell
        [sys.executable, "-m", "app.method_child", module, *arguments],
        env=child_environment(),
        stdin=None if standard_input is None else subprocess.PIPE,
    )
    try:
        child.communicate(standard_input)
        return child.returncode
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Leave nothing running: a terminal has sent the child its Ctrl-C already, `kill` has not."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
