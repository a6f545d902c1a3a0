"""What every kind of blob store can do. Paths are the store's own: its root and a key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import IO, Protocol


class Blobs(Protocol):
    """One kind of store. A blob is whole or absent for every reader, and replaced at once."""

    def put(self, path: str, source: IO[bytes]) -> None:
        """Store what this stream holds from where it stands; when it fails, what was there before stays."""
        ...

    def read(self, path: str) -> bytes:
        """The whole blob; raises FileNotFoundError."""
        ...

    def open(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """The blob as a seekable stream; raises FileNotFoundError."""
        ...

    def move(self, source: str, target: str) -> None:
        """Give a blob another path; raises FileNotFoundError. In an object store both are there for a moment."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is a blob at this path."""
        ...

    def modified(self, path: str) -> float:
        """When the blob was written, seconds since 1970; raises FileNotFoundError."""
        ...

    def delete(self, path: str) -> None:
        """Remove the blob; no error when there is none."""
        ...

    def delete_all(self, paths: list[str]) -> None:
        """Remove these blobs; no error for those that are not there."""
        ...

    def folders(self, path: str) -> Iterator[str]:
        """The names directly below, of which blobs are below."""
        ...

    def find(self, path: str) -> list[str]:
        """The paths of all blobs below."""
        ...

    def delete_below(self, path: str) -> int:
        """Remove every blob below and what was begun to be written there; returns how many blobs there were."""
        ...

    def sweep_unfinished(self, older_than_seconds: float) -> int:
        """Remove what was begun to be written longer ago than this and not finished; returns how many."""
        ...

    def signed_url(self, path: str, seconds: int, media_type: str, disposition: str) -> str | None:
        """An address from which anybody may fetch this blob for so long; None where the store cannot give one."""
        ...
