"""What a personal model changed and why, in sentences: the part of the report that people read. Numbers in, words out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

from models.comparison import Comparison
from models.counts import Counts
from models.labels import BACKGROUND

MOST_PHOTOS = 48
MOST_BYTES = 40_000
"""Of JSON. With the groups of 500 photos the whole report then stays below 64 kB."""
MOST_CLASSES = 8  # told of one photo, the largest first
MOST_EVENTS = 3  # told in one photo's sentence, the largest first
NOTABLE_IN_PHOTO = 0.005
NOTABLE_IN_GALLERY = 0.0005
"""A class grew or shrank when its share changed by at least this much …"""
STEADY_RATIO = 0.05
"""… and by at least this ratio of itself."""
LEAST_IN_GALLERY = 0.001
"""Of a class under this share of all pixels nothing can be said."""
LEFT_RATIO = 0.05
"""A class of which less than this ratio is left is gone."""
DOUBTFUL, SURE = 0.6, 0.8
"""Below the one the base was only so sure; from the other on the change came although it was."""


@dataclass(frozen=True)
class Shift:
    """What became of one class in a photo or in the gallery; shares of all pixels there, confidences in [0, 1]."""

    name: str
    before: float
    after: float
    lost: float = 0.0
    lost_to: str | None = None
    """The class that took most of what was lost; None where none took half of it."""
    lost_confidence: float = 0.0
    """How sure the base was, on average, of the pixels that the class lost."""
    renamed: bool = False
    """Whether most of it became one other thing, not background."""
    gained: float = 0.0
    gained_from: str | None = None
    gained_confidence: float = 0.0
    """The same of the pixels that the class gained, whatever the base called them."""

    def notable(self, least: float) -> bool:
        """Whether it grew or shrank by at least `least` of the pixels, and not just by a little of itself."""
        return abs(self.after - self.before) >= max(least, STEADY_RATIO * max(self.before, self.after))

    @property
    def called_otherwise(self) -> bool:
        """Whether enough of it to be told became one other thing, also where as much of it appeared elsewhere."""
        return self.renamed and self.lost >= NOTABLE_IN_PHOTO

    @property
    def moved(self) -> bool:
        """Whether most of what is of this class now was something else before."""
        return self.gained >= NOTABLE_IN_PHOTO and 2 * self.gained > self.after

    @property
    def size(self) -> float:
        """How much of a photo there is to tell of it, as a share of its pixels."""
        return max(abs(self.after - self.before), self.lost if self.called_otherwise else 0.0)

    @property
    def gone(self) -> bool:
        """Whether next to nothing of it is left."""
        return self.after < LEFT_RATIO * self.before

    @property
    def new(self) -> bool:
        """Whether next to nothing of it was there."""
        return self.before < LEFT_RATIO * self.after


def changes(comparison: Comparison, class_names: Sequence[str]) -> dict[str, Any]:
    """The report's `classes` (largest first) and `photos_compared` (most changed first, as many as fit), each with its reason."""
    classes = [
        {**entry, "reason": class_reason(shift_of(comparison.total, entry["id"], class_names), entry["sure_kept"])}
        for entry in comparison.per_class(class_names)
    ]
    classes.sort(key=lambda entry: (-max(entry["area_before"], entry["area_after"]), entry["id"]))
    photos = [_with_reason(entry, comparison.photos[entry["id"]], class_names) for entry in comparison.per_photo()]
    photos.sort(key=lambda entry: (-entry["changed"], entry["id"]))
    return {"classes": classes, "photos_compared": _fitting(photos[:MOST_PHOTOS], MOST_BYTES - _size(classes))}


def shift_of(counts: Counts, index: int, class_names: Sequence[str]) -> Shift:
    """What became of class `index`."""
    pixels = max(1, counts.pixels)
    lost, gained = counts.moved[index].copy(), counts.moved[:, index].copy()  # (K,) to whom, from whom
    lost[index] = gained[index] = 0
    elsewhere = np.arange(len(lost)) != index
    target = _most_of(lost)
    source = _most_of(gained)
    return Shift(
        name=class_names[index],
        before=int(counts.area_before[index]) / pixels,
        after=int(counts.area_after[index]) / pixels,
        lost=int(lost.sum()) / pixels,
        lost_to=None if target is None else class_names[target],
        lost_confidence=float(counts.confidence_before[index, elsewhere].sum()) / max(1, int(lost.sum())),
        renamed=target not in (None, BACKGROUND) and 2 * int(lost[target]) > int(counts.area_before[index]),
        gained=int(gained.sum()) / pixels,
        gained_from=None if source is None else class_names[source],
        gained_confidence=float(counts.confidence_before[elsewhere, index].sum()) / max(1, int(gained.sum())),
    )


