"""Which of a user's models a caller asks for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

ModelChoice = Literal["personal", "base"] | Annotated[int, Field(ge=1, le=2**31 - 1)]
"""`personal` is the one in use; a number is a version."""
