"""Text that any terminal, file and JSON reader takes: file names of Linux may hold bytes that are no UTF-8."""

from __future__ import annotations

import re

_HALVES = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with U+FFFD for what no terminal or file of UTF-8 takes: half characters out of file names of other encodings."""
    return _HALVES.sub("\ufffd", text)
