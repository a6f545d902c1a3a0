"""Words and numbers as the report and the terminal say them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

FIGURE_WORDS = {
    "changed_share": "Pixels that change class",
    "confident_share": "Pixels that the base is sure of",
    "confident_agreement": "Kept, of the pixels that the base is sure of",
    "consistency": "Same class on the mirrored photo",
    "mirror_miou": "Overlap of each class with itself on the mirrored photo, mean",
    "rescale_consistency": "Same class on the photo at another size",
    "reference_agreement": "Same class as the base's average over several views",
    "reference_miou": "Overlap of each class with that average, mean",
    "rescale_miou": "Overlap of each class with itself at another size, mean",
    "class_consistency": "Overlap of each class with itself, mean of both",
    "class_consistency_drop_error": "Of the change of that mean, what chance moves (standard error)",
    "background": "Called background",
}
"""The guard's figures that are shares, and what each is called; a figure not named here is shown under its own name."""
DOUBT = "entropy"


def figure_texts(figures: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Each figure of the guard in plain words and as text; `x_before` and `x_after` become one: before → after."""
    for name, value in figures.items():
        stem = name.removesuffix("_before")
        if stem != name and f"{stem}_after" in figures:
            yield _figure_name(stem), f"{_figure_value(stem, value)} → {_figure_value(stem, figures[f'{stem}_after'])}"
        elif f"{name.removesuffix('_after')}_before" not in figures:
            yield _figure_name(name), _figure_value(name, value)


def _figure_name(name: str) -> str:
    return "Doubt about a pixel (entropy, in nats)" if name == DOUBT else FIGURE_WORDS.get(name, plain(name))


def _figure_value(name: str, value: object) -> str:
    return percent(value) if name in FIGURE_WORDS and isinstance(value, int | float) else number(value)


def plain(name: str) -> str:
    """`self_training` → `Self training`."""
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]


def percent(share: float) -> str:
    """A share in [0, 1] as text; small but not nothing stays visible."""
    if 0 < share < 0.001:
        return "under 0.1\N{NO-BREAK SPACE}%"
    text = "0" if share <= 0 else "100" if share >= 0.9995 else f"{100 * share:.1f}"
    return f"{text}\N{NO-BREAK SPACE}%"


def change(before: float, after: float) -> str:
    """Two shares in [0, 1] as text, or one where they read the same."""
    return percent(after) if percent(before) == percent(after) else f"{percent(before)} → {percent(after)}"


def moment(iso: str) -> str:
    """An ISO 8601 time in UTC as people read it."""
    return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M UTC")


def duration(seconds: float) -> str:
    """Seconds as text."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def number(value: object) -> str:
    """A figure, to three significant digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)