def class_reason(shift: Shift, sure_kept: float | None) -> str:
    """What became of a class over all photos looked at; `sure_kept` of what the base was sure of, in [0, 1]."""
    kept = "" if sure_kept is None else f"; {percent(sure_kept)} of what the base was sure of is kept"
    if max(shift.before, shift.after) < LEAST_IN_GALLERY:
        return "Too little to tell: under 0.1 % of all pixels."
    if not shift.notable(NOTABLE_IN_GALLERY):
        return f"About as much as before ({percent(shift.before)} of all pixels){kept}."
    if shift.gone:
        now = f", most of it now called {shift.lost_to}" if shift.renamed else ""
        return f"Gone (it was {percent(shift.before)} of all pixels){now}{_because(shift.lost_confidence)}."
    if shift.new:
        return f"New: {percent(shift.after)} of all pixels{_source(shift)}{_where(shift.gained_confidence)}."
    if shift.after > shift.before:
        return f"Grew {_span(shift)} of all pixels{_source(shift)}{_where(shift.gained_confidence)}{kept}."
    target = f", mostly to {shift.lost_to}" if shift.lost_to else ""
    return f"Shrank {_span(shift)} of all pixels{target}{_where(shift.lost_confidence)}{kept}."


def photo_reason(shifts: Sequence[Shift], changed: float) -> str:
    """What became of a photo's classes, the background left out; `changed` is the share of its pixels that changed class."""
    told = [shift for shift in shifts if shift.notable(NOTABLE_IN_PHOTO) or shift.called_otherwise]
    taken_over = {(shift.lost_to, shift.name) for shift in told if shift.renamed}
    events = [
        shift
        for shift in sorted(told, key=lambda shift: (-shift.size, shift.name))
        if shift.called_otherwise or (shift.name, shift.gained_from) not in taken_over
    ]
    if events:
        more = len(events) - MOST_EVENTS
        words = [_event(shift) for shift in events[:MOST_EVENTS]] + ([f"{more} more changed less"] if more > 0 else [])
        return _sentence("; ".join(words))
    if changed == 0:
        return "Nothing changed."
    if changed < 2 * NOTABLE_IN_PHOTO:
        return f"Almost nothing changed: {percent(changed)} of the pixels."
    return f"Outlines moved: {percent(changed)} of the pixels changed class, but nothing grew or shrank much."


def percent(share: float) -> str:
    """A share in [0, 1] in words, with as many digits as a reader can use."""
    return f"{_digits(share)} %"


def _event(shift: Shift) -> str:
    if shift.renamed:
        what = "the" if shift.gone else "most of the"
        elsewhere = f", and {shift.name} is seen elsewhere ({percent(shift.after)})" if shift.moved else ""
        return f"{what} {shift.name} ({percent(shift.before)}) is now called {shift.lost_to}{_because(shift.lost_confidence)}{elsewhere}"
    if shift.gone:
        return f"the {shift.name} ({percent(shift.before)}) is gone{_because(shift.lost_confidence)}"
    if shift.new:
        return f"{shift.name} is new ({percent(shift.after)}){_where(shift.gained_confidence)}"
    if shift.after > shift.before:
        return f"the {shift.name} grew {_span(shift)} of the photo{_where(shift.gained_confidence)}"
    return f"the {shift.name} shrank {_span(shift)} of the photo{_where(shift.lost_confidence)}"


def _because(confidence: float) -> str:
    if confidence >= SURE:
        return f", although the base was {percent(confidence)} sure of it"
    return f": the base was {'only ' if confidence < DOUBTFUL else ''}{percent(confidence)} sure of it"


def _where(confidence: float) -> str:
    return f", where the base was {'only ' if confidence < DOUBTFUL else ''}{percent(confidence)} sure"


def _source(shift: Shift) -> str:
    return f", mostly out of {shift.gained_from}" if shift.gained_from else ""


def _span(shift: Shift) -> str:
    before, after = _digits(shift.before), _digits(shift.after)
    if before == after:
        before, after = f"{100 * shift.before:.1f}", f"{100 * shift.after:.1f}"
    return f"from {before} to {after} %"


def _digits(share: float) -> str:
    if 0 < share < 0.001:
        return "under 0.1"
    if share < 0.0995 or 0.995 <= share < 1:
        return f"{100 * min(share, 0.999):.1f}".removesuffix(".0")
    return f"{100 * share:.0f}"


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _most_of(pixels: Int64[np.ndarray, " classes"]) -> int | None:
    """The class that has at least half of the pixels."""
    largest = int(np.argmax(pixels))
    return largest if 0 < int(pixels.sum()) <= 2 * int(pixels[largest]) else None


def _with_reason(entry: dict[str, Any], counts: Counts, class_names: Sequence[str]) -> dict[str, Any]:
    told = sorted(entry["classes"], key=lambda told: (-max(told["before"], told["after"]), told["id"]))
    shifts = [shift_of(counts, told["id"], class_names) for told in entry["classes"] if told["id"] != BACKGROUND]
    classes = [{"id": it["id"], "name": class_names[it["id"]], "before": it["before"], "after": it["after"]} for it in told[:MOST_CLASSES]]
    return {**entry, "classes": classes, "reason": photo_reason(shifts, entry["changed"])}


def _fitting(entries: Sequence[dict[str, Any]], most_bytes: int) -> list[dict[str, Any]]:
    """The first entries, as many as fit."""
    kept: list[dict[str, Any]] = []
    left = most_bytes
    for entry in entries:
        left -= _size(entry)
        if left < 0:
            break
        kept.append(entry)
    return kept


def _size(value: Any) -> int:
    return len(json.dumps(value).encode()) + 2  # and what parts it from the next
