"""The two folders of a demonstration: the photos that come in, and `out/`, replaced as a whole or left alone."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from app.client.files import photos_below, sha256_of
from app.demo.errors import DemoError
from app.demo.result import MADE_BY, MADE_BY_PERSONALIZE
from app.text import printable

LITTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""Files that an operating system leaves in any folder."""


# Photos ---------------------------------------------------------------------------------------------------------------


def find_photos(folder: Path, *, leave_out: Path | None = None) -> list[Path]:
    """Every image-looking file below `folder`, sorted; hidden ones and everything under `leave_out` are skipped.

    A folder below that cannot be listed comes in the place of its photos, so that it is told like a file that cannot be read.
    Links to photos are followed, links to folders are not.

    Raises:
        DemoError: no such folder, or nothing in it looks like a photo.
    """
    if not folder.is_dir():
        raise DemoError(f"{folder} is not a folder: give a folder of photos.")
    unwanted = leave_out.resolve() if leave_out is not None else None
    found = sorted(photos_below(folder, leave_out=unwanted))
    if folder in found:
        raise DemoError(f"{folder} cannot be read: allow it, or give another folder.")
    if not found:
        raise DemoError(f"No photo was found in {folder}: give a folder that holds JPEG, PNG, WebP, HEIC or TIFF files.")
    return found


def mask_names(photos: Sequence[PurePosixPath]) -> dict[PurePosixPath, PurePosixPath]:
    """The relative path of each photo's mask: `trip/a.jpg` → `trip/a.png`.

    Photos of one folder that share their stem (`a.jpg` and `a.png`) keep their full names (`a.jpg.png`, `a.png.png`),
    so that none overwrites another; upper and lower case count as the same, as they do on many file systems. What no
    text holds becomes U+FFFD (`printable`); what is then still the same is numbered.
    """
    texts = {photo: PurePosixPath(printable(str(photo))) for photo in photos}
    names = {photo: text.with_name(f"{text.stem}.png") for photo, text in texts.items()}
    while True:
        uses = Counter(str(name).casefold() for name in names.values())
        clashing = [photo for photo, name in names.items() if uses[str(name).casefold()] > 1 and name.name != f"{texts[photo].name}.png"]
        if not clashing:
            return _numbered(names)
        names.update({photo: texts[photo].with_name(f"{texts[photo].name}.png") for photo in clashing})


def _numbered(names: dict[PurePosixPath, PurePosixPath]) -> dict[PurePosixPath, PurePosixPath]:
    """The same names, a number behind each that an earlier one has."""
    taken: set[str] = set()
    found = {}
    for photo, name in names.items():
        numbers = (name if number == 1 else name.with_name(f"{name.stem}-{number}.png") for number in count(1))
        found[photo] = next(each for each in numbers if str(each).casefold() not in taken)
        taken.add(str(found[photo]).casefold())
    return found


# The out folder -------------------------------------------------------------------------------------------------------


@contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place when the block ends well, and vanishes when it does not.

    So `out` never holds a half-written result or a mixture of two runs.

    Raises:
        DemoError: `out` is something that must not be replaced, or cannot be written.
    """
    out = out.resolve()
    require_replaceable(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        working.chmod(0o777 & ~_umask())
    except OSError as error:
        raise DemoError(f"The results cannot be written to {out} ({error.strerror}): give another place with --out.") from error
    try:
        yield working
        _take_place(working, out)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def require_replaceable(out: Path) -> None:
    """Check that `out` is missing, empty, or the untouched result of an earlier demo (or `personalize`): no file added or changed.

    Raises:
        DemoError: it holds anything else.
    """
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise DemoError(f"{out} is a file: give another place for the results with --out.")
    stranger = _stranger(out)
    if stranger is not None:
        what = "which is not from an earlier run or was changed since"
        raise DemoError(f"{out} holds {stranger}, {what}: move it away or choose another --out.")


def _stranger(out: Path) -> str | None:
    """The relative path of a file in `out` that no demo wrote, or not as it is now; None where there is none."""
    report = _report_of(out)
    ours, sums = _written_before(report), _sums_before(report)
    for parent, _, files in os.walk(out):
        for name in sorted(files):
            path = Path(parent, name)
            relative = path.relative_to(out).as_posix()
            is_ours = relative in ours and (relative not in sums or sums[relative] == sha256_of(path))
            if name not in LITTER and not is_ours:
                return relative
    return None


def _report_of(out: Path) -> dict[str, Any]:
    """The report of the earlier demo; empty where there is none."""
    try:
        report = json.loads((out / "report.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def _written_before(report: dict[str, Any]) -> set[str]:
    """The files that the earlier demo says it wrote."""
    try:
        if report["made_by"] == MADE_BY_PERSONALIZE:
            return {str(name) for name in report["files"]} | {"report.json"}
        if report["made_by"] != MADE_BY:
            return set()
        masks = {photo[key] for photo in report["photos"] for key in ("personal_mask", "base_mask", "overlay")}
    except (KeyError, TypeError):
        return set()
    return masks | {"report.json", "report.html"}


def _sums_before(report: dict[str, Any]) -> dict[str, str]:
    """The sha256 that each had then; none in the reports of earlier releases."""
    sums = report.get("sha256")
    return sums if isinstance(sums, dict) else {}


def sums_below(folder: Path) -> dict[str, str]:
    """The sha256 of each file, by its relative path."""
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _take_place(working: Path, out: Path) -> None:
    """Swap the finished folder in; the earlier one is put aside first and comes back should the swap fail."""
    aside = working.with_name(f"{working.name}-old")
    try:
        if out.exists():
            out.rename(aside)
        try:
            working.rename(out)
        except OSError:
            if aside.exists():
                aside.rename(out)
            raise
    except OSError as error:
        raise DemoError(f"The results could not be put at {out} ({error.strerror}): give another place with --out.") from error
    finally:
        if out.exists():
            shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    """The process's file-creation mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
