"""What a method of the survey is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from models.bases.registry import Base
from models.datasets import LabelledFolder
from models.types import PhotoSource, Verdict

Forward = Callable[[Float[Tensor, "images 3 h w"]], Float[Tensor, "images classes h2 w2"]]
"""Normalised input → class logits, without gradient."""
Segment = Callable[[UInt8[np.ndarray, "height width 3"]], UInt8[np.ndarray, "height width"]]
"""A photo → its class ids, at the photo's own size."""


@dataclass(frozen=True)
class Problem:
    """One user's gallery, unlabelled, and the means to adapt to it."""

    base: Base
    """Never changed by a method."""
    photos: PhotoSource
    pixels: UInt8[Tensor, "photos 3 side side"]
    """The same photos, squashed to the base's side."""
    source: LabelledFolder | None
    """Labelled photos of the public source set, for the methods that need them."""
    budget_seconds: float = 240.0
    """Wall-clock bound of the adaptation; no new step is begun after it."""
    epochs: int = 4
    """Planned passes over the gallery: what bounds the work where the clock does not, so that results are deterministic."""
    batch_size: int = 8
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    """For `ours`: what to override in PersonalizeConfig."""


@dataclass(frozen=True)
class Adapted:
    """What came out. The scorer gives `forward` batches of `batch_size` photos of the gallery, in its order."""

    forward: Forward
    note: str
    """What was done, e.g. how many steps of how many."""
    before: Forward | None = None
    """What the guard compares with, where that is not the base's plain network."""
    segment: Segment | None = None
    """How the service segments one photo, where that is more than `forward` and enlarging."""
    verdict: Verdict | None = None
    """Of a method that ended with the base by itself, and says why."""
    served: Segment | None = None
    """What the service uses where the guard refuses what was learned, if that is not the base."""
    model_bytes: int = 0


class Method(Protocol):
    """An adaptation method."""

    @property
    def name(self) -> str:
        """For tables and cache keys."""
        ...

    @property
    def paper(self) -> str:
        """arXiv id."""
        ...

    @property
    def needs_source(self) -> bool:
        """Whether it trains on labelled source photos, too."""
        ...

    def adapt(self, problem: Problem) -> Adapted:
        """Adapts a copy of the base to the photos. Raises ValueError where source data are needed and missing."""
        ...
