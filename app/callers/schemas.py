"""What a caller learns about themselves."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.tables import TokenKind


class CallerDocument(BaseModel):
    """The holder of the token that was sent."""

    kind: TokenKind
    user_id: str | None = Field(description="Null for a service token.")
