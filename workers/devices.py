"""Where a process computes."""

from __future__ import annotations

import torch

from app.setting_errors import SettingUnusable


def choose_device(wanted: str) -> str:
    """`auto` is the first CUDA device where there is one, else the CPU; anything else is taken as it is.

    Raises SettingUnusable for a device that this machine, or this build of torch, does not have.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not is_there(wanted):
        raise SettingUnusable("DEVICE", f"torch finds no device {wanted!r} on this machine")
    return wanted


def is_there(name: str) -> bool:
    """Whether torch can compute on this device here; asks without using it."""
    try:
        device = torch.device(name)
        count: int = torch.get_device_module(device).device_count()
    except RuntimeError:  # no name of a device, or of one that this build does not know
        return False
    return (device.index or 0) < count
