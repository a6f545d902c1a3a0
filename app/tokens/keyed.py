"""A token made by a request with an Idempotency-Key, shown again to the same request.

The row of the key holds the token's id and a salt, never its text: see `app.auth.derived_seed`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.orm import Session

from app import auth, idempotency
from app.db import once
from app.deps import TokenMaker, Wiring
from app.errors import Unauthorized
from app.tables import Token
from app.user_lock import lock_user

Make = Callable[[Session, bytes | None], tuple[Token, str]]


def made_once(
    wiring: Wiring,
    maker: TokenMaker,
    slot: idempotency.Slot | None,
    make: Make,
    *,
    locked: str | None = None,
    maker_ends_at: datetime | None = None,
) -> tuple[Token, str | None]:
    """What `make` makes from a seed, once per key. The text is None where another token than now came with the key before.

    `locked`: the user whose lock is taken first; `maker_ends_at`: when the maker's own token ends by this very request, and
    is then still answered (`app.tokens.makers`). Raises IdempotencyConflict, and what `make` raises.
    """

    def attempt() -> tuple[Token, str | None]:
        with wiring.database.write() as session:
            if locked is not None:
                lock_user(session, locked)
            earlier = idempotency.recall(session, wiring.settings, slot)
            if earlier is not None:
                token = session.get_one(Token, earlier["token_id"])
                return token, auth.text_again(token, maker.text, earlier["salt"])
            if maker.has_ended:
                raise Unauthorized("The token is expired or revoked.")
            salt = secrets.token_hex(16)
            token, text = make(session, None if slot is None else auth.derived_seed(maker.text, salt))
            assert token.user_id is not None, "users' tokens only"
            made = {"token_id": token.id, "salt": salt}
            if maker_ends_at is not None:
                made["maker_ends_at"] = maker_ends_at.isoformat()
            idempotency.remember(session, wiring.settings, slot, made, user_id=token.user_id)
            return token, text

    return once(attempt)
