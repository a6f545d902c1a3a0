"""Inter-image context without a parameter: for a base whose context module nobody has trained.

The paper's idea (METHOD, "Inter-image context") as plain matching. Pixels q are the base's deep features as unit vectors. A photo's class
proxy points to their mean over the places that look most like the class (`class_proxies`); its length is the class's presence: the
base's highest probability of it anywhere in the photo, so that classes which are not there have no say. The key k is the proxy's
direction, its value the class, one-hot. Attention over proxies is then a distribution over classes:

    P(class | pixel) ∝ Σ over proxies of that class of presence · exp(TEMPERATURE · q·k)

once over the photo's own proxies (image context) and once over its group's and the bank's (group context). WEIGHT times their mean is
added to the logits, which `Segmenter` does where the base is in doubt only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from models.context import class_proxies, rows_of, who_sees
from models.types import Features

TEMPERATURE = 20.0  # ours: of the cosine similarities; chosen on 200 photos of the tuning half (docs/decisions/0005)
WEIGHT = 1.0  # ours: logits added where the context is certain and the base gives its best class an even chance (docs/decisions/0005)
LEAST_PRESENCE = 1e-4  # ours: survives the precision of a stored bank


class NonParametricContext(nn.Module):
    """Takes the place of `InterImageContext`: same calls, no weights."""

    def __init__(self, deep_channels: int, classes: int, temperature: float = TEMPERATURE, weight: float = WEIGHT) -> None:
        super().__init__()
        self.classes, self.channels = classes, deep_channels
        self.temperature, self.weight = temperature, weight

    def describe(self, features: Features) -> tuple[Float[Tensor, "images channels h w"], Float[Tensor, "images classes channels"]]:
        """The unit vectors that are looked at, and the photos' class proxies; a proxy's length is its class's presence, in (0, 1]."""
        units = F.normalize(features.deep, dim=1)
        coarse = F.adaptive_avg_pool2d(features.logits, (units.shape[2], units.shape[3]))
        presence = coarse.softmax(1).flatten(2).amax(2).clamp(min=LEAST_PRESENCE)  # (B, K)
        return units, F.normalize(class_proxies(units, coarse), dim=2) * presence[..., None]

    def forward(
        self,
        features: Features,
        groups: Int[Tensor, " images"] | None = None,
        bank: Float[Tensor, "remembered channels"] | None = None,
        visible: Bool[Tensor, "images proxies"] | None = None,
    ) -> Float[Tensor, "images classes h w"]:
        """Arguments as for `InterImageContext.forward`. A bank holds whole photos: its row r is a proxy of class r modulo `classes`."""
        units, proxies = self.describe(features)
        images, _, h, w = units.shape
        visible = who_sees(images, self.classes, groups, visible, bank)
        queries = rows_of(units)  # (B, HW, C)
        image_context = self._classes_of(queries, proxies)

        group_proxies = proxies.flatten(0, 1)  # (B·K, C): row b·K + k is photo b's class k
        if bank is not None and bank.shape[0] > 0:
            group_proxies = torch.cat([group_proxies, bank])
        group_context = self._classes_of(queries, group_proxies[None], visible)

        mean = (image_context + group_context) / 2
        return self.weight * mean.transpose(1, 2).reshape(images, self.classes, h, w)

    def _classes_of(
        self,
        queries: Float[Tensor, "images positions channels"],
        proxies: Float[Tensor, "#images proxies channels"],
        visible: Bool[Tensor, "images proxies"] | None = None,
    ) -> Float[Tensor, "images positions classes"]:
        """Attention over the proxies, each as heavy as it is present, summed by class (what one-hot values do)."""
        presence = proxies.norm(dim=2).clamp(min=LEAST_PRESENCE)[:, None, :]  # (B or 1, 1, P)
        scores = self.temperature * queries @ F.normalize(proxies, dim=2).transpose(1, 2) + presence.log()  # (B, HW, P)
        if visible is not None:
            scores = scores.masked_fill(~visible[:, None, :], float("-inf"))
        shares = scores.softmax(2)
        by_class: Tensor = shares.view(*shares.shape[:2], -1, self.classes).sum(2)
        return by_class
