"""What a method gives back that looked at its result with the guard's eyes, as ours does."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.survey.interface import Adapted
from models.comparison import Comparison


@dataclass(frozen=True)
class Guarded(Adapted):
    """An adapted network, and what its guard judges; the verdict is made when the cell is read (`benchmarks.verdicts`)."""

    learned: Comparison | None = None
    """The network before training beside the trained one."""
    shown_as: str | None = None
    """In words, how photos are shown to both; None: as they are."""
    shown: Comparison | None = None
    """The base beside the base that is shown photos so."""
