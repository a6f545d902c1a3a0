"""report.html: one file that needs nothing else — inline style, thumbnails inside it, no script, no address elsewhere.

It is written photo by photo, so that a folder of hundreds needs no more memory than one. Thumbnails grow smaller with
the number of photos, and beyond `MOST_PICTURED` only those that changed the most are pictured, so that a browser can
still open it. Everything that comes from a photo's name or from the server is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TextIO

from app.demo.changes import changes_section
from app.demo.parts import PictureMaker, Pictures, StripMaker, bars, css_colour, dot, figure, link, sentence
from app.demo.result import ClassInfo, ClassShare, DemoResult, Photo, Rejected, Stage, Verdict
from app.demo.style import STYLE
from app.demo.told import photo_changes
from app.demo.words import change, duration, moment, percent, plain

MOST_PICTURED = 500
STRIP_PICTURES = 10
STRIP_PIXELS = 88
OPEN_PHOTOS = 60
"""Groups are shown open until so many photos have been shown; the rest open with a click."""
LEGEND_SMALLEST_SHARE = 0.001
THUMBNAIL_PIXELS = ((80, 480), (250, 360), (MOST_PICTURED, 256))
"""Up to so many photos: the longer side of each thumbnail, in pixels."""


def write_report(file: TextIO, result: DemoResult, pictures: PictureMaker, strip: StripMaker) -> None:
    """Write the whole document, asking for each photo's pictures when it is its turn."""
    for part in _document(result, pictures, strip):
        file.write(part)


def thumbnail_pixels(photo_count: int) -> int:
    """The longer side of the thumbnails of a report on so many photos."""
    return next((pixels for most, pixels in THUMBNAIL_PIXELS if photo_count <= most), THUMBNAIL_PIXELS[-1][1])


def _document(result: DemoResult, pictures: PictureMaker, strip: StripMaker) -> Iterator[str]:
    yield "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
    yield "<meta name='viewport' content='width=device-width, initial-scale=1'>"
    yield f"<title>personalseg: {escape(result.source)}</title><style>{STYLE}</style></head><body><main>"
    yield from _head(result)
    yield from _problems(result)
    yield from changes_section(result, pictures)
    yield "<div class='columns'>"
    yield _section("What took the time", _timeline(result.steps))
    if result.stages:
        yield _section("Inside the adaptation", _timeline(result.stages))
    yield "</div>"
    yield _section("Classes over all photos", _class_table(result))
    yield from _photos(result, pictures, strip)
    yield _footer(result)
    yield "</main></body></html>\n"


# The head -------------------------------------------------------------------------------------------------------------


def _head(result: DemoResult) -> Iterator[str]:
    yield f"<h1>Personal segmentation of {escape(result.source)}</h1>"
    facts = f"{moment(result.made_at)} · personalseg {result.version} · base model {result.base}"
    yield f"<p class='soft'>{escape(facts)}</p>"
    yield _verdict(result.verdict)
    yield "<div class='tiles'>"
    yield _tile(str(len(result.photos)), "photo segmented" if len(result.photos) == 1 else "photos segmented")
    yield _tile(str(result.group_count()), "group found" if result.group_count() == 1 else "groups found")
    yield _tile(percent(result.changed_share), "of all pixels changed class")
    yield _tile(str(_changed_photos(result)), "photos with a changed mask")
    yield _tile(duration(result.seconds), "in all")
    yield "</div>"


def _changed_photos(result: DemoResult) -> int:
    return sum(1 for photo in result.photos if photo.changed_share > 0)


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        kind, badge, sentence = (
            "bad",
            "No adaptation",
            "The adaptation did not end; the masks are those of the base model.",
        )
    elif verdict.accepted:
        is_trained = verdict.code != "appearance_only"
        kind, badge, sentence = "", "Personal model in use" if is_trained else "Base model, photos shown otherwise", verdict.sentence
    else:
        kind, badge, sentence = "kept", "Base model kept", verdict.sentence
    note = "<p class='soft small note'>The base and the personal masks below are therefore the same.</p>" if kind else ""
    return (
        f"<section class='card verdict {kind}'><span class='badge'>{badge}</span><p class='sentence'>{escape(sentence)}</p>{note}</section>"
    )


