"""The registry of base models: each entry binds architecture, weights, preprocessing, classes, scores and licence (METHOD, "Decisions")."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from models.bases import pspnet, torchvision
from models.bases.download import OnBytes, nothing
from models.bases.espnetv2 import ESPNetv2
from models.bases.fetch import default_folder, ensure, read
from models.bases.info import Base, BaseInfo, with_new_context
from models.bases.weights import FORMAT, channels_last, read_base_weights, stored_names, write_base_weights
from models.labels import VOC_CLASSES
from models.segmenter import Segmenter

__all__ = [
    "DEFAULT",
    "FORMAT",
    "Base",
    "BaseInfo",
    "available_bases",
    "build_espnetv2",
    "channels_last",
    "default_base",
    "find_base",
    "load_base",
    "load_entry",
    "read_base_weights",
    "stored_names",
    "write_base_weights",
]

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
DEFAULT = "espnetv2"


def build_espnetv2(width: float, classes: int = len(VOC_CLASSES)) -> Segmenter:
    """ESPNetv2 with the context module, randomly initialised."""
    return with_new_context(ESPNetv2(width, classes), classes)


_ENTRIES = (
    BaseInfo(
        name="espnetv2",
        title="ESPNetv2, s = 2.0, with inter-image context",
        network=lambda: ESPNetv2(2.0),
        weights=WEIGHTS / "espnetv2.safetensors",
        sha256="defbcce0989f6f5660ddeb37a46a2c9028c759677d5f6c330d575370b9f4c568",
        side=384,
        licence="Apache-2.0; initial weights MIT, © 2021 Sachin Mehta",
        familiar_distance=0.247,
        scores={"miou_plain": 66.98, "fbiou_plain": 68.33, "miou_group": 67.04, "fbiou_group": 68.55},
    ),
    BaseInfo(
        name="espnetv2_tiny",
        title="ESPNetv2, s = 0.5 (for tests and very small machines)",
        network=lambda: ESPNetv2(0.5),
        weights=WEIGHTS / "espnetv2_tiny.safetensors",
        sha256="ff8da502533a58c7fe3e6bc69424983596c24285da85bdd4b4bd536bc8d1e54e",
        side=256,
        licence="Weights MIT, © 2021 Sachin Mehta",
        familiar_distance=0.173,
        scores={},
        context="non-parametric",
    ),
    *torchvision.ENTRIES,
    pspnet.ENTRY,
)
_REGISTRY: dict[str, BaseInfo] = {entry.name: entry for entry in _ENTRIES}


def available_bases() -> list[BaseInfo]:
    """Every registered base, the default first; `models.bases.fetch.is_present` tells whether its weights are here."""
    return sorted(_REGISTRY.values(), key=lambda info: (info.name != DEFAULT, info.name))


def default_base() -> BaseInfo:
    """The base that is used where none is named."""
    return _REGISTRY[DEFAULT]


def find_base(name: str) -> BaseInfo:
    """The entry of this name. Raises KeyError."""
    if name not in _REGISTRY:
        raise KeyError(f"no base named {name!r}; there are {', '.join(_REGISTRY)}")
    return _REGISTRY[name]


def load_base(
    name: str = DEFAULT,
    *,
    device: str | torch.device = "cpu",
    weights_dir: Path | None = None,
    mirror: str | None = None,
    on_bytes: OnBytes = nothing,
) -> Base:
    """A base, built and loaded, its weights checked against their sha256; fetched first where they are not here yet.

    `weights_dir`: folder of fetched weights; the user's cache folder without. `mirror`: URL root to fetch from instead of the publisher's.
    `on_bytes` hears (bytes so far, bytes in all) of a fetch. Raises KeyError for an unknown name, BaseNotAvailable, ModelFileError for a
    file that does not fit, and what `on_bytes` raises.
    """
    info, folder = find_base(name), weights_dir or default_folder()
    ensure(info, folder, mirror=mirror, on_bytes=on_bytes)
    return load_entry(info, torch.device(device), folder)


def load_entry(info: BaseInfo, device: torch.device, weights_dir: Path | None = None) -> Base:
    """Builds and loads an entry whose weights are here. Raises BaseNotAvailable, ModelFileError."""
    data, sha256 = read(info, weights_dir or default_folder())
    segmenter = info.build()
    read_base_weights(segmenter, data)
    segmenter = channels_last(segmenter.eval().requires_grad_(False).to(device))
    return Base(replace(info, sha256=sha256), segmenter, device)
