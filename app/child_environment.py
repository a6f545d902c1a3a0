"""The environment of a child process: where it finds this package, and how its threads wait for each other (docs/decisions/0020)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import app

SPIN_COUNT = "GOMP_SPINCOUNT"
WAIT_POLICY = "OMP_WAIT_POLICY"
SPINS = "1000"
"""Turns of GNU OpenMP's loop, microseconds in all, before a waiting thread sleeps: enough for the next layer, too few to hold a core."""
_ROOT = str(Path(app.__file__).resolve().parent.parent)


def child_environment() -> dict[str, str]:
    """This process's own, for a child that runs a module of ours and may compute."""
    return {**os.environ, **waiting_threads(os.environ), "PYTHONPATH": python_path()}


def python_path() -> str:
    """The folder of this package, then what PYTHONPATH says."""
    return os.pathsep.join([_ROOT, *(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)])


def waiting_threads(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to a child's environment. Read when torch is loaded, so a process cannot set it for itself.

    Nothing where the operator has said how threads wait.
    """
    return {} if {SPIN_COUNT, WAIT_POLICY} & set(environment) else {SPIN_COUNT: SPINS}
