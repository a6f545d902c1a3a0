"""Adaptations and segmentations: start, follow, wait, cancel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import httpx
from httpx_sse import SSEError, connect_sse

from app.client._sync.connection import Connection
from app.client.answers import Patience, body, checked, no_answer, parse, retry_after, with_kind
from app.client.documents import Adapt, GallerySegmentation, Image, Job, JobKind, ModelChoice
from app.client.errors import BadAnswer, GalleryEmpty, InvalidRequest, NotFound, WaitTimedOut
from app.client.parts import as_one, cut, model_of, most_photos
from app.client.paths import jobs_word

POLL_SECONDS = 0.5
LONGEST_POLL_SECONDS = 5.0


class Jobs(Connection):
    """Calls on jobs. The one that starts a job may be repeated: its Idempotency-Key makes one job of all attempts."""

    def adapt(
        self,
        *,
        budget_seconds: float | None = None,
        base: str | None = None,
        seed: int | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Start a personalisation (or get the one that is under way)."""
        wish = {"budget_seconds": budget_seconds, "base": base, "seed": seed}
        return self._start("adaptation", wish, idempotency_key)

    def segment(
        self,
        image_ids: Sequence[str] | Literal["all"] = "all",
        *,
        model: ModelChoice = "personal",
        adapt: Adapt = "auto",
        base: str | None = None,
        wait_seconds: float = 0,
        idempotency_key: str | None = None,
    ) -> Job:
        """Segment photos with the personal model, the base (`"base"`) or a version; `auto` adapts first when due.

        Raises:
            InvalidRequest: `too_many_images`, more than one job takes (`problem["most"]`): name them in parts, or `segment_all`.
        """
        wish = {
            "image_ids": image_ids if image_ids == "all" else list(image_ids),
            "model": model,
            "adapt": adapt,
            "base": base,
            "wait": wait_seconds or None,
        }
        return self._start("segmentation", wish, idempotency_key)

    def segment_all(
        self,
        *,
        model: ModelChoice = "personal",
        adapt: Adapt = "auto",
        base: str | None = None,
        on_progress: Callable[[GallerySegmentation], None] | None = None,
    ) -> GallerySegmentation:
        """Segment the whole gallery, however many photos it has, and wait for the end, whatever it is (see `Job.require_success`).

        Where it has more photos than one job takes there are several, one after the other: the first adapts as is asked for, the
        others take the model that it has used. Where one fails or is cancelled, no more are started. Nor are they when the
        caller goes away: asking again makes only the masks that are not there.
        """
        ended: list[Job] = []
        parts: list[Sequence[str]] = ["all"]
        while parts:
            wish: tuple[Any, ...] = (*model_of(ended[0]), "never") if ended else (model, base, adapt)
            try:
                job = self._start_part(parts[0], *wish)
            except InvalidRequest as error:
                most = most_photos(error)
                if most is None or parts[0] != "all":
                    raise
                parts = cut(self._all_image_ids(), most)
                continue
            del parts[0]
            if job is None:
                continue
            to_come = sum(map(len, parts))
            job = self.wait(job, _told_as_one(on_progress, ended, to_come))
            ended.append(job)
            if job.status != "succeeded":
                break
        if not ended:
            raise GalleryEmpty("gallery_empty", "Conflict", "All photos were deleted before they were segmented.")
        return as_one(ended[:-1], ended[-1], sum(map(len, parts)))

    def job(self, kind: JobKind, job_id: str) -> Job:
        """The job as it stands now."""
        return self._as_job(self._json("GET", self._job_path(kind, job_id)), kind)

    def jobs(self, kind: JobKind, *, page_entries: int | None = None) -> Iterator[Job]:
        """The user's jobs of this kind, newest first, a page fetched when it is needed."""
        query = {} if page_entries is None else {"limit": page_entries}
        for entry in self._pages(self._path(jobs_word(kind)), **query):
            yield self._as_job(entry, kind)

    def cancel(self, job: Job) -> Job:
        """Ask a job to stop; it ends within seconds."""
        return self._as_job(self._json("POST", self._job_path(job.kind, job.id, "/cancel")), job.kind)

    def wait(
        self,
        job: Job,
        on_progress: Callable[[Job], None] | None = None,
        *,
        timeout_seconds: float | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> Job:
        """Poll until the job has ended; returns its last document, whatever the end (see `Job.require_success`).

        A segmentation's photos are counted on the way (`item_counts`); the document that is returned has its `items` too.

        Raises:
            WaitTimedOut: it has not ended within `timeout_seconds`.
        """
        started = time.monotonic()
        path = self._job_path(job.kind, job.id)
        query = {"items": "false"} if job.kind == "segmentation" else None
        while True:
            answer = self._send("GET", path, params=query)
            job = self._as_job(body(answer), job.kind)
            if on_progress is not None:
                on_progress(job)
            if job.ended:
                return self._with_items(job)
            if timeout_seconds is not None and time.monotonic() - started >= timeout_seconds:
                raise WaitTimedOut(job, timeout_seconds)
            # The server's wish counts down to a second at most while a caller watches a progress bar.
            self._sleep(min(poll_seconds, retry_after(answer) or poll_seconds, LONGEST_POLL_SECONDS))

    def follow(self, job: Job) -> Iterator[Job]:
        """The job's documents as the server sends them, until it has ended; a broken stream goes on where it broke.

        A segmentation's photos are counted on the way (`item_counts`); its last document has its `items` too.
        """
        seen: str | None = None
        patience = Patience(self._retries)
        while not job.ended:
            outcome: httpx.Response | httpx.TransportError
            try:
                with self._event_source(job, seen) as source:
                    answer: httpx.Response = source.response
                    outcome = answer
                    if answer.status_code == httpx.codes.NO_CONTENT:
                        return
                    if answer.is_success:
                        for event in source.iter_sse():
                            seen, job = event.id or seen, self._as_job(event.json(), job.kind)
                            patience = Patience(self._retries)
                            yield self._with_items(job) if job.ended else job
                    else:
                        answer.read()
            except SSEError as error:
                raise BadAnswer(f"{self.base_url} did not answer with events.") from error
            except httpx.TransportError as error:
                outcome = error
            if not job.ended:
                self._pause(patience, outcome)

    # Below: one job

    def _job_path(self, kind: str, job_id: str, action: str = "") -> str:
        return self._path(f"{jobs_word(kind)}/{{}}{action}", job_id)

    def _start(self, kind: JobKind, wish: dict[str, Any], key: str | None) -> Job:
        given = {name: value for name, value in wish.items() if value is not None}
        return self._as_job(self._json("POST", self._path(jobs_word(kind)), json=given, key=key), kind)

    def _start_part(self, image_ids: Sequence[str], model: ModelChoice, base: str | None, adapt: Adapt) -> Job | None:
        """The job of these photos, without those that were deleted meanwhile; None where that is all of them."""
        while image_ids:
            try:
                return self.segment(image_ids, model=model, adapt=adapt, base=base)
            except NotFound as error:
                if error.code != "image_not_found":
                    raise
                there = set(self._all_image_ids())
                if there.issuperset(image_ids):
                    raise
                image_ids = [image_id for image_id in image_ids if image_id in there]
        return None

    def _all_image_ids(self) -> list[str]:
        return [parse(Image, entry).id for entry in self._pages(self._path("images"))]

    def _with_items(self, job: Job) -> Job:
        return job if job.kind == "adaptation" else self.job("segmentation", job.id)

    def _as_job(self, document: Any, kind: str) -> Job:
        return parse(Job, with_kind(document, kind))

    def _event_source(self, job: Job, seen: str | None) -> Any:
        headers = {} if seen is None else {"Last-Event-ID": seen}
        return connect_sse(self._http, "GET", self._job_path(job.kind, job.id, "/events"), headers=headers)

    def _pause(self, patience: Patience, outcome: httpx.Response | httpx.TransportError) -> None:
        """Sleep before the stream is opened again; raises what the outcome means where that has no sense."""
        ended_early = isinstance(outcome, httpx.Response) and outcome.is_success
        lost = httpx.ReadError("the stream ended before the job") if ended_early else outcome
        seconds = patience.pause_after(lost)
        if seconds is None:
            if isinstance(lost, httpx.TransportError):
                raise no_answer(self.base_url, lost) from lost
            checked(lost)
        self._sleep(seconds or 0)


def _told_as_one(
    on_progress: Callable[[GallerySegmentation], None] | None, ended: Sequence[Job], to_come: int
) -> Callable[[Job], None] | None:
    if on_progress is None:
        return None
    return lambda job: on_progress(as_one(ended, job, to_come))
