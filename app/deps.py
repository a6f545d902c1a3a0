"""What routes ask for, as `Annotated` dependencies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select

from app import auth
from app.attempts import FailedAttempts, client_address
from app.auth import Principal
from app.checks import Foundations, Probes
from app.db import Database
from app.decoding.pool import DecoderPool
from app.errors import Forbidden, Unauthorized, user_not_found
from app.fair_places import FairPlaces
from app.observability.metrics import ApiMetrics
from app.settings import Settings
from app.storage import Storage
from app.streams import OpenStreams
from app.tables import User
from app.turns import RecentLines

MAX_PAGE = 1000
_READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Wiring:
    """What one running API stands on; made once, in `app.main`."""

    settings: Settings
    database: Database
    storage: Storage
    # Decoding a photo takes memory in proportion to its pixels, so few of them happen at a time.
    decoding: FairPlaces
    decoder: DecoderPool
    failed_attempts: FailedAttempts
    foundations: Foundations
    probes: Probes
    metrics: ApiMetrics
    lines: RecentLines
    streams: OpenStreams
    exports: OpenStreams
    uploads: OpenStreams


_bearer = HTTPBearer(
    auto_error=False, description="Of a service (`pseg_svc_…`), of a user (`pseg_usr_…`), or of a user for reading only (`pseg_uro_…`)."
)
CredentialsDep = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


def get_wiring(request: Request) -> Wiring:
    """The wiring of the application that serves this request."""
    wiring = request.app.state.wiring
    assert isinstance(wiring, Wiring)
    return wiring


WiringDep = Annotated[Wiring, Depends(get_wiring)]


def get_principal(request: Request, wiring: WiringDep, credentials: CredentialsDep) -> Principal:
    """Who is calling; raises Unauthorized, TooManyRequests after many wrong tokens, Forbidden for a read-only token that would write."""
    text = require_token(credentials)
    try:
        principal = auth.authenticate(wiring.database, text)
    except Unauthorized:
        note_refused(request, wiring)
        raise
    return require_allowed(request, principal)


def require_token(credentials: HTTPAuthorizationCredentials | None) -> str:
    """The text of the token that came with the request; raises Unauthorized."""
    if credentials is None:
        raise Unauthorized("Send a token: `Authorization: Bearer <token>`.")
    return credentials.credentials


def note_refused(request: Request, wiring: Wiring) -> None:
    """Count a wrong token; raises TooManyRequests after many."""
    wiring.failed_attempts.note(client_address(request, wiring.settings.trusted_proxies))


def require_allowed(request: Request, principal: Principal) -> Principal:
    """The caller; raises Forbidden for a read-only token that would write."""
    if request.method not in _READING_METHODS and not principal.may_write:
        raise Forbidden("read_only_token", "This token may only read.")
    return principal


PrincipalDep = Annotated[Principal, Depends(get_principal)]


@dataclass(frozen=True)
class TokenMaker:
    """Who asks for a token, and the token that they show for it; `has_ended`: it is valid no more (`app.tokens.makers`)."""

    principal: Principal
    text: str = field(repr=False)
    has_ended: bool = False


def get_token_maker(principal: PrincipalDep, credentials: CredentialsDep) -> TokenMaker:
    """The caller, with the text of their token: from it a repeated request's token is made again."""
    return TokenMaker(principal, require_token(credentials))


TokenMakerDep = Annotated[TokenMaker, Depends(get_token_maker)]


def get_service(principal: PrincipalDep) -> Principal:
    """The caller, who must hold a service token."""
    if not principal.is_service:
        raise Forbidden("service_token_needed", "Only a service token may do this.")
    return principal


ServiceDep = Annotated[Principal, Depends(get_service)]


def get_visible_user_id(principal: PrincipalDep, user_id: Annotated[UUID, Path()]) -> str:
    """The user id of the path, when the caller may act for it; a foreign one looks like an unknown one."""
    wanted = str(user_id)
    if not principal.may_act_for(wanted):
        raise user_not_found()
    return wanted


def get_current_user_id(wiring: WiringDep, user_id: Annotated[str, Depends(get_visible_user_id)]) -> str:
    """The id of an existing user for whom the caller may act; raises NotFound."""
    with wiring.database.read() as session:
        found = session.execute(select(User.id).where(User.id == user_id, User.erased_at.is_(None))).first()
    if found is None:
        raise user_not_found()
    return user_id


CurrentUserId = Annotated[str, Depends(get_current_user_id)]
VisibleUserId = Annotated[str, Depends(get_visible_user_id)]
IdempotencyKeyHeader = Annotated[
    str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255, description="Remembered for 24 hours.")
]
PageLimit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Most entries of the page.")]
PageCursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]
