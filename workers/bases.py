"""The base that a job asks for: fetched first where its weights are not on this machine yet."""

from __future__ import annotations

from sqlalchemy import update

from app.tables import RegisteredBase
from models import Base
from models.types import Cancelled
from workers.lease import HeldJob
from workers.workshop import Workshop

_STAGE = "fetching"
_MEBIBYTE = 2**20


def base_for(workshop: Workshop, held: HeldJob, name: str) -> Base:
    """The loaded base; a fetch is told as the job's progress, in MiB. Raises Cancelled, and what `BaseCache.get` raises."""
    if workshop.bases.holds(name):
        return workshop.bases.get(name)

    def on_bytes(done: int, total: int) -> None:
        if held.should_stop():
            raise Cancelled
        held.report(_STAGE, done // _MEBIBYTE, max(1, total // _MEBIBYTE), 0.0)

    base = workshop.bases.get(name, on_bytes)
    with workshop.database.write() as session:
        session.execute(update(RegisteredBase).where(RegisteredBase.name == name).values(weights_present=True))
    return base
