"""The section "What changed, and why" of report.html: the guard's figures in plain words, then class by class and photo by photo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from app.demo.parts import PictureMaker, Pictures, bars, css_colour, dot, figure, link, sentence
from app.demo.result import DemoResult, Photo, Verdict
from app.demo.told import ClassChange, PhotoChange, class_changes, photo_changes
from app.demo.words import change, figure_texts, percent

MOST_PICTURED_CHANGES = 8
LEAST_PICTURED_CHANGE = 0.01
"""Of a photo's pixels; below it there is little to see."""
PICTURE_PIXELS = 360
"""The longer side of this section's thumbnails."""
SMALLEST_SHARE = 0.001
"""Classes below it are left out of the table."""


def changes_section(result: DemoResult, pictures: PictureMaker) -> Iterator[str]:
    """Nothing where the adaptation told nothing, as when it did not end or was of an older version without figures."""
    figures = dict(result.verdict.figures) if result.verdict is not None else {}
    classes, photos = class_changes(result.adaptation), photo_changes(result.adaptation)
    if result.verdict is None or not (figures or classes or photos):
        return
    taken = result.verdict.accepted
    yield f"<section class='changes' aria-labelledby='changes'><h2 id='changes'>{_title(taken)}</h2><div class='card'>"
    yield from _figures(result.verdict, len(photos))
    if classes:
        yield f"<h3>Class by class</h3>{_class_table(classes, result)}"
    if photos:
        yield from _photos(photos, result, pictures)
    yield "</div></section>"


def pictured_changes(result: DemoResult) -> list[tuple[PhotoChange, Photo]]:
    """The changes shown with pictures: the largest; none where the base was kept, for then there are no personal masks."""
    if result.verdict is None or not result.verdict.accepted:
        return []
    known = {photo.image_id: photo for photo in result.photos}
    large = (entry for entry in photo_changes(result.adaptation) if entry.changed >= LEAST_PICTURED_CHANGE)
    return [(entry, known[entry.image_id]) for entry in large if entry.image_id in known][:MOST_PICTURED_CHANGES]


def _title(taken: bool) -> str:
    return "What changed, and why" if taken else "What would have changed, and why it was not taken"


def _figures(verdict: Verdict, photo_count: int) -> Iterator[str]:
    yield f"<p class='lead'>{sentence(verdict.sentence)}</p>"
    pairs = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figure_texts(verdict.figures))
    if pairs:
        looked = f" on {photo_count} of the photos" if photo_count else ""
        yield f"<p class='soft small'>What the guard measured{looked}, without any label{_of_what(verdict)}:</p>"
        yield f"<dl class='figures plain'>{pairs}</dl>"


def _of_what(verdict: Verdict) -> str:
    """Whose figures these are: those of what the verdict speaks of, which under `appearance_only` is the training that was refused."""
    return ", of the training that is not kept (before → after)" if verdict.code == "appearance_only" else " (before → after)"


def _class_table(classes: Sequence[ClassChange], result: DemoResult) -> str:
    rows = "".join(_class_row(entry, result) for entry in classes if max(entry.before, entry.after) >= SMALLEST_SHARE)
    return (
        "<div class='scroll'><table><caption class='soft small'>Share of all pixels looked at: base (pale bar) → personal (full bar)"
        "</caption><thead><tr><th scope='col'>Class</th><th scope='col' class='wide'><span class='hidden'>Bars</span></th>"
        "<th scope='col' class='number'>Base → personal</th><th scope='col'>What changed, and why</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _class_row(entry: ClassChange, result: DemoResult) -> str:
    return (
        f"<tr><th scope='row'>{dot(entry.id, result.classes)}{escape(entry.name)}</th>"
        f"<td class='wide'>{bars(entry.before, entry.after, css_colour(entry.id, result.classes))}</td>"
        f"<td class='number'>{change(entry.before, entry.after)}</td><td>{sentence(entry.reason)}</td></tr>"
    )


def _photos(photos: Sequence[PhotoChange], result: DemoResult, pictures: PictureMaker) -> Iterator[str]:
    yield "<h3>Photo by photo, the most changed first</h3>"
    pictured = pictured_changes(result)
    for entry, photo in pictured:
        yield _photo(entry, photo, pictures(photo, PICTURE_PIXELS))
    shown = {entry.image_id for entry, _ in pictured}
    rest = [entry for entry in photos if entry.image_id not in shown]
    if rest:
        names = {photo.image_id: photo.path for photo in result.photos}
        entries = "".join(
            f"<li><b>{escape(names.get(entry.image_id, entry.image_id))}</b> — {sentence(entry.reason)} "
            f"<span class='soft small'>{percent(entry.changed)} of pixels</span></li>"
            for entry in rest
        )
        title = f"{len(rest)} more, without pictures" if pictured else f"{len(rest)} photos"
        yield f"<details class='plain'{'' if pictured else ' open'}><summary>{title}</summary><ul class='files'>{entries}</ul></details>"


def _photo(entry: PhotoChange, photo: Photo, pictures: Pictures | None) -> str:
    sure = f", {percent(entry.sure_changed)} although the base was sure" if entry.sure_changed > 0 else ""
    facts = (
        f"<b>{percent(entry.changed)}</b> of pixels changed class{sure} · "
        f"mean confidence {change(*entry.confidence)} · same on the mirrored photo {change(*entry.mirror)}"
    )
    return (
        f"<article class='photo'><header><h4>{escape(photo.path)}</h4></header><p class='reason'>{sentence(entry.reason)}</p>"
        f"<p class='soft small'>{facts}</p>{_triple(photo, pictures)}</article>"
    )


def _triple(photo: Photo, pictures: Pictures | None) -> str:
    if pictures is None:
        masks = f"{link(photo.base_mask, 'base')} · {link(photo.personal_mask, 'personal')}"
        return f"<div class='missing'><span>This computer cannot show the photo. Masks: {masks}</span></div>"
    figures = (
        figure(pictures.base, pictures, f"{photo.path}, the base's classes", "Base", link(photo.base_mask, "mask")),
        figure(pictures.personal, pictures, f"{photo.path}, the personal classes", "Personal", link(photo.personal_mask, "mask")),
        figure(pictures.difference, pictures, f"{photo.path}, where the two differ", "Difference"),
    )
    return f"<div class='triple'>{''.join(figures)}</div>"
