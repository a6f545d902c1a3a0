"""Pages by cursor: the id of the last entry, wrapped so that nobody builds one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from app.errors import MalformedCursor

DEFAULT_PAGE = 100


class Row(Protocol):
    """What a page lists."""

    @property
    def id(self) -> str:
        """What the cursor of the next page is made of."""


AnyRow = TypeVar("AnyRow", bound=Row)


def cut(found: Sequence[AnyRow], limit: int) -> tuple[Sequence[AnyRow], str | None]:
    """Of up to `limit` + 1 rows those of this page, and the cursor of the next; None where this is the last."""
    shown = found[:limit]
    return shown, encode_cursor(shown[-1].id) if len(found) > limit else None


def encode_cursor(last_id: str) -> str:
    """The cursor of the page after this id."""
    return base64.urlsafe_b64encode(UUID(last_id).bytes).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str:
    """The id after which the page starts, or "" for the first page; raises MalformedCursor."""
    if cursor is None:
        return ""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return str(UUID(bytes=raw))
    except (binascii.Error, ValueError) as error:
        raise MalformedCursor from error
