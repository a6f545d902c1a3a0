"""The folder that `personalseg segment -o` writes into: its own files are replaced, nothing else is.

A list of what was written, with the sha256 of each file, lies in it. A photo, a mask that somebody has corrected by hand, or a
mask of another kind is therefore known, and told before any work is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from app.client.documents import MaskFormat
from app.client.files import sha256_of
from app.whole_file import whole_file

LIST_NAME = ".personalseg-masks.json"
_NAMED = 3


class WouldOverwrite(Exception):
    """Why the masks cannot be written there, in a sentence."""


class MaskFolder:
    """`out` must exist; `format` is what will be written. Names are relative to `out`, with `/`: folders in them are made."""

    def __init__(self, out: Path, format: MaskFormat) -> None:
        self._out, self._format = out, format
        self._written: dict[str, dict[str, str]] = _read(out / LIST_NAME)

    def require_free(self, names: Iterable[str]) -> None:
        """Raises WouldOverwrite where a file of one of these names is there that `segment` did not write, or not as this kind of mask."""
        taken = list(dict.fromkeys(found for name in names if (found := self._in_the_way(name)) is not None))
        if taken:
            shown = ", ".join(taken[:_NAMED]) + (f" and {len(taken) - _NAMED} more" if len(taken) > _NAMED else "")
            what = f"not written by `segment --format {self._format}` or changed since"
            raise WouldOverwrite(f"{self._out} holds {shown}, {what}: give another folder.")

    def write(self, name: str, content: bytes) -> Path:
        """The file, whole or not at all; raises WouldOverwrite, OSError."""
        self.require_free([name])
        path = self._out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(path, content)
        self._written[name] = {"sha256": hashlib.sha256(content).hexdigest(), "format": self._format}
        return path

    def close(self) -> None:
        """Write the list; also after a run that was broken off."""
        _put(self._out / LIST_NAME, json.dumps(self._written, indent=0, sort_keys=True).encode())

    def _in_the_way(self, name: str) -> str | None:
        """What must not be replaced: the mask of this name, or what is where one of its folders is to be."""
        for parent in PurePosixPath(name).parents[:-1]:
            if _is_no_folder(self._out / parent):
                return str(parent)
        return None if self._is_ours(name) else name

    def _is_ours(self, name: str) -> bool:
        path, known = self._out / name, self._written.get(name)
        if not path.exists() and not path.is_symlink():
            return True
        return known is not None and known.get("format") == self._format and known.get("sha256") == sha256_of(path)


def _is_no_folder(path: Path) -> bool:
    """Whether something is there that no folder can be made of: a file, or a link, which leads elsewhere."""
    return path.is_symlink() or (path.exists() and not path.is_dir())


def _put(path: Path, content: bytes) -> None:
    with whole_file(path) as file:
        file.write(content)


def _read(path: Path) -> dict[str, dict[str, str]]:
    """What earlier runs wrote; nothing where there is no list or none that can be read, so that what is there stays."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)} if isinstance(found, dict) else {}
