"""One upload request: files and archives in, one result per photo out, in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import anyio.to_thread

from app.decoding.errors import PhotoRejected
from app.deps import Wiring
from app.errors import PayloadTooLarge, QuotaExceeded, Unprocessable
from app.images import service
from app.images.archives import ArchiveBounds, RefusedEntry, unpacked
from app.images.keyed import KeyedUpload
from app.images.multipart import BodyBounds, ReceivedFile
from app.images.schemas import UploadReport, UploadResult
from app.settings import Settings

Entries = Iterator[ReceivedFile | RefusedEntry]


def body_bounds(settings: Settings) -> BodyBounds:
    """How much an upload request may bring."""
    return BodyBounds(settings.max_upload_file_bytes, settings.max_archive_bytes, settings.max_upload_bytes)


class UploadBatch:
    """Stores what it is given and remembers what became of it."""

    def __init__(self, wiring: Wiring, user_id: str, upload: KeyedUpload) -> None:
        self._wiring = wiring
        self._user_id = user_id
        self._upload = upload
        self._results: list[UploadResult] = []
        self._files = 0
        self.places: list[int | None] = []
        """For each result, which of the request's files it is of; None: of one in an archive."""

    async def add(self, received: ReceivedFile) -> None:
        """Store a photo, or the photos of an archive; the received file is gone afterwards."""
        try:
            if received.is_archive:
                await self._add_archive(received)
            else:
                self._append(await self._stored(received), self._files)
        finally:
            received.discard()
            self._files += 1

    def report(self) -> UploadReport:
        """The answer; raises Unprocessable when there was no file, QuotaExceeded when that alone kept every photo out."""
        if not self._results:
            raise Unprocessable("no_files", "The request holds no files. Send them in multipart fields named `files`.")
        if all(entry.code == "quota_exceeded" for entry in self._results):
            raise QuotaExceeded("photos", self._results[0].reason or "")
        return UploadReport.of(self._results)

    async def _stored(self, received: ReceivedFile) -> UploadResult:
        limit = self._wiring.settings.max_batch_files
        if len(self._results) >= limit:
            received.discard()
            return service.rejected(received.filename, "too_many_files", f"A request takes at most {limit} files.")
        slot = self._upload.photo_slot(received.sha256)
        try:
            return await self._wiring.decoding.run(self._user_id, service.store, self._wiring, self._user_id, received, slot)
        finally:
            received.discard()  # also where its turn did not come

    def _append(self, result: UploadResult, place: int | None) -> None:
        limit = self._wiring.settings.max_batch_files
        if len(self._results) >= 2 * limit:
            # Nobody reads so many refusals, and each of them takes memory.
            raise PayloadTooLarge("too_many_files", f"A request takes at most {limit} files. What came before is stored.")
        self._results.append(result)
        self.places.append(place)

    async def _add_archive(self, received: ReceivedFile) -> None:
        settings = self._wiring.settings
        if received.is_too_large:
            reason = f"The archive has {received.byte_size} bytes; at most {settings.max_archive_bytes} are taken."
            self._append(service.rejected(received.filename, "file_too_large", reason), self._files)
            return
        bounds = ArchiveBounds(settings.max_batch_files, settings.max_upload_file_bytes, settings.max_archive_bytes)
        count = len(self._results)
        try:
            with closing(unpacked(received.file, bounds)) as entries:
                await self._add_entries(entries)
        except PhotoRejected as rejection:
            self._append(service.rejected(received.filename, rejection.code, rejection.reason), self._files)
        if len(self._results) == count:
            self._append(service.rejected(received.filename, "empty_archive", "The archive holds no files."), self._files)

    async def _add_entries(self, entries: Entries) -> None:
        following = partial(next, entries, None)
        while (entry := await anyio.to_thread.run_sync(following)) is not None:
            if isinstance(entry, RefusedEntry):
                self._append(service.rejected(entry.filename, entry.rejection.code, entry.rejection.reason), None)
            else:
                self._append(await self._stored(entry), None)
