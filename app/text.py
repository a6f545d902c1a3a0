"""Text that any terminal, file and JSON reader takes: file names of Linux may hold bytes that are no UTF-8."""

from __future__ import annotations

import os
import re

_HALVES = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with U+FFFD for what no terminal or file of UTF-8 takes: half characters out of file names of other encodings."""
    return _HALVES.sub("\ufffd", text)


def name_as_text(name: str) -> str:
    """A file name as text; bytes that are no UTF-8 become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")
