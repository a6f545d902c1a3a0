"""Why a file is not taken, and how a decoder can end.

PhotoRejected         this file is not taken: a stable code, and a sentence for a person
DecoderUnavailable    no decoder can be started here (the machine's fault, not the file's)

A file whose bytes cannot be had, because the file system under it is in trouble or away, is told by an OSError: `is_file_system_away`.
"""

from __future__ import annotations

import errno

_FILE_SYSTEM_AWAY = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN)


def is_file_system_away(error: BaseException) -> bool:
    """Whether reading or writing a file failed because its disk, or the machine that shares it, is in trouble."""
    return isinstance(error, OSError) and error.errno in _FILE_SYSTEM_AWAY


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
