"""A personal model: what differs from the base, and the user's context bank, in one safetensors file.

Format `personalseg-delta-2`. Tensors: `delta` int8 (all changes of the base's matrices and kernels, in the base's own order, one
scale per output channel in `scales`, bf16), `vectors` fp16 (changes of one-dimensional parameters), `bank` int8 (remembered class proxies,
one row each, one scale per row in `bank_scales`, bf16), `bank_group` int32 (each row's group), `centres` fp16 (the groups' centres),
`appearance` fp32 (gain and offset of each channel, and the side). A model without a bank does without the context. Batch-norm
statistics never change and are not stored.
A delta is small beside the weight it changes, so 8 bits lose nothing that can be measured; the guard judges the model as stored.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import BFloat16, Float, Int
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from models.appearance import Appearance
from models.bases.registry import Base
from models.gallery import STRIDE
from models.grouping import nearest_group
from models.segmenter import Segmenter
from models.types import ModelFileError

FORMAT = "personalseg-delta-2"
METADATA = "personalseg"
"""The one metadata key; safetensors writes several in random order, and the same model must be the same file."""
INT8_MAX = 127
ROUND_UP = 1 + 2**-8  # half a unit of bfloat16's last place
MAX_SIDE = 2048  # pixels; ours: no base is shown larger photos
STORED = {
    "delta": torch.int8,
    "scales": torch.bfloat16,
    "vectors": torch.float16,
    "bank": torch.int8,
    "bank_scales": torch.bfloat16,
    "bank_group": torch.int32,
    "centres": torch.float16,
    "appearance": torch.float32,
}
MATRICES = frozenset({"bank", "centres"})


@dataclass(frozen=True)
class ContextBank:
    """Class proxies of some photos of each group, so that one photo alone is segmented with its user's context."""

    proxies: Float[Tensor, "remembered channels"]
    group: Int[Tensor, " remembered"]
    centres: Float[np.ndarray, "groups deep_channels"]

    def of(self, group: int) -> Float[Tensor, "remembered channels"]:
        """The proxies of one group."""
        return self.proxies[self.group == group]

    def nearest(self, descriptor: Float[np.ndarray, " deep_channels"]) -> int:
        """The group of a photo by its description."""
        return nearest_group(descriptor, self.centres)


@dataclass(frozen=True)
class PersonalModel:
    """A user's segmenter, ready to run: a new value beside the base, which stays as it was."""

    base_name: str
    segmenter: Segmenter
    bank: ContextBank
    appearance: Appearance
    """How photos are shown to it."""
    stored: bytes
    """The file's content."""

    @property
    def nbytes(self) -> int:
        """Memory it holds, in bytes."""
        held: int = sum(tensor.nbytes for tensor in self.segmenter.state_dict().values())
        return held + self.bank.proxies.nbytes + self.bank.centres.nbytes + len(self.stored)


def _layout(module: nn.Module) -> str:
    """Hash of the base's parameter names and shapes: a delta fits this order and no other."""
    text = ";".join(f"{name}:{tuple(value.shape)}" for name, value in module.named_parameters())
    return hashlib.sha256(text.encode()).hexdigest()


def _fingerprint(base: Base) -> dict[str, str]:
    """What a file must say of itself to fit `base`."""
    return {"format": FORMAT, "base": base.info.name, "base_sha256": base.info.sha256, "layout": _layout(base.segmenter)}


def save_delta(base: Base, adapted: Segmenter, bank: ContextBank, appearance: Appearance) -> bytes:
    """The personal model file: quantised changes from the base, bank, appearance. Raises ModelFileError where a weight is not finite."""
    deltas, scales, vectors = [], [], []
    for (name, before), (_, after) in zip(base.segmenter.named_parameters(), adapted.named_parameters(), strict=True):
        change = (after - before).detach().float().cpu()
        if not torch.isfinite(change).all():
            raise ModelFileError(f"{name} of the adapted model is not finite")
        if change.dim() == 1:
            vectors.append(change.to(torch.float16))
            if not torch.isfinite(vectors[-1]).all():
                raise ModelFileError(f"{name} of the adapted model is too large for its file")
            continue
        rows, scale = _quantize(change.flatten(1))
        deltas.append(rows.flatten())
        scales.append(scale)
    proxies, proxy_scales = _quantize(bank.proxies.float().cpu())
    tensors = {
        "delta": torch.cat(deltas), "scales": torch.cat(scales), "vectors": torch.cat(vectors),
        "bank": proxies, "bank_scales": proxy_scales, "bank_group": bank.group.to(torch.int32).contiguous(),
        "centres": torch.from_numpy(bank.centres).to(torch.float16),
        "appearance": torch.tensor([*appearance.gain, *appearance.offset, appearance.side], dtype=torch.float32),
    }  # fmt: skip
    return save_safetensors(tensors, metadata={METADATA: json.dumps(_fingerprint(base), sort_keys=True)})


