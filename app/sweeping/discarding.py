"""Removes one blob without a row so that a row which comes at the same moment does not lose its blob.

The blob is set aside under another key, then the rows are asked: a row that is there now gets its blob back. A writer puts
its blob, commits its row and then looks whether the blob is still there. If its commit came before our question, we see
the row; if it came after, its look comes after our setting aside, and it sees that the blob is gone.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from app.storage import Storage, user_prefix

_ASIDE = "aside"


def aside_prefix(user_id: str) -> str:
    """Where blobs are while it is asked whether they may go."""
    return f"{user_prefix(user_id)}/{_ASIDE}"


def discard(storage: Storage, user_id: str, key: str, is_wanted: Callable[[], bool]) -> bool:
    """Remove the blob unless some row wants it; whether it was removed."""
    short = key.removeprefix(f"{user_prefix(user_id)}/").replace("/", "!")
    aside = f"{aside_prefix(user_id)}/{short}!{secrets.token_hex(4)}"
    if not storage.move(key, aside):
        return False
    return _settle(storage, key, aside, is_wanted)


def settle_rest(storage: Storage, user_id: str, aside: str, is_wanted: Callable[[str], bool]) -> bool:
    """Bring to an end what a crash left set aside; whether it was removed."""
    short = aside.rsplit("/", 1)[-1].rsplit("!", 1)[0]
    key = f"{user_prefix(user_id)}/{short.replace('!', '/')}"
    if storage.exists(key):
        storage.delete(aside)
        return True
    return _settle(storage, key, aside, lambda: is_wanted(key))


def _settle(storage: Storage, key: str, aside: str, is_wanted: Callable[[], bool]) -> bool:
    if is_wanted():
        storage.move(aside, key)
        return False
    storage.delete(aside)
    return True
