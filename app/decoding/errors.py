"""Why a file is not taken, and how a decoder can end.

PhotoRejected         this file is not taken: a stable code, and a sentence for a person
DecoderUnavailable    no decoder can be started here (the machine's fault, not the file's)
"""

from __future__ import annotations


class PhotoRejected(Exception):
    """This file is not taken: a stable code, and a sentence for a person."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class DecoderUnavailable(Exception):
    """No decoder process can be started on this machine."""


def damaged() -> PhotoRejected:
    """What is said of a file of a format that we take which cannot be read to its end."""
    return PhotoRejected("truncated_image", "The picture is damaged or cut off.")
