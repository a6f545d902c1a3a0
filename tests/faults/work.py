"""The work that a fault falls into: small galleries whose jobs take about a second."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from app.client import Client
from app.client import Job as JobDocument
from app.tables import Job, JobStatus
from tests.faults.checks import ENDS, examine
from tests.faults.deployment import Deployment, await_true
from tests.faults.table import Line

BUDGET_SECONDS = 4.0
END_SECONDS = 240.0


@dataclass
class Work:
    """Jobs that were accepted while one fault was done, and the line that tells how it went."""

    service: Deployment
    photos: list[Path]
    line: Line
    accepted: list[str] = field(default_factory=list)

    def user(self) -> Client:
        """A new user with a gallery."""
        client = self.service.new_user()
        client.upload(self.photos)
        return client

    def adapt(self, user: Client, budget_seconds: float = BUDGET_SECONDS) -> str:
        return self.took(user.adapt(budget_seconds=budget_seconds))

    def segment(self, user: Client) -> str:
        return self.took(user.segment("all", model="base", adapt="never"))

    def took(self, job: JobDocument) -> str:
        """Note a job that the service has accepted."""
        self.accepted.append(job.id)
        return job.id

    def row(self, job_id: str) -> Job:
        with self.service.database.read() as session:
            return session.get_one(Job, job_id)

    def has_ended(self, job_id: str) -> bool:
        return self.row(job_id).status in ENDS

    def await_running(self, job_id: str) -> Job:
        """Wait until a worker has it, or it has already ended."""
        await_true(lambda: self.row(job_id).status != JobStatus.QUEUED, END_SECONDS)
        return self.row(job_id)

    def await_ended(self, job_id: str) -> Job:
        await_true(lambda: self.has_ended(job_id), END_SECONDS)
        return self.row(job_id)

    def await_all_ended(self) -> float:
        """Wait until nothing is queued or running; the seconds that it took."""
        active = select(Job.id).where(Job.id.in_(self.accepted), Job.status.not_in(ENDS))

        def none_left() -> bool:
            with self.service.database.read() as session:
                return session.execute(active.limit(1)).first() is None

        return await_true(none_left, END_SECONDS)

    def examine(self, expected_codes: Collection[str] = ()) -> None:
        """Wait for the end of all, look at everything, write it down; fails where anything is wrong."""
        self.await_all_ended()
        self.line.findings = examine(self.service.database, self.service.storage, self.accepted, expected_codes)
        assert not self.line.findings.all(), self.line.findings


Start = Callable[[str, Deployment], Work]
Times = Callable[[int, int], int]
