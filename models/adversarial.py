"""Adversarial alignment of two domains by a discriminator on output maps (AdaptSegNet, arXiv 1802.10349; AdvEnt, arXiv 1811.12833)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SOURCE, TARGET = 1.0, 0.0
"""What a discriminator is to answer (AdvEnt, section 3.2: source is 1, target is 0)."""
WIDTHS = (64, 128, 256, 512)  # METHOD, step 1; AdaptSegNet, section 4.3
SLOPE = 0.2  # of the LeakyReLU, as there
RATE, BETAS = 1e-4, (0.9, 0.99)  # METHOD, step 1: Adam of the discriminators
SMALLEST = 1e-30  # keeps log2 finite where a probability is 0


def weighted_self_information(logits: Float[Tensor, "images classes h w"]) -> Float[Tensor, "images classes h w"]:
    """−p·log2(p) / log2(K) of the softmax, per class and pixel; sums over classes to the normalised entropy (AdvEnt, section 3.2)."""
    probabilities = logits.softmax(1)
    return -probabilities * (probabilities + SMALLEST).log2() / math.log2(logits.shape[1])


class Discriminator(nn.Sequential):
    """Fully convolutional: five 4×4 convolutions of stride 2, LeakyReLU between them; one logit a patch, high = source."""

    def __init__(self, classes: int) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in zip((classes, *WIDTHS), (*WIDTHS, 1), strict=True):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        super().__init__(*layers[:-1])

    def optimizer(self) -> torch.optim.Adam:
        """As published."""
        return torch.optim.Adam(self.parameters(), lr=RATE, betas=BETAS)


def domain_loss(answer: Float[Tensor, "images 1 h w"], domain: float) -> Float[Tensor, ""]:
    """Binary cross-entropy in nats of the discriminator's logits against SOURCE or TARGET, mean over patches.

    The discriminator learns each domain's true answer; the network is to get the answer SOURCE for target photos (AdvEnt, section 3.2).
    """
    return F.binary_cross_entropy_with_logits(answer, torch.full_like(answer, domain))


def fooling_loss(discriminator: Discriminator, maps: Float[Tensor, "images classes h w"]) -> Float[Tensor, ""]:
    """How far the target maps are from passing for source; its gradient reaches the maps and leaves the discriminator alone."""
    frozen = {name: value.detach() for name, value in discriminator.named_parameters()}
    return domain_loss(torch.func.functional_call(discriminator, frozen, (maps,)), SOURCE)


def discriminator_step(
    discriminator: Discriminator,
    optimizer: torch.optim.Optimizer,
    source: Float[Tensor, "images classes h w"],
    target: Float[Tensor, "others classes h w"],
) -> float:
    """One step of the discriminator on maps of both domains (mean of the two losses); no gradient reaches the network. Returns the loss."""
    loss = (domain_loss(discriminator(source.detach()), SOURCE) + domain_loss(discriminator(target.detach()), TARGET)) / 2
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())
