"""Who may ask for a user's tokens: whoever acts for the user; and the holder of a token that such a request has just ended.

A request that ends the very token that it came with could not be repeated, and its answer, lost on the way, would take the
user's access along. So it is answered again, to that token alone, for some minutes (docs/decisions/0039).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import Depends, Path, Request

from app import auth, idempotency
from app.auth import Principal
from app.clock import utc_now
from app.deps import (
    CredentialsDep,
    IdempotencyKeyHeader,
    TokenMaker,
    Wiring,
    WiringDep,
    get_current_user_id,
    get_visible_user_id,
    note_refused,
    require_allowed,
    require_token,
)
from app.errors import Unauthorized
from app.tables import Token, TokenKind

TOKENS, ROTATE = "tokens", "rotate"
"""Where the keys of the two requests are remembered."""
_ANSWERED_AGAIN = timedelta(minutes=10)
_RANDOM_UUID = 4

log = structlog.get_logger(__name__)


def _maker_for(route: str) -> Callable[..., TokenMaker]:
    def get_maker(
        request: Request,
        wiring: WiringDep,
        user_id: Annotated[UUID, Path()],
        credentials: CredentialsDep,
        idempotency_key: IdempotencyKeyHeader = None,
    ) -> TokenMaker:
        text, user = require_token(credentials), str(user_id)
        try:
            principal = auth.authenticate(wiring.database, text)
        except Unauthorized:
            ended = _made_this(wiring, user, route, idempotency_key, text)
            if ended is None:
                note_refused(request, wiring)
                raise
            log.info("token.answered_again", token_id=ended.id)
            return TokenMaker(Principal(ended.id, TokenKind(ended.kind), user, auth.ends_at(ended)), text, has_ended=True)
        maker = TokenMaker(require_allowed(request, principal), text)
        get_current_user_id(wiring, get_visible_user_id(principal, user_id))
        return maker

    return get_maker


CreatorDep = Annotated[TokenMaker, Depends(_maker_for(TOKENS))]
RotatorDep = Annotated[TokenMaker, Depends(_maker_for(ROTATE))]


def _made_this(wiring: Wiring, user_id: str, route: str, key: str | None, text: str) -> Token | None:
    """The token of this text, where it made the request of this key, ended by it, and nobody has used what that made.

    A key that can be guessed does not do: whoever holds a stolen token would get the one that shuts them out.
    """
    if key is None or not _is_random(key) or not auth.can_be_token(text):
        return None
    maker = auth.just_ended(wiring.database, text, user_id, since=utc_now() - _ANSWERED_AGAIN)
    if maker is None or maker.revoked_at is None:
        return None
    with wiring.database.read() as session:
        made = idempotency.made_by(session, wiring.settings, user_id, route, key)
        if made is None or not _is_moment(made.get("maker_ends_at"), maker.revoked_at):
            return None
        token = auth.never_used(session, made["token_id"])
        return maker if token is not None and auth.text_again(token, text, made["salt"]) is not None else None


def _is_moment(written: str | None, moment: datetime) -> bool:
    return written is not None and datetime.fromisoformat(written) == moment


def _is_random(key: str) -> bool:
    try:
        return UUID(key).version == _RANDOM_UUID
    except ValueError:
        return False
