"""Classes and palette of PASCAL VOC 2012, and the label that is never scored or learned from."""

from __future__ import annotations

IGNORE = 255
BACKGROUND = 0

VOC_CLASSES: tuple[str, ...] = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def voc_color(index: int) -> tuple[int, int, int]:
    """RGB in [0, 255] of a class id: the VOC colour map, which deals the id's bits out to the channels, highest first."""
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return (channels[0], channels[1], channels[2])


VOC_PALETTE: tuple[tuple[int, int, int], ...] = tuple(voc_color(index) for index in range(256))
