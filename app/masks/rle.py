"""COCO run-length encoding: per class, how long the runs of outside and inside are, down the columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from PIL import Image

_RUN = re.compile(rb"(.)\1*", re.DOTALL)
_LOW_BITS = 0x1F
_MORE = 0x20
_SIGN = 0x10
_FIRST_CHARACTER = 48


def encode_classes(labels: Image.Image, class_ids: Iterable[int]) -> dict[int, str]:
    """For each class the compressed `counts` of COCO; `labels` is a one-byte-per-pixel mask (height × width)."""
    # COCO runs down the columns; turned, the picture's rows are the mask's columns.
    columns = labels.transpose(Image.Transpose.TRANSPOSE).tobytes()
    runs = [(match.group(1)[0], match.end() - match.start()) for match in _RUN.finditer(columns)]
    return {class_id: compress(_counts(runs, class_id)) for class_id in class_ids}


def _counts(runs: Sequence[tuple[int, int]], class_id: int) -> list[int]:
    counts = [0]
    inside = False
    for value, length in runs:
        if (value == class_id) != inside:
            inside = not inside
            counts.append(0)
        counts[-1] += length
    return counts


def compress(counts: Sequence[int]) -> str:
    """COCO's text form: from the third on the difference to the count before last, in groups of five bits."""
    differences = [count - counts[index - 2] if index > 2 else count for index, count in enumerate(counts)]
    return "".join(_text(difference) for difference in differences)


def _text(number: int) -> str:
    characters = []
    while True:
        low, number = number & _LOW_BITS, number >> 5
        ended = number == (-1 if low & _SIGN else 0)
        characters.append(chr(_FIRST_CHARACTER + (low if ended else low | _MORE)))
        if ended:
            return "".join(characters)
