"""A token made by a request with an Idempotency-Key, shown again to the same request.

The row of the key holds the token's id and a salt, never its text: see `app.auth.derived_seed`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from sqlalchemy.orm import Session

from app import auth, idempotency
from app.db import once
from app.deps import TokenMaker, Wiring
from app.tables import Token

Make = Callable[[Session, bytes | None], tuple[Token, str]]


def made_once(wiring: Wiring, maker: TokenMaker, slot: idempotency.Slot | None, make: Make) -> tuple[Token, str | None]:
    """What `make` makes from a seed, once per key. The text is None where another token than now came with the key before.

    Raises IdempotencyConflict, and what `make` raises.
    """

    def attempt() -> tuple[Token, str | None]:
        with wiring.database.write() as session:
            earlier = idempotency.recall(session, wiring.settings, slot)
            if earlier is not None:
                token = session.get_one(Token, earlier["token_id"])
                return token, auth.text_again(token, maker.text, earlier["salt"])
            salt = secrets.token_hex(16)
            token, text = make(session, None if slot is None else auth.derived_seed(maker.text, salt))
            assert token.user_id is not None, "users' tokens only"
            idempotency.remember(session, wiring.settings, slot, {"token_id": token.id, "salt": salt}, user_id=token.user_id)
            return token, text

    return once(attempt)
