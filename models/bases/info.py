"""What a base is: the values of the registry. Nothing is loaded here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from models.bases.network import BaseNetwork
from models.context import InterImageContext
from models.labels import VOC_CLASSES, VOC_PALETTE
from models.nonparametric_context import NonParametricContext
from models.segmenter import Segmenter

ContextKind = Literal["trained", "non-parametric"]


@dataclass(frozen=True)
class Published:
    """Weights that others publish as a PyTorch checkpoint: fetched on first use, checked, converted (`models.bases.fetch`)."""

    root: str
    """URL of the folder; an operator's mirror takes its place."""
    file: str
    sha256: str
    """Of the whole file, lower-case hex. Where the publisher names its first digits in the file name, they are the same."""
    byte_size: int

    @property
    def url(self) -> str:
        """Where the publisher has it."""
        return f"{self.root}/{self.file}"


@dataclass(frozen=True)
class BaseInfo:
    """What a base is, before anything is loaded. One of `weights` (shipped), `published` (fetched) or neither (to be trained)."""

    name: str
    title: str
    network: Callable[[], BaseNetwork] = field(repr=False)
    """Builds the base network, randomly initialised."""
    side: int
    """Side in pixels of the square that a photo is squashed to."""
    licence: str
    scores: dict[str, float]
    """In percent. Names that begin with `torchvision_` are torchvision's own figures on its own test set; all others are measured by
    `python -m models.evaluate` on `voc2012/val` (730 photos). Empty where there are none."""
    context: ContextKind = "trained"
    """Whether the context module has trained weights, or works without any (`models.nonparametric_context`)."""
    familiar_distance: float | None = None
    """How far ordinary photos are from its training statistics, in nats (`models.appearance`; mean of four draws of 16 photos of
    `voc2012/train`). None where nobody measured it: then every gallery counts as familiar."""
    weights: Path | None = None
    """The weights file that ships with the project."""
    sha256: str = ""
    """Names the weights for good: of the shipped or the published file; of the installed one where a base is trained by its user."""
    published: Published | None = None
    class_names: tuple[str, ...] = VOC_CLASSES
    palette: tuple[tuple[int, int, int], ...] = VOC_PALETTE

    @property
    def must_be_trained(self) -> bool:
        """Whether there are no weights of it anywhere: it works only once somebody has trained and installed some."""
        return self.weights is None and self.published is None

    def build(self) -> Segmenter:
        """Network and context module, randomly initialised."""
        network, classes = self.network(), len(self.class_names)
        if self.context == "non-parametric":
            return Segmenter(network, NonParametricContext(network.deep_channels, classes))
        return with_new_context(network, classes)


@dataclass(frozen=True)
class Base:
    """A base, loaded: shared by all users of a process and never changed."""

    info: BaseInfo
    segmenter: Segmenter
    device: torch.device

    @property
    def classes(self) -> int:
        """How many classes it tells apart, background included."""
        return len(self.info.class_names)


def with_new_context(network: BaseNetwork, classes: int = len(VOC_CLASSES)) -> Segmenter:
    """A network with a new trainable context module, which changes nothing yet."""
    return Segmenter(network, InterImageContext(network.deep_channels, network.fine_channels, classes))
