"""A job's documents as server-sent events."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

import anyio
import anyio.to_thread
from fastapi import Request, Response
from sqlalchemy import select

from app.db import Database
from app.deps import Wiring
from app.errors import NotFound
from app.job_documents import JobDocument
from app.settings import Settings
from app.streams import CountedStream
from app.tables import Job

_REBUILT_AFTER_SECONDS = 2.0


class _Followed:
    """A job that is looked at again and again.

    Its document is built anew when its revision has moved, and now and then for what moves without one: the place in the
    queue, photos that were deleted.
    """

    def __init__(self, database: Database, user_id: str, read: Callable[[], JobDocument]) -> None:
        self._database, self._user_id, self._read = database, user_id, read
        self._document: JobDocument | None = None
        self._built_at = 0.0

    def look(self) -> JobDocument:
        """The job as it stands; raises NotFound."""
        document, now = self._document, time.monotonic()
        if document is None or now - self._built_at >= _REBUILT_AFTER_SECONDS or self._has_moved(document):
            document = self._document = self._read()
            self._built_at = now
        return document

    def _has_moved(self, document: JobDocument) -> bool:
        statement = select(Job.revision, Job.status).where(Job.user_id == self._user_id, Job.id == document.id)
        with self._database.read() as session:
            return session.execute(statement).one_or_none() != (document.revision, document.status)


async def event_stream(
    request: Request, wiring: Wiring, user_id: str, read: Callable[[], JobDocument], last_event_id: str | None
) -> Response:
    """The job's documents as server-sent events, each sent when something has changed; ends with the job.

    Who has seen the end already gets 204, which tells a browser to stop connecting again. Raises NotFound, TooManyRequests.
    """
    look = _Followed(wiring.database, user_id, read).look
    document = await anyio.to_thread.run_sync(look)
    seen = last_event_id == str(document.revision)
    if seen and document.has_ended:
        return Response(status_code=204)
    wiring.streams.require_room(user_id)
    return CountedStream(_events(request, wiring.settings, look, document, already_seen=seen), wiring.streams, user_id)


async def _events(
    request: Request,
    settings: Settings,
    look: Callable[[], JobDocument],
    document: JobDocument,
    *,
    already_seen: bool,
) -> AsyncIterator[str]:
    sent = document if already_seen else None
    last_word = time.monotonic()
    while not await request.is_disconnected():
        if document != sent:
            yield _event(document)
            sent, last_word = document, time.monotonic()
        if document.has_ended:
            return
        if time.monotonic() - last_word >= settings.events_heartbeat_seconds:
            yield ": still here\n\n"
            last_word = time.monotonic()
        await anyio.sleep(settings.events_interval_seconds)
        try:
            document = await anyio.to_thread.run_sync(look)
        except NotFound:  # the user was erased
            return


def _event(document: JobDocument) -> str:
    return f"id: {document.revision}\nevent: job\ndata: {document.model_dump_json()}\n\n"
