"""File names of an export: the photo's own, made safe and unique."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

_UNSAFE = re.compile(r"[^\w.() +-]+")
_LONGEST_BYTES = 200
"""Of UTF-8, as file systems count: 255 are the most, and a suffix and a number are to come."""


def unique_stems(filenames: Iterable[str]) -> list[str]:
    """One stem per file name, in order; no two are the same on a file system that ignores case."""
    taken: set[str] = set()
    return [_untaken(_safe_stem(filename), taken) for filename in filenames]


def _safe_stem(filename: str) -> str:
    # Browsers and clients may send a path: only its end is a name, and nothing of it may lead out of a folder.
    stem = PurePosixPath(filename.replace("\\", "/")).stem
    return _UNSAFE.sub("_", stem).strip(". ").encode()[:_LONGEST_BYTES].decode(errors="ignore").rstrip(". ") or "photo"


def _untaken(stem: str, taken: set[str]) -> str:
    candidate, number = stem, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{stem}-{number}"
    taken.add(candidate.casefold())
    return candidate
