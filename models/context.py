"""Inter-image context: the paper's idea (Personalized Image Semantic Segmentation, ICCV 2021, section 4.1; METHOD, "Inter-image context").

Every photo is summed up by one *class proxy* per class: the mean feature of the places that look most like that class. A pixel then
looks at the proxies of its own photo (image context) and at those of all photos of its group (group context) before it is classified.

Our differences from the paper, all for a small base on a CPU: the soft object regions come from the base's own logits instead of an
auxiliary head; the module works at stride 8 on C = 64 channels; its logits are added to the base's, so that a new module changes nothing.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from models.bases.layers import can_fold, convolve, folded
from models.types import Features

CHANNELS = 64  # C: features and proxies (ours; 512 in the paper)
KEY_CHANNELS = 64  # D: queries, keys and values (ours; 256 in the paper)
DROPOUT = 0.05  # METHOD, "Inter-image context"


def class_proxies(
    features: Float[Tensor, "images channels h w"], coarse: Float[Tensor, "images classes h w"]
) -> Float[Tensor, "images classes channels"]:
    """Softmax of the coarse logits over the positions, times the features (OCR's object region representation, 1909.11065, section 3.2)."""
    weights = coarse.flatten(2).softmax(2)  # (B, K, HW): each class's weights over the positions add up to 1
    return weights @ rows_of(features)  # (B, K, HW) @ (B, HW, C)


def rows_of(map_: Float[Tensor, "images channels h w"]) -> Float[Tensor, "images positions channels"]:
    """One row a position."""
    return map_.flatten(2).transpose(1, 2)


def group_mask(groups: Int[Tensor, " images"], classes: int) -> Bool[Tensor, "images proxies"]:
    """Which of the B·K proxies each photo sees: those of the photos in its own group."""
    same = groups[:, None] == groups[None, :]  # (B, B)
    return same.repeat_interleave(classes, dim=1)  # (B, B·K)


def who_sees(
    images: int,
    classes: int,
    groups: Int[Tensor, " images"] | None,
    visible: Bool[Tensor, "images proxies"] | None,
    bank: Float[Tensor, "remembered channels"] | None,
) -> Bool[Tensor, "images all_proxies"] | None:
    """`visible`, or the proxies of each photo's own group, followed by the bank's, which every photo sees. None: all see all."""
    if visible is None:
        if groups is None:
            return None
        visible = group_mask(groups, classes)
    return visible if bank is None else torch.cat([visible, visible.new_ones(images, bank.shape[0])], 1)


def attend(
    queries: Float[Tensor, "images positions keys"],
    keys: Float[Tensor, "#images proxies keys"],
    values: Float[Tensor, "#images proxies keys"],
    visible: Bool[Tensor, "images proxies"] | None = None,
) -> Float[Tensor, "images positions keys"]:
    """softmax(q·kᵀ/√D)·v; proxies that are not visible get no weight."""
    scores = queries @ keys.transpose(1, 2) / math.sqrt(queries.shape[2])  # (B, HW, P)
    if visible is not None:
        scores = scores.masked_fill(~visible[:, None, :], -math.inf)
    return scores.softmax(2) @ values


class ProjectPixels(nn.Sequential):
    """`depth` times 1×1 convolution, batch norm, ReLU on a map (B, C, H, W)."""

    def __init__(self, inputs: int, outputs: int, depth: int = 1) -> None:
        layers: list[nn.Module] = []
        for step in range(depth):
            layers += [nn.Conv2d(inputs if step == 0 else outputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        super().__init__(*layers)

    def forward(self, x: Float[Tensor, "images inputs h w"]) -> Float[Tensor, "images outputs h w"]:
        """Layer by layer; where batch norm is fixed, it is part of the convolution."""
        layers = list(self)
        for conv, norm, act in zip(layers[0::3], layers[1::3], layers[2::3], strict=True):
            assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            x = act(convolve(x, *folded(conv, norm)) if can_fold(norm, x) else norm(conv(x)))
        return x


class InterImageContext(nn.Module):
    """From a batch's features to logits that are added to the base's.

    The batch may hold photos of several groups (`groups`); a photo sees the proxies of its own group only. `bank` adds remembered
    proxies (a user's context bank) that every photo of the batch sees, so that one photo alone still has its group's context.
    """

    def __init__(
        self, deep_channels: int, fine_channels: int, classes: int, channels: int = CHANNELS, key_channels: int = KEY_CHANNELS
    ) -> None:
        super().__init__()
        self.classes, self.channels = classes, channels
        self.reduce_deep = ProjectPixels(deep_channels, channels)
        self.reduce_fine = ProjectPixels(fine_channels, channels)
        self.query = ProjectPixels(channels, key_channels, depth=2)
        self.key = ProjectPixels(channels, key_channels, depth=2)
        self.value = ProjectPixels(channels, key_channels)
        self.fuse = nn.Sequential(ProjectPixels(channels + 2 * key_channels, channels), nn.Dropout(DROPOUT))
        self.classify = nn.Conv2d(channels, classes, 1)
        nn.init.zeros_(self.classify.weight)
        nn.init.zeros_(self.classify.bias)  # type: ignore[arg-type]

    def describe(self, features: Features) -> tuple[Float[Tensor, "images channels hf wf"], Float[Tensor, "images classes channels"]]:
        """The feature map that is looked at, and the photos' class proxies."""
        fine = self.reduce_fine(features.fine)
        size = (fine.shape[2], fine.shape[3])
        mixed = fine + F.interpolate(self.reduce_deep(features.deep), size, mode="bilinear", align_corners=False)
        coarse = F.adaptive_avg_pool2d(features.logits, size)
        return mixed, class_proxies(mixed, coarse)

    def forward(
        self,
        features: Features,
        groups: Int[Tensor, " images"] | None = None,
        bank: Float[Tensor, "remembered channels"] | None = None,
        visible: Bool[Tensor, "images proxies"] | None = None,
    ) -> Float[Tensor, "images classes hf wf"]:
        """`groups`: None = one group. `visible` overrides the groups: which of the batch's B·K proxies each photo sees."""
        mixed, proxies = self.describe(features)
        images, _, h, w = mixed.shape
        visible = who_sees(images, self.classes, groups, visible, bank)

        queries = rows_of(self.query(mixed))  # (B, HW, D)
        keys, values = self._keys_values(proxies)  # (B, K, D)
        image_context = attend(queries, keys, values)

        group_keys, group_values = keys.flatten(0, 1)[None], values.flatten(0, 1)[None]  # (1, B·K, D), row b·K + k is photo b's class k
        if bank is not None and bank.shape[0] > 0:
            bank_keys, bank_values = self._keys_values(bank[None])
            group_keys = torch.cat([group_keys, bank_keys], 1)
            group_values = torch.cat([group_values, bank_values], 1)
        group_context = attend(queries, group_keys, group_values, visible)

        beside = torch.cat([image_context, group_context, rows_of(mixed)], 2)  # (B, HW, 2D + C), as channels_last has it in memory
        return self.classify(self.fuse(beside.transpose(1, 2).reshape(images, -1, h, w)))  # type: ignore[no-any-return]

    def _keys_values(
        self, proxies: Float[Tensor, "images proxies channels"]
    ) -> tuple[Float[Tensor, "images proxies keys"], Float[Tensor, "images proxies keys"]]:
        as_map = proxies.transpose(1, 2)[..., None]  # (B, C, K, 1): the 1×1 convolutions run over the proxies
        return self.key(as_map)[..., 0].transpose(1, 2), self.value(as_map)[..., 0].transpose(1, 2)
