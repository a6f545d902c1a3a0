"""A base's weights file: safetensors, matrices and kernels in fp16."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from models.bases.network import BaseNetwork
from models.segmenter import Segmenter
from models.types import ModelFileError

FORMAT = "personalseg-base-1"


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


def convert(segmenter: Segmenter) -> bytes:
    """The weights of a fetched checkpoint as a file's content: matrices and kernels in fp16 where every value fits, all else in fp32.

    Scales and statistics are small beside the kernels and stay exact. Raises ModelFileError where a value is not finite.
    """
    tensors = {}
    for name, value in stored_names(segmenter).items():
        exact = value.detach().cpu().float().contiguous()
        if not torch.isfinite(exact).all():
            raise ModelFileError(f"{name} of the checkpoint is not finite")
        half = exact.to(torch.float16)
        tensors[name] = half if exact.dim() > 1 and bool(torch.isfinite(half).all()) else exact
    return save_safetensors(tensors, metadata={"format": FORMAT})


def read_base_weights(segmenter: Segmenter, data: bytes) -> None:
    """Loads what `write_base_weights` or `convert` wrote, strictly: same names, same shapes. Raises ModelFileError."""
    _copy(_stored(data), segmenter)


def read_network_weights(network: BaseNetwork, data: bytes) -> None:
    """Loads the network's part of such a file, strictly, whatever context the file has. Raises ModelFileError."""
    _copy({name.removeprefix("base."): value for name, value in _stored(data).items() if name.startswith("base.")}, network)


def _stored(data: bytes) -> dict[str, Tensor]:
    try:
        stored: dict[str, Tensor] = load_safetensors(data)
    except Exception as error:
        raise ModelFileError(f"not a safetensors file: {error}") from error
    return stored


def _copy(stored: Mapping[str, Tensor], module: nn.Module) -> None:
    expected = stored_names(module)
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


def flush(path: Path) -> None:
    """Brings a file or folder entry to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
