"""What every base network has in common."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from models.types import Features


class BaseNetwork(nn.Module):
    """ImageNet-normalised RGB in, `Features` out; subclasses say how wide their maps are."""

    deep_channels: int
    fine_channels: int

    def forward(self, x: Float[Tensor, "images 3 height width"]) -> Features:
        """Features and logits; height and width are multiples of 32."""
        raise NotImplementedError

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Takes a checkpoint as its publisher named the tensors, strictly. Raises RuntimeError where a name or shape differs."""
        self.load_state_dict(state, strict=True)

    def with_auxiliary(self, x: Float[Tensor, "images 3 height width"]) -> tuple[Features, Float[Tensor, "images classes h w"] | None]:
        """Features, and the logits of the auxiliary head where training has one (METHOD, "Network")."""
        return self(x), None

    def settle(self) -> None:
        """Called when weights of a whole training are in: from here on `learns_statistics` is empty."""

    def learns_statistics(self) -> list[nn.Module]:
        """The parts whose batch-norm statistics must still be learned when a training starts from published backbone weights or none."""
        return []
