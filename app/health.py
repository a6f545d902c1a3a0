"""Liveness and readiness."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from app.checks import Check
from app.deps import WiringDep
from app.problems import problem_responses

router = APIRouter(tags=["health"])


class Part(StrEnum):
    """What the service stands on."""

    DATABASE = "database"
    REDIS = "redis"
    STORAGE = "storage"
    WORKERS = "workers"


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether the service can do its work, and what each part says."""

    ready: bool
    checks: dict[str, Check]


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Health:
    """Answers without touching anything else."""
    return Health()


@router.get("/readyz", summary="Can it do its work?", responses={503: {"model": Readiness}, **problem_responses(422)})
def readyz(
    wiring: WiringDep,
    response: Response,
    check: Annotated[list[Part] | None, Query(description="Ask only these parts; may be given more than once.")] = None,
) -> Readiness:
    """Database, Redis, blob store and workers, each reported; 503 when one of them is missing.

    A load balancer asks `?check=database`: without Redis or workers, uploads and new jobs are still taken.
    What the blob store says is remembered for five seconds.
    """
    checks = wiring.probes.ask(check)
    ready = all(found.ok for found in checks.values())
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, checks=checks)
