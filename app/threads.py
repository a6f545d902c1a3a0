"""How the threads of a process that computes wait for each other (docs/decisions/0020)."""

from __future__ import annotations

from collections.abc import Mapping

SPIN_COUNT = "GOMP_SPINCOUNT"
WAIT_POLICY = "OMP_WAIT_POLICY"
SPINS = "1000"
"""Turns of GNU OpenMP's loop, microseconds in all, before a waiting thread sleeps: enough for the next layer, too few to hold a core."""


def waiting_threads(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to a child's environment. Read when torch is loaded, so a process cannot set it for itself.

    Nothing where the operator has said how threads wait.
    """
    return {} if {SPIN_COUNT, WAIT_POLICY} & set(environment) else {SPIN_COUNT: SPINS}