def _tile(value: str, label: str) -> str:
    return f"<div class='card tile'><b>{escape(value)}</b><span class='soft small'>{escape(label)}</span></div>"


def _problems(result: DemoResult) -> Iterator[str]:
    if result.problems:
        entries = "".join(f"<li>{escape(problem)}</li>" for problem in result.problems)
        yield "<section class='card verdict bad'><span class='badge'>What went wrong</span>"
        yield f"<ul>{entries}</ul></section>"
    if result.rejected:
        yield _rejected(result.rejected)


def _rejected(rejected: Sequence[Rejected]) -> str:
    entries = "".join(
        f"<li><b>{escape(entry.path)}</b> — {escape(entry.reason)} <code>{escape(entry.code)}</code></li>" for entry in rejected
    )
    count = f"{len(rejected)} file was" if len(rejected) == 1 else f"{len(rejected)} files were"
    opened = " open" if len(rejected) <= 12 else ""
    return (
        f"<details class='card plain group' style='margin-top:16px'{opened}><summary><b>{count} not taken</b></summary>"
        f"<ul class='files'>{entries}</ul></details>"
    )


# Time and classes -----------------------------------------------------------------------------------------------------


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2><div class='card'>{body}</div></section>"


def _timeline(stages: Sequence[Stage]) -> str:
    """One row per stage; its bar begins where the one before ended."""
    total = sum(stage.seconds for stage in stages) or 1.0
    rows = []
    start = 0.0
    for stage in stages:
        style = f"left:{100 * start / total:.2f}%;width:{100 * stage.seconds / total:.2f}%"
        rows.append(
            f"<span>{escape(plain(stage.name))}</span><span class='track'><i style='{style}'></i></span>"
            f"<span class='number'>{duration(stage.seconds)}</span>"
        )
        start += stage.seconds
    return f"<div class='rows'>{''.join(rows)}</div>"


def _class_table(result: DemoResult) -> str:
    personal = {entry.id: entry.share for entry in result.area_shares("personal")}
    base = {entry.id: entry.share for entry in result.area_shares("base")}
    if not personal and not base:
        return "<p class='soft'>No photo was segmented.</p>"
    intro = "<p class='soft small'>Mean share of a photo's area: base (pale) → personal (full).</p>"
    return intro + f"<div class='rows'>{_paired_rows(base, personal, result.classes)}</div>"


def _paired_rows(base: dict[int, float], personal: dict[int, float], classes: Sequence[ClassInfo]) -> str:
    """A row per class with the base's bar above the personal model's, largest first; slivers are left out."""
    order = sorted(base.keys() | personal.keys(), key=lambda index: -max(base.get(index, 0), personal.get(index, 0)))
    names = {entry.id: entry.name for entry in classes}
    rows = []
    for index in order:
        before, after = base.get(index, 0.0), personal.get(index, 0.0)
        if max(before, after) < LEGEND_SMALLEST_SHARE:
            continue
        rows.append(
            f"<span>{dot(index, classes)}{escape(names.get(index, f'class {index}'))}</span>"
            f"{bars(before, after, css_colour(index, classes))}<span class='number'>{change(before, after)}</span>"
        )
    return "".join(rows)


# Photos ---------------------------------------------------------------------------------------------------------------


def _photos(result: DemoResult, pictures: PictureMaker, strip: StripMaker) -> Iterator[str]:
    if not result.photos:
        return
    pictured = _pictured(result.photos)
    pixels = thumbnail_pixels(len(result.photos))
    yield f"<h2>Groups and photos</h2><p class='soft small'>{_photos_intro(result, len(pictured))}</p>"
    reasons = {entry.image_id: entry.reason for entry in photo_changes(result.adaptation)} if _accepted(result) else {}
    shown = 0
    for index, members in result.groups().items():
        yield _group_head(index, members, strip, opened=shown < OPEN_PHOTOS)
        for photo in members:
            if photo.path in pictured:
                yield from _photo(photo, result, pictures(photo, pixels), reasons.get(photo.image_id, ""))
        yield from _unpictured([photo for photo in members if photo.path not in pictured])
        yield "</div></details>"
        shown += len(members)


