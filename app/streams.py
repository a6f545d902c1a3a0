"""Long requests that are under way, event streams, exports and uploads: how many one user has at this process, and how many they may."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.errors import TooManyRequests

_COME_BACK_SECONDS = 5


def too_many_streams(most: int) -> TooManyRequests:
    """The answer to one more event stream."""
    detail = f"This user follows {most} jobs already, which is the limit. Poll the job instead, or end another stream."
    return TooManyRequests("too_many_streams", detail, retry_after_seconds=_COME_BACK_SECONDS)


def too_many_exports(most: int) -> TooManyRequests:
    """The answer to one more export."""
    detail = f"{most} exports of this user are under way already, which is the limit. Wait until one of them has ended."
    return TooManyRequests("too_many_exports", detail, retry_after_seconds=_COME_BACK_SECONDS)


def too_many_uploads(most: int) -> TooManyRequests:
    """The answer to one more upload."""
    detail = f"{most} uploads of this user are under way already, which is the limit. Send the next one when one of them has ended."
    return TooManyRequests("too_many_uploads", detail, retry_after_seconds=_COME_BACK_SECONDS)


class OpenStreams:
    """How many streams of one kind each user holds open at this process. For its event loop: no lock."""

    def __init__(self, most: int, refusal: Callable[[int], TooManyRequests]) -> None:
        self._most, self._refusal = most, refusal
        self._open: Counter[str] = Counter()

    def require_room(self, user_id: str) -> None:
        """Raises TooManyRequests. Requests that are counted only later may go past the limit by their number."""
        if self._open[user_id] >= self._most:
            raise self._refusal(self._most)

    @contextmanager
    def counted(self, user_id: str) -> Iterator[None]:
        """One more within the block."""
        self._open[user_id] += 1
        try:
            yield
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]

    @contextmanager
    def admitted(self, user_id: str) -> Iterator[None]:
        """One more within the block; raises TooManyRequests where there is no room."""
        self.require_room(user_id)
        with self.counted(user_id):
            yield


class CountedStream(StreamingResponse):
    """Counts as open from its first byte until it has ended, however it ends."""

    def __init__(self, events: AsyncIterator[str], streams: OpenStreams, user_id: str) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._counted = streams.counted(user_id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; the place is free again when this returns or raises."""
        with self._counted:
            await super().__call__(scope, receive, send)
