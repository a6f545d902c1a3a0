"""Places for work that few may do at the same moment, given to users in turn: who asks for much waits for their own."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from app.errors import TooManyRequests

_COME_BACK_SECONDS = 5

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class FairPlaces:
    """`places` threads at this process. Where more is asked for, each free place goes to the next user who waits, first come first served
    among their own; a user has at most `most_waiting` waiting. For its event loop: no lock.
    """

    def __init__(self, places: int, most_waiting: int) -> None:
        self._free, self._most_waiting = places, most_waiting
        self._threads = anyio.CapacityLimiter(places)
        # Whose turn is next is first; nobody waits while a place is free.
        self._waiting: dict[str, deque[anyio.Event]] = {}

    async def run(self, user_id: str, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """What the function returns, called in a thread when it is the user's turn; raises TooManyRequests, and whatever it raises."""
        async with self._place(user_id):
            return await anyio.to_thread.run_sync(function, *arguments, limiter=self._threads)

    @asynccontextmanager
    async def _place(self, user_id: str) -> AsyncIterator[None]:
        await self._take(user_id)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, user_id: str) -> None:
        if self._free:
            self._free -= 1
            return
        turn = self._queued(user_id)
        try:
            await turn.wait()
        except BaseException:  # the caller hung up
            if turn.is_set():
                self._give_back()
            else:
                self._leave(user_id, turn)
            raise

    def _queued(self, user_id: str) -> anyio.Event:
        if len(self._waiting.get(user_id, ())) >= self._most_waiting:
            detail = f"{self._most_waiting} photos or masks of this user wait to be decoded already. Ask for fewer at the same time."
            raise TooManyRequests("too_many_waiting", detail, retry_after_seconds=_COME_BACK_SECONDS)
        turn = anyio.Event()
        self._waiting.setdefault(user_id, deque()).append(turn)
        return turn

    def _leave(self, user_id: str, turn: anyio.Event) -> None:
        self._waiting[user_id].remove(turn)
        if not self._waiting[user_id]:
            del self._waiting[user_id]

    def _give_back(self) -> None:
        if not self._waiting:
            self._free += 1
            return
        user_id = next(iter(self._waiting))
        queue = self._waiting.pop(user_id)
        queue.popleft().set()
        if queue:
            self._waiting[user_id] = queue  # behind all others
