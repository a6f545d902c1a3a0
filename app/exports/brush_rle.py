"""Label Studio's brush masks: thi.ng's rle-pack over the bytes of an RGBA picture, as label-studio-converter reads it.

A head (32 bits: number of bytes; 5: word size − 1; 4 × 4: the four length sizes − 1), then runs: one bit 1 (repeated), two bits
for which length size, the length − 1 in that many bits, the byte itself. All is packed from the highest bit on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from PIL import Image

_RUN = re.compile(rb"(.)\1*", re.DOTALL)
_CHANNELS = 4
_WORD_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_LONGEST_RUN = 1 << _LENGTH_BITS[-1]
_INSIDE, _OUTSIDE = 255, 0


def encode_classes(values: Image.Image, class_ids: Iterable[int]) -> dict[int, list[int]]:
    """For each class the bytes of its brush mask; `values` holds one class id a byte (height × width)."""
    pixels = values.tobytes()
    runs = [(match.group(1)[0], match.end() - match.start()) for match in _RUN.finditer(pixels)]
    return {class_id: _encode(_merged(runs, class_id), len(pixels)) for class_id in class_ids}


def _merged(runs: Iterable[tuple[int, int]], class_id: int) -> Iterator[tuple[int, int]]:
    """Runs of inside and outside this class, along the rows, in pixels."""
    before, length = None, 0
    for value, more in runs:
        now = _INSIDE if value == class_id else _OUTSIDE
        if now != before and before is not None:
            yield before, length
            length = 0
        before, length = now, length + more
    if before is not None:
        yield before, length


def _encode(runs: Iterable[tuple[int, int]], pixels: int) -> list[int]:
    packed = _Bits()
    packed.add(pixels * _CHANNELS, 32)
    packed.add(_WORD_BITS - 1, 5)
    for size in _LENGTH_BITS:
        packed.add(size - 1, 4)
    for value, length in runs:
        left = length * _CHANNELS
        while left:
            part = min(left, _LONGEST_RUN)
            _add_run(packed, value, part)
            left -= part
    return packed.to_bytes()


def _add_run(packed: _Bits, value: int, length: int) -> None:
    index = next(index for index, bits in enumerate(_LENGTH_BITS) if length <= 1 << bits)
    packed.add(1, 1)
    packed.add(index, 2)
    packed.add(length - 1, _LENGTH_BITS[index])
    packed.add(value, _WORD_BITS)


class _Bits:
    """Numbers of any width, packed from the highest bit on."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._pending = 0
        self._count = 0

    def add(self, number: int, bits: int) -> None:
        """Append the number in so many bits."""
        self._pending = self._pending << bits | number
        self._count += bits
        while self._count >= 8:
            self._count -= 8
            self._bytes.append(self._pending >> self._count)
            self._pending &= (1 << self._count) - 1

    def to_bytes(self) -> list[int]:
        """Everything so far, the last byte filled up with zeros."""
        rest = [self._pending << 8 - self._count] if self._count else []
        return [*self._bytes, *rest]
