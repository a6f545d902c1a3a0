"""The file of a checkpoint of a personalisation.

Safetensors: each stage's tensors under `stage/name`, and one metadata key of JSON: the stages' other facts, the clock, the photos' ids,
what the checkpoint fits (a hash of everything that the result depends on) and a digest of the tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

FORMAT = "personalseg-checkpoint-4"
"""Changes whenever a stage keeps other things, or does other things with them."""
METADATA = "personalseg"


class CheckpointUnusable(ValueError):
    """A checkpoint is damaged or of another job. Says which."""


@dataclass(frozen=True)
class Section:
    """What a stage has come to: tensors, and facts that are JSON."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's content."""

    fits: str
    photo_ids: tuple[str, ...]
    clock: Mapping[str, Any]
    sections: Mapping[str, Section]


def pack(checkpoint: Checkpoint) -> bytes:
    """The file."""
    tensors = {
        f"{stage}/{name}": tensor.detach().cpu().contiguous()
        for stage, section in checkpoint.sections.items()
        for name, tensor in section.tensors.items()
    }
    told = {
        "format": FORMAT,
        "fits": checkpoint.fits,
        "photo_ids": list(checkpoint.photo_ids),
        "clock": dict(checkpoint.clock),
        "sections": {stage: {"facts": dict(part.facts), "complete": part.complete} for stage, part in checkpoint.sections.items()},
        "digest": _digest(tensors),
    }
    return save_safetensors(tensors, metadata={METADATA: json.dumps(told)})


def unpack(data: bytes) -> Checkpoint:
    """Reads `pack`'s file. Raises CheckpointUnusable."""
    told = _told(data)
    try:
        tensors = load_safetensors(data)
    except Exception as error:
        raise CheckpointUnusable(f"it is damaged: {error}") from error
    if _digest(tensors) != told["digest"]:
        raise CheckpointUnusable("it is damaged: its digest is another")
    sections = {
        stage: Section(
            {name.removeprefix(f"{stage}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{stage}/")},
            section["facts"],
            section["complete"],
        )
        for stage, section in told["sections"].items()
    }
    return Checkpoint(told["fits"], tuple(told["photo_ids"]), told["clock"], sections)


def photo_ids_in(data: bytes) -> tuple[str, ...] | None:
    """The ids of the gallery that a checkpoint belongs to, in its order; None where the file is no checkpoint of this version."""
    try:
        return tuple(_told(data)["photo_ids"])
    except CheckpointUnusable:
        return None


def _told(data: bytes) -> dict[str, Any]:
    """The metadata; safetensors starts with its header's length (8 bytes, little-endian) and the header as JSON."""
    try:
        length = int.from_bytes(data[:8], "little")
        told = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][METADATA])
        if told["format"] != FORMAT:
            raise CheckpointUnusable(f"it is of format {told['format']!r}, this version writes {FORMAT!r}")
        missing = {"fits", "photo_ids", "clock", "sections", "digest"} - told.keys()
    except CheckpointUnusable:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointUnusable(f"it is damaged: {type(error).__name__}") from error
    if missing:
        raise CheckpointUnusable(f"it is damaged: it lacks {sorted(missing)}")
    return told  # type: ignore[no-any-return]


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()
