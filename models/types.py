"""Small frozen values that the rooms of `models` hand to each other, and that the door hands out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor


class Features(NamedTuple):
    """What a base network gives for a batch of photos; each map at a stride of the base's own (ESPNetv2: 16, 8, 2; DeepLab: 8, 8, 8)."""

    deep: Float[Tensor, "images deep_channels hd wd"]
    """What the photo shows: the last encoder map, or what the classifier reads. Photos are grouped by it."""
    fine: Float[Tensor, "images fine_channels hf wf"]
    """A map that is at least as fine as `deep`."""
    logits: Float[Tensor, "images classes hl wl"]
    """The base's own class logits, at the stride the network ends at."""


@runtime_checkable
class PhotoSource(Protocol):
    """A gallery, read photo by photo as it is needed, never whole."""

    @property
    def ids(self) -> Sequence[str]:
        """One id a photo, in a fixed order."""
        ...

    def load(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """The photo, EXIF-upright RGB in [0, 255]. Raises PhotoUnavailable where the gallery should go on without it."""
        ...


@dataclass(frozen=True)
class Progress:
    """Where a personalisation is. `fraction` of the whole job lies in [0, 1] and never falls."""

    stage: str
    step: int
    steps: int
    fraction: float


@dataclass(frozen=True)
class Verdict:
    """What the guard decided, without a label: whether the personal model may serve its user."""

    accepted: bool
    code: str
    sentence: str
    figures: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For the report and the job row."""
        return {"accepted": self.accepted, "code": self.code, "sentence": self.sentence, "figures": self.figures}


@dataclass(frozen=True)
class Segmentation:
    """One photo's result at the photo's own size."""

    labels: UInt8[np.ndarray, "height width"]
    """Class ids."""
    confidence: Float[np.ndarray, "height width"]
    """Probability of the class shown, in [0, 1]."""


class Cancelled(Exception):
    """`should_stop` turned true; nothing was produced."""


class PhotoUnavailable(Exception):
    """A photo of the gallery cannot be had (any more); says why, in a sentence. The personalisation goes on without it."""


class ModelFileError(ValueError):
    """A model file does not fit: wrong format, version, base, shape or name. Says which."""
