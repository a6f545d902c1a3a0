"""Who is calling. A token is more than 256 random bits and a checksum, shown once, held as SHA-256 only.

`pseg_usr_` + 43 random characters of base 62 + their CRC-32 in 6 characters: leak scanners know it by its prefix and
its checksum, and a text that cannot be a token is turned away without asking the database. The tokens of the first
release (43 url-safe characters without a checksum) stay valid.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.db import Database
from app.errors import Unauthorized
from app.tables import Token, TokenKind, User

PREFIX_OF_KIND = {TokenKind.SERVICE: "pseg_svc_", TokenKind.USER: "pseg_usr_", TokenKind.READ_ONLY: "pseg_uro_"}
_DIGITS = string.digits + string.ascii_letters
_RANDOM_CHARACTERS = 43  # 43 · log2(62) = 256.03 bits
_CHECKSUM_CHARACTERS = 6  # 62⁶ > 2³²
_SHOWN_CHARACTERS = 13
_SHAPE = re.compile(rf"(pseg_(?:svc|usr|uro)_[0-9A-Za-z]{{{_RANDOM_CHARACTERS}}})([0-9A-Za-z]{{{_CHECKSUM_CHARACTERS}}})")
_FIRST_SHAPE = re.compile(r"pseg_(?:svc|usr)_[0-9A-Za-z_-]{43}")
_LAST_USED_EVERY = timedelta(minutes=1)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Principal:
    """The holder of a valid token: a service, or one user."""

    token_id: str
    kind: TokenKind
    user_id: str | None
    expires_at: datetime | None = None

    @property
    def is_service(self) -> bool:
        """Whether this is an application's back end, which may act for any user."""
        return self.kind == TokenKind.SERVICE

    @property
    def may_write(self) -> bool:
        """Whether this caller may change anything at all."""
        return self.kind != TokenKind.READ_ONLY

    def may_act_for(self, user_id: str) -> bool:
        """Whether this caller may see what belongs to this user."""
        return self.is_service or self.user_id == user_id


def hash_token(text: str) -> str:
    """What the database holds instead of the token."""
    return hashlib.sha256(text.encode()).hexdigest()


def new_text(kind: TokenKind, seed: bytes | None = None) -> str:
    """A new token's text; the same one for the same `seed` (64 bytes that nobody else can know)."""
    number = int.from_bytes(secrets.token_bytes(64) if seed is None else seed)
    unsigned = PREFIX_OF_KIND[kind] + _in_digits(number, _RANDOM_CHARACTERS)
    return unsigned + _checksum(unsigned)


def can_be_token(text: str) -> bool:
    """Whether this may be a token at all: its shape, and its checksum."""
    shaped = _SHAPE.fullmatch(text)
    if shaped is None:
        return _FIRST_SHAPE.fullmatch(text) is not None
    return shaped[2] == _checksum(shaped[1])


def _checksum(unsigned: str) -> str:
    return _in_digits(zlib.crc32(unsigned.encode()), _CHECKSUM_CHARACTERS)