def _pictured(photos: Sequence[Photo]) -> set[str]:
    ranked = sorted(photos, key=lambda photo: (-photo.changed_share, photo.path))
    return {photo.path for photo in ranked[:MOST_PICTURED]}


def _photos_intro(result: DemoResult, pictured: int) -> str:
    text = "The model saw these photos as groups of similar ones; photos of a group lend each other context."
    if pictured < len(result.photos):
        text += f" Pictures are shown for the {pictured} photos that changed the most; the masks of all are in the folder."
    return escape(text)


def _group_head(index: int | None, members: Sequence[Photo], strip: StripMaker, *, opened: bool) -> str:
    title = "Photos without a group" if index is None else f"Group {index + 1}"
    count = "1 photo" if len(members) == 1 else f"{len(members)} photos"
    changed = sum(photo.changed_share for photo in members) / len(members)
    more = f"<span class='soft small'>+{len(members) - STRIP_PICTURES}</span>" if len(members) > STRIP_PICTURES else ""
    thumbnails = (strip(photo, STRIP_PIXELS) for photo in members[:STRIP_PICTURES])
    images = "".join(f"<img alt='' loading='lazy' decoding='async' src='{source}'>" for source in thumbnails if source)
    return (
        f"<details class='card group'{' open' if opened else ''}><summary><b>{title}</b>"
        f"<span class='soft small'>{count} · {percent(changed)} of pixels changed</span>"
        f"<span class='strip'>{images}{more}</span></summary><div class='inside'>"
    )


def _photo(photo: Photo, result: DemoResult, pictures: Pictures | None, reason: str) -> Iterator[str]:
    yield f"<article class='photo'><header><h3>{escape(photo.path)}</h3>"
    size = f"{photo.width} × {photo.height} pixels"
    yield f"<span class='soft small'>{size} · {_changed_words(photo, result)}</span></header>"
    if reason:
        yield f"<p class='reason'>{sentence(reason)}</p>"
    yield _triple(photo, pictures)
    base, personal = _shares(photo.base_classes), _shares(photo.personal_classes)
    yield f"<div class='rows legend'>{_paired_rows(base, personal, result.classes)}</div></article>"


def _changed_words(photo: Photo, result: DemoResult) -> str:
    if photo.changed_share > 0:
        return f"<b>{percent(photo.changed_share)}</b> of pixels changed class"
    return "no pixel changed" if _accepted(result) else "the base's mask is kept"


def _accepted(result: DemoResult) -> bool:
    return result.verdict is not None and result.verdict.accepted


def _shares(classes: Iterable[ClassShare]) -> dict[int, float]:
    return {entry.id: entry.share for entry in classes}


def _triple(photo: Photo, pictures: Pictures | None) -> str:
    if pictures is None:
        return (
            "<div class='missing'><span>This computer cannot show the photo. Masks: "
            f"{link(photo.base_mask, 'base')} · {link(photo.personal_mask, 'personal')}</span></div>"
        )
    name = photo.path
    figures = (
        figure(pictures.original, pictures, f"{name}, the photo", "Photo"),
        figure(pictures.base, pictures, f"{name}, the base's classes", "Base", link(photo.base_mask, "mask")),
        figure(pictures.personal, pictures, f"{name}, the personal classes", "Personal", link(photo.personal_mask, "mask")),
    )
    return f"<div class='triple'>{''.join(figures)}</div>"


def _unpictured(photos: Sequence[Photo]) -> Iterator[str]:
    if not photos:
        return
    yield f"<details class='plain'><summary>{len(photos)} more, without pictures</summary><ul class='files'>"
    for photo in photos:
        yield f"<li>{link(photo.personal_mask, photo.path)} — {percent(photo.changed_share)} changed</li>"
    yield "</ul></details>"


def _footer(result: DemoResult) -> str:
    classes = f"{len(result.classes)} classes. " if result.classes else ""
    return (
        f"<footer>{classes}Masks are palette PNGs at the photo's own size: <code>masks/personal</code>, "
        "<code>masks/base</code>; <code>overlays</code> shows the personal ones over the photos; "
        "<code>report.json</code> holds all figures.</footer>"
    )
