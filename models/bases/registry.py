"""The registry of base models: each entry binds architecture, weights, preprocessing, classes, scores and licence (METHOD, "Decisions")."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from models.bases.espnetv2 import ESPNetv2
from models.context import InterImageContext
from models.labels import VOC_CLASSES, VOC_PALETTE
from models.segmenter import Segmenter
from models.types import ModelFileError

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
FORMAT = "personalseg-base-1"


@dataclass(frozen=True)
class BaseInfo:
    """What a base is, before anything is loaded."""

    name: str
    title: str
    build: Callable[[], Segmenter] = field(repr=False)
    weights: Path
    sha256: str
    side: int
    """Side in pixels of the square that a photo is squashed to."""
    licence: str
    scores: dict[str, float]
    """Measured by `python -m models.evaluate` on `voc2012/val` (730 photos), in percent; empty where it was not."""
    class_names: tuple[str, ...] = VOC_CLASSES
    palette: tuple[tuple[int, int, int], ...] = VOC_PALETTE


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


def build_espnetv2(width: float, classes: int = len(VOC_CLASSES)) -> Segmenter:
    """ESPNetv2 with the context module, randomly initialised."""
    base = ESPNetv2(width, classes)
    return Segmenter(base, InterImageContext(base.deep_channels, base.fine_channels, classes))


def stored_names(module: nn.Module) -> dict[str, Tensor]:
    """The tensors a model file holds: parameters and batch-norm statistics, without the step counters that nothing reads."""
    return {name: value for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked")}


def write_base_weights(segmenter: Segmenter, path: Path) -> int:
    """Writes the weights in fp16, atomically. Returns the file's size in bytes. Raises ModelFileError where a value does not fit fp16."""
    tensors = {name: value.detach().cpu().to(torch.float16).contiguous() for name, value in stored_names(segmenter).items()}
    if bad := [name for name, value in tensors.items() if not torch.isfinite(value).all()]:
        raise ModelFileError(f"not finite in fp16: {bad[:3]}")
    partial = path.with_suffix(".part")
    partial.write_bytes(save_safetensors(tensors, metadata={"format": FORMAT}))
    partial.replace(path)
    return path.stat().st_size


def read_base_weights(segmenter: Segmenter, data: bytes) -> None:
    """Loads what `write_base_weights` wrote, strictly: same names, same shapes. Raises ModelFileError."""
    try:
        stored = load_safetensors(data)
    except Exception as error:
        raise ModelFileError(f"not a safetensors file: {error}") from error
    expected = stored_names(segmenter)
    if set(stored) != set(expected):
        missing, extra = sorted(set(expected) - set(stored))[:3], sorted(set(stored) - set(expected))[:3]
        raise ModelFileError(f"base weights do not fit the architecture: missing {missing}, unexpected {extra}")
    with torch.no_grad():
        for name, value in stored.items():
            if value.shape != expected[name].shape:
                raise ModelFileError(f"{name} is {tuple(value.shape)}, the architecture wants {tuple(expected[name].shape)}")
            expected[name].copy_(value)


def channels_last(segmenter: Segmenter) -> Segmenter:
    """The layout in which the kernels run fastest; changes `segmenter` in place."""
    segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return segmenter


def load_entry(info: BaseInfo, device: torch.device) -> Base:
    """Builds and loads an entry, its file checked against the registered sha256. Raises ModelFileError."""
    data = info.weights.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != info.sha256:
        raise ModelFileError(f"{info.weights.name} has sha256 {found}, the registry says {info.sha256}: install the file again")
    segmenter = info.build()
    read_base_weights(segmenter, data)
    segmenter = channels_last(segmenter.eval().requires_grad_(False).to(device))
    return Base(info, segmenter, device)


DEFAULT = "espnetv2"
_REGISTRY: dict[str, BaseInfo] = {
    entry.name: entry
    for entry in (
        BaseInfo(
            name="espnetv2",
            title="ESPNetv2, s = 2.0, with inter-image context",
            build=lambda: build_espnetv2(2.0),
            weights=WEIGHTS / "espnetv2.safetensors",
            sha256="defbcce0989f6f5660ddeb37a46a2c9028c759677d5f6c330d575370b9f4c568",
            side=384,
            licence="Apache-2.0; initial weights MIT, © 2021 Sachin Mehta",
            scores={"miou_plain": 66.98, "fbiou_plain": 68.33, "miou_group": 67.04, "fbiou_group": 68.55},
        ),
        BaseInfo(
            name="espnetv2_tiny",
            title="ESPNetv2, s = 0.5 (for tests and very small machines; context not trained)",
            build=lambda: build_espnetv2(0.5),
            weights=WEIGHTS / "espnetv2_tiny.safetensors",
            sha256="bbfdbcfba0129ccd1aea68cbd7099e87db9f6e43a5ea0fe9be52ab4cde665c93",
            side=256,
            licence="Weights MIT, © 2021 Sachin Mehta",
            scores={},
        ),
    )
}


def available_bases() -> list[BaseInfo]:
    """Every registered base, the default first."""
    return sorted(_REGISTRY.values(), key=lambda info: (info.name != DEFAULT, info.name))


def default_base() -> BaseInfo:
    """The base that is used where none is named."""
    return _REGISTRY[DEFAULT]


def load_base(name: str = DEFAULT, *, device: str | torch.device = "cpu") -> Base:
    """A base, built and loaded, its file checked against the registered sha256.

    Raises KeyError for an unknown name, ModelFileError for a file that does not fit.
    """
    if name not in _REGISTRY:
        raise KeyError(f"no base named {name!r}; there are {', '.join(_REGISTRY)}")
    return load_entry(_REGISTRY[name], torch.device(device))
