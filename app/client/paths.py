"""Paths of the API: words that are ours, and ids that are the caller's. The one place where an id gets into a path.

An HTTP library takes `..` in a path for "one up", so that an id with one in it would name another route: of another photo, of
the whole user, of another user. Therefore an id is put in only where it can be one, and nothing is sent where it cannot.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from app.client.errors import InvalidRequest

_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_VERSION = re.compile(r"[0-9]{1,18}")
_KINDS = {"adaptation": "adaptations", "segmentation": "segmentations"}


def is_id(text: object) -> bool:
    """Whether this can be the id of a user, a photo, a job, a token or an erasure: a UUID."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


def path_of(words: str, *ids: object) -> str:
    """`words` with each `{}` replaced by an id, a UUID or a version's number; raises InvalidRequest (`malformed_id`)."""
    return words.format(*map(_checked, ids))


def jobs_word(kind: str) -> str:
    """The word of the path for jobs of this kind; raises InvalidRequest (`malformed_id`)."""
    if kind not in _KINDS:
        raise _refused("malformed_id", f"There are no jobs of the kind {kind!r}: it is one of {' and '.join(_KINDS)}.")
    return _KINDS[kind]


def require_plain(path: str) -> None:
    """Raises InvalidRequest (`malformed_path`) for a path by hand that leads to another server or leaves what it begins with."""
    plain = unquote(re.split(r"[?#]", path, maxsplit=1)[0]).replace("\\", "/")
    if not plain.startswith("/") or plain.startswith("//") or {".", ".."} & set(plain.split("/")):
        raise _refused("malformed_path", f"{path!r} is no path of the API: it begins with one `/` and has no `.` or `..` in it.")


def _checked(part: object) -> str:
    text = str(part)
    if is_id(text) or _VERSION.fullmatch(text):
        return text
    raise _refused("malformed_id", f"{text!r} cannot be an id: nothing was asked.")


def _refused(code: str, detail: str) -> InvalidRequest:
    return InvalidRequest(code, "Unprocessable", detail)
