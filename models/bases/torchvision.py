"""torchvision's segmentation networks behind `Features`, and their registry entries.

Weights: COCO_WITH_VOC_LABELS_V1, trained by torchvision on the photos of COCO train2017 that show VOC's classes; fetched on first use.
The full hashes were found in public records of these files, since torchvision publishes the first 8 digits only (docs/decisions/0005).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

import models.torchvision_ops  # noqa: F401  (before torchvision: defines the schemas that its import wants)
from models.bases.info import BaseInfo, Published
from models.bases.network import BaseNetwork
from models.labels import VOC_CLASSES
from models.types import Features

ROOT = "https://download.pytorch.org/models"
SIDE = 512  # pixels; torchvision scores at 520, sides here are multiples of 32
LICENCE = "BSD-3-Clause, © Soumith Chintala 2016 (torchvision); trained by torchvision on COCO train2017"


class Lraspp(BaseNetwork):
    """LR-ASPP on MobileNetV3-Large (arXiv 1905.02244). Deep: stride 16, 960 channels; fine: stride 8, 40; logits: stride 8."""

    deep_channels, fine_channels = 960, 40

    def __init__(self, classes: int = len(VOC_CLASSES)) -> None:
        from torchvision.models.segmentation import lraspp_mobilenet_v3_large  # takes a second to import; a list of bases needs none

        super().__init__()
        self.network: Any = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=classes)

    def forward(self, x: Float[Tensor, "images 3 height width"]) -> Features:
        """Features and logits."""
        maps = self.network.backbone(x)
        return Features(deep=maps["high"], fine=maps["low"], logits=self.network.classifier(maps))

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """torchvision's own names, strictly."""
        self.network.load_state_dict(state, strict=True)


class DeepLab(BaseNetwork):
    """DeepLabv3 on a dilated ResNet (arXiv 1706.05587), stride 8 everywhere.

    Deep: what the classifier reads, 256 channels; fine: the ResNet's second stage, 512. The auxiliary head on the third stage is there
    because the checkpoints have it; only training runs it.
    """

    deep_channels, fine_channels = 256, 512

    def __init__(self, build: Callable[..., nn.Module], classes: int = len(VOC_CLASSES)) -> None:
        super().__init__()
        network: Any = build(weights=None, weights_backbone=None, num_classes=classes, aux_loss=True)
        network.backbone.return_layers["layer2"] = "fine"
        self.network: Any = network

    def forward(self, x: Float[Tensor, "images 3 height width"]) -> Features:
        """Features and logits."""
        return self._heads(self.network.backbone(x))

    def with_auxiliary(self, x: Float[Tensor, "images 3 height width"]) -> tuple[Features, Float[Tensor, "images classes h w"] | None]:
        """Features, and the auxiliary head's logits."""
        maps = self.network.backbone(x)
        return self._heads(maps), self.network.aux_classifier(maps["aux"])

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """torchvision's own names, strictly."""
        self.network.load_state_dict(state, strict=True)

    def _heads(self, maps: Mapping[str, Tensor]) -> Features:
        *layers, last = self.network.classifier
        deep = maps["out"]
        for layer in layers:
            deep = layer(deep)
        return Features(deep=deep, fine=maps["fine"], logits=last(deep))


def build_deeplabv3_resnet50() -> DeepLab:
    """DeepLabv3 on ResNet-50, randomly initialised."""
    from torchvision.models.segmentation import deeplabv3_resnet50

    return DeepLab(deeplabv3_resnet50)


def build_deeplabv3_resnet101() -> DeepLab:
    """DeepLabv3 on ResNet-101, randomly initialised."""
    from torchvision.models.segmentation import deeplabv3_resnet101

    return DeepLab(deeplabv3_resnet101)


def _entry(name: str, title: str, network: Callable[[], BaseNetwork], published: Published, miou: float, pixel_accuracy: float) -> BaseInfo:
    """`miou`, `pixel_accuracy`: torchvision's own, on COCO val2017 with VOC's labels (its weights' metadata); not measured here."""
    scores = {"torchvision_coco_val2017_voc_labels_miou": miou, "torchvision_coco_val2017_voc_labels_pixel_accuracy": pixel_accuracy}
    return BaseInfo(
        name=name,
        title=title,
        network=network,
        side=SIDE,
        licence=LICENCE,
        scores=scores,
        context="non-parametric",
        sha256=published.sha256,
        published=published,
    )


ENTRIES = (
    _entry(
        "lraspp_mobilenet_v3_large",
        "LR-ASPP on MobileNetV3-Large (torchvision), 3.2 M parameters",
        Lraspp,
        Published(
            ROOT,
            "lraspp_mobilenet_v3_large-d234d4ea.pth",
            "d234d4eae9d55d5f76de18b77cf0dc62c66fe5c5482758209d00f950c92bb280",
            13_097_061,
        ),
        miou=57.9,
        pixel_accuracy=91.2,
    ),
    _entry(
        "deeplabv3_resnet50",
        "DeepLabv3 on ResNet-50 (torchvision), 42 M parameters; slow without a GPU",
        build_deeplabv3_resnet50,
        Published(
            ROOT,
            "deeplabv3_resnet50_coco-cd0a2569.pth",
            "cd0a25694c4a0f7106b38f4938bf90a874f2f241cc410b8f63c7024399538f06",
            168_312_152,
        ),
        miou=66.4,
        pixel_accuracy=92.4,
    ),
    _entry(
        "deeplabv3_resnet101",
        "DeepLabv3 on ResNet-101 (torchvision), 61 M parameters; slow without a GPU",
        build_deeplabv3_resnet101,
        Published(
            ROOT,
            "deeplabv3_resnet101_coco-586e9e4e.pth",
            "586e9e4e203fcbf17e1ad45533d8d33ab133fc762bf03101c5dd743995c08c0d",
            244_545_539,
        ),
        miou=67.4,
        pixel_accuracy=92.4,
    ),
)
