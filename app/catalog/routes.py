"""`/v1/bases` and `/v1/classes`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.catalog import service
from app.catalog.schemas import BaseList, ClassList
from app.deps import PrincipalDep, WiringDep
from app.problems import problem_responses

router = APIRouter(prefix="/v1", tags=["catalogue"], responses=problem_responses(401, 422, 503))


@router.get("/bases", summary="List the base models")
def list_bases(_caller: PrincipalDep, wiring: WiringDep) -> BaseList:
    """The base models that the workers have, with classes, licence and scores."""
    return service.list_bases(wiring.database)


@router.get("/classes", summary="List the classes")
def list_classes(_caller: PrincipalDep, wiring: WiringDep, base: Annotated[str | None, Query(max_length=64)] = None) -> ClassList:
    """Class ids, names and mask colours of a base; of the default one when none is named."""
    return service.list_classes(wiring.database, base)
