"""Bounded memory: a group's photos go through the network a few at a time, fewer still where memory runs out.

Only the network is split. The context needs the features of the whole group at once, and those are small; so what is computed is what one
pass over the group gives, but for the order of float sums. Where gradients are wanted, a piece's activations are computed again when its
turn comes (Training Deep Nets with Sublinear Memory Cost, arXiv 1604.06174): by then what the context and the loss held is gone.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from models.bases.network import BaseNetwork
from models.types import Features

ON_A_CPU = 1
"""Photos at once: there more are not faster, and each holds about 0.5 GB of ESPNetv2's activations (measured, docs/decisions/0008)."""
_HOST_MEMORY = ("DefaultCPUAllocator", "not enough memory")
Result = TypeVar("Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device's or the machine's memory ran out; torch says the latter in words only."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _HOST_MEMORY)


def nothing() -> None:
    """Nobody wants the work to stop."""


class Portions:
    """How many photos go through the network at once; halved whenever memory runs out, for the rest of the job."""

    def __init__(self, size: int, heed: Callable[[], None] = nothing) -> None:
        self.size = max(1, size)
        self.heed = heed
        """Asked before each pass through the network; raises Cancelled where the work shall stop."""

    @classmethod
    def fitting(cls, device: torch.device, group_size: int, wanted: int | None = None, heed: Callable[[], None] = nothing) -> Portions:
        """`wanted`; else one photo on a CPU and a whole group elsewhere."""
        return cls(wanted or (ON_A_CPU if device.type == "cpu" else group_size), heed)

    def attempt(self, work: Callable[[int], Result]) -> Result:
        """What `work(photos at once)` gives, tried again with half as many while memory runs out; raises that error at one photo."""
        while True:
            try:
                return work(self.size)
            except Exception as error:
                if self.size == 1 or not is_out_of_memory(error):
                    raise
            # Out of the except block, so that no traceback holds what the failed attempt had.
            self.size //= 2
            release()


def release() -> None:
    """Gives back what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def features_in_pieces(
    network: BaseNetwork, x: Float[Tensor, "images 3 height width"], size: int, heed: Callable[[], None] = nothing
) -> Features:
    """`network(x)`, at most `size` photos at once; `heed` is asked before each pass, also when a piece is computed again."""

    def through(piece: Float[Tensor, "images 3 height width"]) -> Features:
        heed()
        return network(piece)  # type: ignore[no-any-return]

    if len(x) <= size:
        return through(x)
    pieces = torch.split(x, size)
    if torch.is_grad_enabled():
        # Reentrant, because its first pass keeps nothing; it asks for an argument that wants a gradient, though only the weights do.
        wants_gradient = torch.zeros(1, device=x.device, requires_grad=True)
        again = partial(checkpoint, lambda piece, _: through(piece), use_reentrant=True, preserve_rng_state=False)
        done = [again(piece, wants_gradient) for piece in pieces]
    else:
        done = [through(piece) for piece in pieces]
    return Features(*(torch.cat(maps) for maps in zip(*done, strict=True)))