def _quantize(rows: Float[Tensor, "rows values"]) -> tuple[Int[Tensor, "rows values"], BFloat16[Tensor, " rows"]]:
    """int8 rows and their scales: row = int8 · scale. The scales are rounded up, so that the largest value still fits."""
    scale = (rows.abs().amax(1).clamp(min=1e-12) / INT8_MAX * ROUND_UP).to(torch.bfloat16)
    return (rows / scale.float()[:, None]).round().to(torch.int8), scale


def load_personal(data: bytes, base: Base) -> PersonalModel:
    """The personal model a file holds, on `base`'s device. Raises ModelFileError where anything does not fit."""
    _check_metadata(_metadata(data), base)
    try:
        tensors = load_safetensors(data)
    except Exception as error:
        raise ModelFileError(f"not a safetensors file: {error}") from error
    if {name: value.dtype for name, value in tensors.items()} != STORED:
        raise ModelFileError(f"tensors {sorted(tensors)} are not those of {FORMAT}")
    for name, value in tensors.items():
        if value.dim() != (2 if name in MATRICES else 1) or (value.is_floating_point() and not torch.isfinite(value).all()):
            raise ModelFileError(f"{name} of shape {tuple(value.shape)} has another form or values that are not finite")
    segmenter = copy.deepcopy(base.segmenter)
    _apply(segmenter, tensors)
    bank = _read_bank(tensors, segmenter, base)
    segmenter.use_context = len(bank.proxies) > 0
    return PersonalModel(
        base.info.name, segmenter.eval().requires_grad_(False), bank, _read_appearance(tensors["appearance"], base.info.side), data
    )


def _read_bank(tensors: dict[str, Tensor], segmenter: Segmenter, base: Base) -> ContextBank:
    rows, scales, group, centres = (tensors[name] for name in ("bank", "bank_scales", "bank_group", "centres"))
    if rows.shape[1] != segmenter.context.channels or not len(rows) == len(scales) == len(group):
        raise ModelFileError(f"context bank of shape {tuple(rows.shape)} does not fit the base")
    if len(group) and not 0 <= int(group.min()) <= int(group.max()) < len(centres):
        raise ModelFileError(f"context bank of groups {int(group.min())} to {int(group.max())}, where there are {len(centres)}")
    if len(rows) and centres.shape[1] != segmenter.base.deep_channels:
        raise ModelFileError(f"group centres of {centres.shape[1]} values, the base describes a photo by {segmenter.base.deep_channels}")
    return ContextBank((rows.float() * scales.float()[:, None]).to(base.device), group.to(base.device), centres.float().numpy())


def _read_appearance(values: Tensor, base_side: int) -> Appearance:
    if values.shape != (7,) or not torch.isfinite(values).all():
        raise ModelFileError(f"appearance of shape {tuple(values.shape)} is not seven finite numbers")
    red, green, blue, *rest = values.tolist()
    side = int(rest[3])
    if not STRIDE <= side <= MAX_SIDE or side % STRIDE:
        raise ModelFileError(f"appearance has a side of {side} pixels")
    return Appearance((red, green, blue), (rest[0], rest[1], rest[2]), side, "personal", smaller=side != base_side)


def _metadata(data: bytes) -> dict[str, str]:
    """What the file says of itself; safetensors starts with its header's length (8 bytes, little-endian) and the header as JSON."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        return dict(json.loads(header["__metadata__"][METADATA]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(f"not a safetensors file: {error}") from error


def _check_metadata(metadata: dict[str, str], base: Base) -> None:
    for name, value in _fingerprint(base).items():
        if metadata.get(name) != value:
            raise ModelFileError(f"the file's {name} is {metadata.get(name)!r}, this base needs {value!r}")


@torch.no_grad()
def _apply(segmenter: Segmenter, tensors: dict[str, Tensor]) -> None:
    parameters = list(segmenter.parameters())
    matrices, vectors = [p for p in parameters if p.dim() > 1], [p for p in parameters if p.dim() == 1]
    wanted = {
        "delta": sum(p.numel() for p in matrices),
        "scales": sum(p.shape[0] for p in matrices),
        "vectors": sum(p.numel() for p in vectors),
    }
    for name, count in wanted.items():
        if tensors[name].numel() != count:
            raise ModelFileError(f"{name} holds {tensors[name].numel()} values, the base needs {count}")
    changes = torch.split(tensors["delta"], [p.numel() for p in matrices])
    scales = torch.split(tensors["scales"], [p.shape[0] for p in matrices])
    for parameter, change, scale in zip(matrices, changes, scales, strict=True):
        rows = change.float().view(parameter.shape[0], -1) * scale.float()[:, None]
        parameter.add_(rows.view(parameter.shape).to(parameter.device))
    for parameter, vector in zip(vectors, torch.split(tensors["vectors"], [p.numel() for p in vectors]), strict=True):
        parameter.add_(vector.float().to(parameter.device))
