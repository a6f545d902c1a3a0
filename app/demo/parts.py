"""Small pieces of the report's HTML that more than one of its sections is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from app.demo.result import ClassInfo, Photo


@dataclass(frozen=True)
class Pictures:
    """A photo's pictures as `data:` addresses, all of one size in pixels."""

    original: str
    base: str
    personal: str
    difference: str
    """Where the two models differ."""
    width: int
    height: int


PictureMaker = Callable[[Photo, int], Pictures | None]
"""(photo, longer side in pixels) → its pictures."""
StripMaker = Callable[[Photo, int], str | None]
"""(photo, longer side in pixels) → the original alone, as a `data:` address."""


def bar(share: float, colour: str) -> str:
    """A bar of a track; `colour` is a CSS colour."""
    filled = f"<i style='left:0;width:{100 * share:.2f}%;background:{colour}'></i>" if share > 0 else ""
    return f"<span class='track'>{filled}</span>"


def bars(before: float, after: float, colour: str) -> str:
    """The base's bar above the personal model's; the numbers stand beside it, so that no one needs to see it."""
    return f"<span class='pair' aria-hidden='true'>{bar(before, colour)}{bar(after, colour)}</span>"


def css_colour(index: int, classes: Sequence[ClassInfo]) -> str:
    """A class's colour; black, the background's colour in the VOC palette, would vanish on a dark page."""
    red, green, blue = next((entry.color for entry in classes if entry.id == index), (127, 127, 127))
    return "var(--soft)" if (red, green, blue) == (0, 0, 0) else f"rgb({red},{green},{blue})"


def dot(index: int, classes: Sequence[ClassInfo]) -> str:
    """A class's mark in its own colour."""
    red, green, blue = next((entry.color for entry in classes if entry.id == index), (127, 127, 127))
    return f"<span class='dot' style='background:rgb({red},{green},{blue})'></span>"


def figure(source: str, pictures: Pictures, alt: str, caption: str, link: str = "") -> str:
    """One of the pictures; `link` is HTML."""
    size = f"width='{pictures.width}' height='{pictures.height}'"
    return (
        f"<figure><img {size} alt='{escape(alt)}' loading='lazy' decoding='async' src='{source}'>"
        f"<figcaption><span>{escape(caption)}</span>{link}</figcaption></figure>"
    )


def sentence(text: str) -> str:
    """A sentence, escaped, in which no number is parted from its %."""
    return escape(text).replace(" %", "\N{NO-BREAK SPACE}%")


def link(relative: str, text: str) -> str:
    """A link to a file beside the report."""
    return f"<a href='./{escape(quote(relative))}'>{escape(text)}</a>"