def _in_digits(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def create_token(
    session: Session, user_id: str | None, *, expires_at: datetime | None = None, read_only: bool = False, seed: bytes | None = None
) -> tuple[Token, str]:
    """A new token, of the user or (None) of a service, and its text, which nobody can ask for again. `seed`: see `new_text`."""
    of_user = TokenKind.READ_ONLY if read_only else TokenKind.USER
    kind = TokenKind.SERVICE if user_id is None else of_user
    text = new_text(kind, seed)
    token = Token(user_id=user_id, kind=kind.value, token_hash=hash_token(text), prefix=text[:_SHOWN_CHARACTERS], expires_at=expires_at)
    session.add(token)
    session.flush()
    return token, text


def derived_seed(maker: str, salt: str) -> bytes:
    """The seed of a token that must be shown again to a repeated request although it is stored nowhere.

    `maker` is the text of the token that asked for it, of which the database holds a hash only; `salt` is kept there.
    """
    return hmac.digest(maker.encode(), f"personalseg token {salt}".encode(), "sha512")


def text_again(token: Token, maker: str, salt: str) -> str | None:
    """The text of a token made from `derived_seed`; None for another maker than the first one."""
    text = new_text(TokenKind(token.kind), derived_seed(maker, salt))
    return text if hmac.compare_digest(hash_token(text), token.token_hash) else None


def ensure_service_token(session: Session) -> str | None:
    """Make the first service token and return its text; None when a valid one exists already."""
    exists = session.execute(select(Token.id).where(Token.kind == TokenKind.SERVICE, _is_valid(utc_now())).limit(1)).first()
    return None if exists else create_token(session, None)[1]


def authenticate(database: Database, text: str) -> Principal:
    """The holder of this token; raises Unauthorized for an unknown, expired or revoked one."""
    token = _find(database, text) if can_be_token(text) else None
    if token is None:
        raise Unauthorized("The token is unknown, expired or revoked.")
    now = utc_now()
    if token.last_used_at is None or now - token.last_used_at >= _LAST_USED_EVERY:
        _note_use(database, token.id, now)
    return Principal(token_id=token.id, kind=TokenKind(token.kind), user_id=token.user_id, expires_at=ends_at(token))


def just_ended(database: Database, text: str, user_id: str, *, since: datetime) -> Token | None:
    """This user's token for everything, revoked after `since` and otherwise as good as ever; None for any other text."""
    hashed, now = hash_token(text), utc_now()
    with database.read() as session:
        return session.execute(
            select(Token)
            .join(User, Token.user_id == User.id)
            .where(Token.token_hash == hashed, Token.user_id == user_id, Token.kind == TokenKind.USER, User.erased_at.is_(None))
            .where(Token.revoked_at > since, Token.revoked_at <= now, or_(Token.expires_at.is_(None), Token.expires_at > now))
        ).scalar_one_or_none()


def never_used(session: Session, token_id: str) -> Token | None:
    """A token that is valid and with which nobody has come yet."""
    wanted = select(Token).where(Token.id == token_id, _is_valid(utc_now()), Token.last_used_at.is_(None))
    return session.execute(wanted).scalar_one_or_none()


def is_service_token(database: Database, text: str) -> bool:
    """Whether this is a service's valid token; asking is no use of it, `last_used_at` stays as it is."""
    token = _find(database, text) if can_be_token(text) else None
    return token is not None and token.kind == TokenKind.SERVICE


def ends_at(token: Token) -> datetime | None:
    """When it ceases to be valid: when it expires or is revoked, which lies ahead where it was replaced with a grace; None: never."""
    return min((at for at in (token.expires_at, token.revoked_at) if at is not None), default=None)


def _find(database: Database, text: str) -> Token | None:
    hashed = hash_token(text)
    with database.read() as session:
        token = session.execute(
            select(Token)
            .outerjoin(User, Token.user_id == User.id)
            .where(Token.token_hash == hashed, _is_valid(utc_now()), User.erased_at.is_(None))
        ).scalar_one_or_none()
    # The index has found it by its hash; the comparison that decides takes the same time wherever they differ.
    return token if token is not None and hmac.compare_digest(token.token_hash, hashed) else None


def _is_valid(now: datetime) -> ColumnElement[bool]:
    ends = (Token.revoked_at, Token.expires_at)
    return and_(*(or_(end.is_(None), end > now) for end in ends))


def _note_use(database: Database, token_id: str, now: datetime) -> None:
    try:
        with database.write() as session:
            session.execute(update(Token).where(Token.id == token_id).values(last_used_at=now))
    except SQLAlchemyError as error:
        # A busy database must not turn a valid caller away.
        log.warning("auth.use_not_noted", token_id=token_id, error=type(error).__name__)
