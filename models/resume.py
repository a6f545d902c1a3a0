"""Checkpoints of a personalisation: what is done is kept, so that another process can go on from it.

What does not fit, or is damaged, is left aside; the run then starts from the beginning and its report says why.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from models.checkpoint_file import Checkpoint, CheckpointUnusable, Section, pack, unpack
from models.clock import Clock

EVERY_SECONDS = 10.0  # ours: with the reading of the photos, less than 30 s of work are ever done again
SHARE_OF_TIME = 0.1  # ours: a large model is saved less often, so that saving takes no more of the time …
LEAST_OFTEN_SECONDS = 20.0  # … but never less often than this

log = logging.getLogger(__name__)


@runtime_checkable
class CheckpointStore(Protocol):
    """Where one job's checkpoint is kept. Neither call may raise for a store that is away: the job is worth more than its checkpoint."""

    def load(self) -> bytes | None:
        """The newest checkpoint, or None."""
        ...

    def save(self, data: bytes) -> None:
        """Keeps `data` in place of what was there; all or nothing."""
        ...


class Journal:
    """What a run has done so far; saved when a stage ends, and every few seconds within one. Without a store it keeps nothing."""

    def __init__(self, store: CheckpointStore | None, clock: Clock, fits: str, photo_ids: tuple[str, ...]) -> None:
        self._store, self._clock, self._fits, self._photo_ids = store, clock, fits, photo_ids
        self._sections: dict[str, Section] = {}
        self._due = time.monotonic() + EVERY_SECONDS
        self.resumed_from: str | None = None
        """The stage at which an earlier run's checkpoint goes on."""
        self.seconds_before = 0.0
        """What earlier runs took."""
        self.left_aside: str | None = None
        """Why a checkpoint that was there is not used."""

    @classmethod
    def open(cls, store: CheckpointStore | None, clock: Clock, fits: str, photo_ids: tuple[str, ...]) -> Journal:
        """Goes on from the store's checkpoint where there is one that fits; sets the clock to it."""
        journal = cls(store, clock, fits, photo_ids)
        data = None if store is None else store.load()
        if data is None:
            journal._save()  # already now, for the list of photos: what is uploaded from here on is not of this job
            return journal
        try:
            found = unpack(data)
            if found.fits != fits:
                raise CheckpointUnusable("it is of another gallery, base or configuration")
        except CheckpointUnusable as error:
            journal.left_aside = f"A checkpoint was left aside: {error}."
            log.warning("%s", journal.left_aside)
            return journal
        journal._sections = dict(found.sections)
        clock.resume(found.clock)
        journal.resumed_from, journal.seconds_before = found.clock.get("stage"), clock.elapsed
        return journal

    def finished(self, stage: str) -> Section | None:
        """What a stage that an earlier run ended came to."""
        section = self._sections.get(stage)
        return section if section is not None and section.complete else None

    def begun(self, stage: str) -> Section:
        """How far an earlier run came within a stage; empty where it did not begin."""
        return self._sections.get(stage, Section())

    def forget_all_but(self, stage: str) -> None:
        """Drops what earlier runs did in the other stages."""
        self._sections = {name: section for name, section in self._sections.items() if name == stage}

    def note(self, stage: str, made: Callable[[], Section]) -> None:
        """After a step: saves how far the stage is, where that is due."""
        if self._store is not None and time.monotonic() >= self._due:
            self._sections[stage] = made()
            self._save()

    def finish(self, stage: str, made: Callable[[], Section]) -> None:
        """Saves what the stage came to."""
        if self._store is not None:
            section = made()
            self._sections[stage] = Section(section.tensors, section.facts, complete=True)
            self._save()

    def _save(self) -> None:
        if self._store is None:
            return
        started = time.monotonic()
        self._store.save(pack(Checkpoint(self._fits, self._photo_ids, self._clock.state(), self._sections)))
        took = time.monotonic() - started
        self._due = started + took + min(LEAST_OFTEN_SECONDS, max(EVERY_SECONDS, took / SHARE_OF_TIME))

    def to_json(self) -> dict[str, Any]:
        """For the report; empty where there was nothing to go on from."""
        if self.left_aside is not None:
            return {"checkpoint": {"left_aside": self.left_aside}}
        if self.resumed_from is not None:
            return {"checkpoint": {"resumed_from": self.resumed_from, "seconds_before": round(self.seconds_before, 3)}}
        return {}


def hash_of(facts: Mapping[str, Any]) -> str:
    """64 hex digits over JSON facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def parameters_of(module: nn.Module, prefix: str = "weights") -> dict[str, Tensor]:
    """A module's parameters as they are now (copies), under `prefix.`."""
    return {f"{prefix}.{name}": value.detach().clone() for name, value in module.named_parameters()}


@torch.no_grad()
def restore_parameters(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str = "weights") -> None:
    """Puts `parameters_of`'s tensors back, in place."""
    for name, parameter in module.named_parameters():
        parameter.copy_(tensors[f"{prefix}.{name}"])


def moments_of(optimizer: torch.optim.Optimizer, prefix: str = "moments") -> dict[str, Tensor]:
    """An optimizer's state (copies), under `prefix.`: its tensors by the parameters' positions."""
    return {
        f"{prefix}.{index}.{name}": value.detach().clone()
        for index, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


@torch.no_grad()
def restore_moments(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str = "moments") -> None:
    """Puts `moments_of`'s tensors back, laid out in memory as the parameters are."""
    parameters = _parameters(optimizer)
    for key, value in tensors.items():
        if not key.startswith(f"{prefix}."):
            continue
        index, name = key.removeprefix(f"{prefix}.").split(".", 1)
        parameter = parameters[int(index)]
        same = value.shape == parameter.shape
        optimizer.state[parameter][name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value) if same else value.clone()


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
