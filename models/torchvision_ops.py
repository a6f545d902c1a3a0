"""Lets `import torchvision` work beside a CPU build of torch.

PyPI's torchvision 0.28 ships compiled operators that need CUDA libraries. Where they do not load, its import fails in a place that only
wants their *schemas* (`operator torchvision::nms does not exist`). We use none of these operators, so it is enough to define
the schemas first.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

import torch

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
OPERATORS = ("nms", "qnms")
_fragments: list[torch.library.Library] = []
"""Held for the life of the process: a schema vanishes with its library object."""


def compiled_operators_load() -> bool:
    """Whether torchvision's compiled operators can be loaded here (tried as torchvision itself does)."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return False
    library = importlib.machinery.PathFinder.find_spec("_C", list(spec.submodule_search_locations))
    if library is None or library.origin is None or not Path(library.origin).exists():
        return False
    try:
        torch.ops.load_library(library.origin)  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError):
        return False
    return True


def define_missing_schemas() -> None:
    """Defines the schemas where the compiled operators are missing; does nothing where they are there, or a second time."""
    if _fragments or hasattr(torch.ops.torchvision, "nms") or compiled_operators_load():
        return
    fragment = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in OPERATORS:
        fragment.define(operator + SCHEMA)  # type: ignore[no-untyped-call]
    _fragments.append(fragment)


define_missing_schemas()
