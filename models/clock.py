"""Stages, progress, the wall-clock budget and cancellation of a personalisation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from models.types import Cancelled, Progress

STAGES: tuple[tuple[str, float], ...] = (("looking", 0.08), ("aligning", 0.09), ("labelling", 0.28), ("training", 0.42), ("checking", 0.13))
"""What a personalisation does, and each stage's usual share of its time (measured on 64 photos, two cores)."""


class Clock:
    """Stages, progress, the wall-clock budget and cancellation."""

    def __init__(self, budget_seconds: float, on_progress: Callable[[Progress], None], should_stop: Callable[[], bool]) -> None:
        self._start, self._budget = time.monotonic(), budget_seconds
        self._on_progress, self._should_stop = on_progress, should_stop
        self._stage_start = self._start
        self._stage: str | None = None
        self._told = 0.0
        self.seconds: dict[str, float] = {}
        self.budget_reached = False

    def stage(self, name: str) -> None:
        """Closes the stage before and opens this one; what an earlier run took for it counts."""
        self.close()
        self._stage, self._stage_start = name, time.monotonic() - self.seconds.get(name, 0.0)

    def close(self) -> None:
        """Notes how long the open stage took."""
        if self._stage is not None:
            self.seconds[self._stage] = time.monotonic() - self._stage_start
        self._stage = None

    def step(self, step: int, steps: int) -> None:
        """Tells progress. Raises Cancelled where the caller asked to stop."""
        self.look()
        assert self._stage is not None
        before = sum(share for name, share in STAGES[: [name for name, _ in STAGES].index(self._stage)])
        share = dict(STAGES)[self._stage]
        # After a resume some steps are done again, but progress never falls.
        self._told = max(self._told, before + share * step / max(1, steps))
        self._on_progress(Progress(self._stage, step, steps, self._told))

    def look(self) -> None:
        """Between steps: raises Cancelled where the caller asked to stop."""
        if self._should_stop():
            raise Cancelled

    def spent(self, share: float) -> bool:
        """Whether `share` of the budget is gone, counted from the start of the job."""
        gone = time.monotonic() - self._start >= share * self._budget
        self.budget_reached |= gone
        return gone

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def state(self) -> dict[str, Any]:
        """For a checkpoint: JSON."""
        seconds = dict(self.seconds)
        if self._stage is not None:
            seconds[self._stage] = time.monotonic() - self._stage_start
        return {
            "stage": self._stage,
            "seconds": seconds,
            "elapsed": self.elapsed,
            "budget_reached": self.budget_reached,
            "told": self._told,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Goes on from another clock's `state`: the time that was spent before counts."""
        self._start = time.monotonic() - state["elapsed"]
        self.seconds = dict(state["seconds"])
        self.budget_reached = self.budget_reached or state["budget_reached"]
        self._told = state["told"]
