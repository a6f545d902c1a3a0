"""`/v1/me`: whose token this is."""

from __future__ import annotations

from fastapi import APIRouter

from app.callers.schemas import CallerDocument
from app.deps import PrincipalDep
from app.problems import problem_responses

router = APIRouter(prefix="/v1", tags=["users"], responses=problem_responses(401))


@router.get("/me", summary="Read who you are")
def get_me(caller: PrincipalDep) -> CallerDocument:
    """The kind of the token that was sent, and, of a user's own token, the user's id."""
    return CallerDocument(kind=caller.kind, user_id=caller.user_id)
