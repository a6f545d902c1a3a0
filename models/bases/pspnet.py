"""ResNet-50 with pyramid pooling, as in the paper (METHOD, "Network"; PSPNet, arXiv 1612.01105): to be trained by `models.train_base`.

Dilated to stride 8; pyramid pooling over 1, 2, 3 and 6 bins gives 512-channel features; an auxiliary head reads the third stage.
The backbone may start at torchvision's ImageNet weights, fetched like those of a base.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

import models.torchvision_ops  # noqa: F401  (before torchvision: defines the schemas that its import wants)
from models.bases.download import OnBytes, nothing
from models.bases.fetch import checkpoint
from models.bases.info import BaseInfo, Published
from models.bases.network import BaseNetwork
from models.labels import VOC_CLASSES
from models.types import Features

BINS = (1, 2, 3, 6)  # METHOD, "Network"
CHANNELS = 512  # METHOD, "Network"
STAGE2, STAGE3, STAGE4 = 512, 1024, 2048  # channels of a ResNet-50's stages
DROPOUT = 0.1  # 1612.01105's released configuration
IMAGENET = Published(
    "https://download.pytorch.org/models",
    "resnet50-0676ba61.pth",
    "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    102_530_333,
)
"""torchvision's IMAGENET1K_V1 (BSD-3-Clause)."""


class PyramidPooling(nn.Module):
    """Average pools over BINS, each to a quarter of the channels, beside the map itself; fused to CHANNELS (1612.01105, figure 3)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        slim = inputs // len(BINS)
        self.levels = nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(bins), *_unit(inputs, slim, 1)) for bins in BINS)
        self.fuse = nn.Sequential(*_unit(inputs + slim * len(BINS), CHANNELS, 3), nn.Dropout2d(DROPOUT))

    def forward(self, x: Float[Tensor, "images channels h w"]) -> Float[Tensor, "images 512 h w"]:
        """The fused map, at its own size."""
        size = (x.shape[2], x.shape[3])
        pooled = [F.interpolate(level(x), size, mode="bilinear", align_corners=False) for level in self.levels]
        return self.fuse(torch.cat([x, *pooled], 1))  # type: ignore[no-any-return]


def _unit(inputs: int, outputs: int, kernel: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()


class PSPNet(BaseNetwork):
    """Deep: the 512-channel features; fine: the ResNet's second stage, 512 channels; logits: all at stride 8."""

    deep_channels, fine_channels = CHANNELS, STAGE2

    def __init__(self, classes: int = len(VOC_CLASSES)) -> None:
        from torchvision.models import resnet50

        super().__init__()
        self.new_parts = ["backbone", "pool", "auxiliary"]
        self.backbone: Any = resnet50(weights=None, replace_stride_with_dilation=[False, True, True])
        del self.backbone.fc, self.backbone.avgpool
        self.pool = PyramidPooling(STAGE4)
        self.classify = nn.Conv2d(CHANNELS, classes, 1)
        self.auxiliary = nn.Sequential(*_unit(STAGE3, STAGE3 // 4, 3), nn.Dropout2d(DROPOUT), nn.Conv2d(STAGE3 // 4, classes, 1))

    def forward(self, x: Float[Tensor, "images 3 height width"]) -> Features:
        """Features and logits."""
        return self._run(x)[0]

    def with_auxiliary(self, x: Float[Tensor, "images 3 height width"]) -> tuple[Features, Float[Tensor, "images classes h w"] | None]:
        """Features, and the auxiliary head's logits."""
        features, stage3 = self._run(x)
        return features, self.auxiliary(stage3)

    def learns_statistics(self) -> list[nn.Module]:
        """All that is new; a backbone that started at ImageNet weights keeps its statistics."""
        return [getattr(self, name) for name in self.new_parts]

    def settle(self) -> None:
        """No part is new any more."""
        self.new_parts.clear()

    def load_backbone(self, state: Mapping[str, Tensor]) -> None:
        """A classifier's checkpoint without its last layer, strictly. Raises RuntimeError where a name or shape differs."""
        self.backbone.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc.")}, strict=True)
        self.new_parts.remove("backbone")

    def _run(self, x: Tensor) -> tuple[Features, Tensor]:
        net = self.backbone
        stage2 = net.layer2(net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x))))))
        stage3 = net.layer3(stage2)
        deep = self.pool(net.layer4(stage3))
        return Features(deep=deep, fine=stage2, logits=self.classify(deep)), stage3


def start_at_imagenet(network: PSPNet, folder: Path, *, mirror: str | None = None, on_bytes: OnBytes = nothing) -> None:
    """Gives the backbone torchvision's ImageNet weights, fetched. Raises FetchError."""
    network.load_backbone(checkpoint(IMAGENET, folder, mirror=mirror, on_bytes=on_bytes))


ENTRY = BaseInfo(
    name="pspnet_resnet50",
    title="ResNet-50 with pyramid pooling, as in the paper, 49 M parameters; to be trained by `models.train_base`",
    network=PSPNet,
    side=512,
    licence="Yours, once you have trained it; ImageNet weights of the backbone BSD-3-Clause (torchvision)",
    scores={},
)
