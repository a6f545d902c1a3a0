"""A photo's mask, ready to be computed with or looked at: numpy arrays, Pillow pictures, and how a notebook shows it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from app.client.documents import MaskClass

if TYPE_CHECKING:
    import numpy as np

BACKGROUND = 0
PREVIEW_PIXELS = 640
"""Longer side of the photo that the overlay is laid on."""


@dataclass(frozen=True)
class Mask:
    """One photo's mask by one model (0 = base). The arrays are (height, width) of the upright photo and need numpy.

    In a notebook it shows itself: the photo under its classes, and the share of each.
    """

    image_id: str
    model_version: int
    base: str
    classes: tuple[MaskClass, ...]
    """The classes that occur, with their shares."""
    labels_png: bytes = field(repr=False)
    confidence_png: bytes = field(repr=False)
    preview: bytes = field(repr=False)
    """The photo itself, upright and small."""
    known_classes: tuple[str, ...] = field(default=(), repr=False)
    """The names of all classes of the base; empty where the service could not say."""

    @cached_property
    def labels(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Class id of every pixel, uint8."""
        import numpy as np

        return np.array(self.picture(), dtype=np.uint8)

    @cached_property
    def confidence(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """How sure the model is of every pixel, float32 in [0, 1]."""
        import numpy as np

        return np.array(_opened(self.confidence_png).convert("L"), dtype=np.float32) / np.float32(255)

    def where(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """True where the photo shows this class; all False where it occurs nowhere.

        Raises:
            ValueError: the base has no class of this name.
        """
        import numpy as np

        found = next((entry.id for entry in self.classes if entry.name == name), None)
        if found is None and self.known_classes and name not in self.known_classes:
            raise ValueError(f"There is no class {name!r}. There are: {', '.join(self.known_classes)}.")
        return np.zeros(self.labels.shape, dtype=np.bool_) if found is None else self.labels == found

    def picture(self) -> Image.Image:
        """The palette picture: pixel values are class ids, the palette their colours."""
        return _opened(self.labels_png)

    def overlay(self, opacity: float = 0.6) -> Image.Image:
        """The (small) photo with its classes laid over it; the background shows the photo alone."""
        photo = _opened(self.preview).convert("RGB")
        labels = self.picture().resize(photo.size, Image.Resampling.NEAREST)
        shown = Image.frombytes("L", labels.size, labels.tobytes()).point([0 if value == BACKGROUND else 255 for value in range(256)])
        photo.paste(Image.blend(photo, labels.convert("RGB"), opacity), mask=shown)
        return photo

    def color_of(self, class_id: int) -> tuple[int, int, int]:
        """The palette's colour of a class."""
        palette = self.picture().getpalette() or []
        red, green, blue = palette[3 * class_id : 3 * class_id + 3]
        return red, green, blue

    def _repr_png_(self) -> bytes:
        target = io.BytesIO()
        self.overlay().save(target, "PNG")
        return target.getvalue()

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self._repr_png_()).decode()
        by = "the base" if self.model_version == 0 else f"personal model {self.model_version}"
        rows = "".join(self._row(entry) for entry in sorted(self.classes, key=lambda entry: -entry.area_share))
        return (
            f'<figure style="margin:0"><img alt="photo with its mask" src="data:image/png;base64,{picture}">'
            f"<figcaption>by {escape(by)}</figcaption></figure><table><tr><th>class<th>area<th>confidence</tr>{rows}</table>"
        )

    def _row(self, entry: MaskClass) -> str:
        red, green, blue = self.color_of(entry.id)
        sure = "" if entry.mean_confidence is None else f"{entry.mean_confidence:.0%}"
        swatch = f'<span style="display:inline-block;width:1em;height:1em;background:rgb({red},{green},{blue})"></span>'
        return f"<tr><td>{swatch} {escape(entry.name)}<td>{entry.area_share:.1%}<td>{sure}</tr>"


def _opened(content: bytes) -> Image.Image:
    picture: Image.Image = Image.open(io.BytesIO(content))
    picture.load()
    return picture
