"""File names of an export and of masks: the photo's own, made safe and unique."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from itertools import groupby
from pathlib import PurePosixPath

_SAFE_SIGNS = "_.() +-"
_LONGEST_BYTES = 200
"""Of UTF-8, as file systems count: 255 are the most, and a suffix and a number are to come."""
_LONGEST_FOLDERS_BYTES = 600
"""Of all folders of one photo: some systems take paths of no more than 1024 bytes."""
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789¹²³")}
"""What Windows takes for a device, whatever follows after a dot."""


def unique_stems(filenames: Iterable[str]) -> list[str]:
    """One stem per file name, in order; no two are the same on a file system that ignores case."""
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    return [_untaken(_safe_stem(filename), taken, numbers) for filename in filenames]


def unique_paths(filenames: Iterable[str]) -> list[str]:
    """The same, each in the folders of its photo: `2019/IMG_1.jpg` → `2019/IMG_1`. No path leads out of the folder that it is put in."""
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    return [_untaken(_safe_folders(filename) + _safe_stem(filename), taken, numbers) for filename in filenames]


def _safe_folders(filename: str) -> str:
    """The folders with a `/` after each; of too many the last ones."""
    *parts, _ = filename.replace("\\", "/").split("/")
    folders = [f"{folder}/" for folder in map(_safe_folder, parts) if folder]
    while len("".join(folders).encode()) > _LONGEST_FOLDERS_BYTES:
        folders.pop(0)
    return "".join(folders)


def _safe_folder(name: str) -> str:
    """Empty for what is no name, such as `..`; never that of a mask."""
    safe = _safe(name)
    return f"{safe}_" if safe.casefold().endswith(".png") else safe


def _safe_stem(filename: str) -> str:
    # Browsers and clients may send a path: only its end is a name, and nothing of it may lead out of a folder.
    return _safe(PurePosixPath(filename.replace("\\", "/")).stem) or "photo"


def _safe(name: str) -> str:
    """Empty where nothing of the name is left."""
    # Macs send an accent apart from its letter; together they are one safe character, and shorter.
    composed = unicodedata.normalize("NFC", name)
    safe = "".join("".join(run) if is_safe else "_" for is_safe, run in groupby(composed, _is_safe))
    cut = _cut(safe.strip(". "))
    is_device = cut.partition(".")[0].rstrip().upper() in _DEVICES
    return _cut(f"_{cut}") if is_device else cut


def _cut(stem: str) -> str:
    return stem.encode()[:_LONGEST_BYTES].decode(errors="ignore").rstrip(". ")


def _is_safe(character: str) -> bool:
    # Marks (category M) are the vowels of Thai and Hindi.
    return character.isalnum() or character in _SAFE_SIGNS or unicodedata.category(character).startswith("M")


def _untaken(stem: str, taken: set[str], numbers: dict[str, int]) -> str:
    """`numbers`: the last one tried after each stem; those before it are taken."""
    folded = stem.casefold()
    number = numbers.get(folded, 1)
    candidate = stem if number == 1 else f"{stem}-{number}"
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{stem}-{number}"
    taken.add(candidate.casefold())
    numbers[folded] = number
    return candidate
