"""The user's photos: send, list, fetch, delete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from app.client._sync.connection import Connection, key_header
from app.client.answers import body, entry_results, of_zip, parse, upload_results
from app.client.documents import Image, UploadResult
from app.client.errors import TooLarge
from app.client.files import BATCH_BYTES, BATCH_FILES, batches, folder_of, is_readable, is_zip, photo_paths, sent_name, unreadable

ZIP_ANSWER_SECONDS = 3600.0
_CHUNK_BYTES = 1024 * 1024


class Photos(Connection):
    """Calls on the gallery."""

    def upload(
        self,
        photos: str | Path | Iterable[Path | str],
        *,
        on_result: Callable[[UploadResult], None] | None = None,
        batch_files: int = BATCH_FILES,
        batch_bytes: int = BATCH_BYTES,
        root: str | Path | None = None,
    ) -> list[UploadResult]:
        """Send photos: a folder (all in it, nested), a file, or an iterable of files; one result per file (of a zip: per entry), in order.

        The iterable is read lazily and files are streamed from disk. A file that cannot be read or that the server
        rejects spoils no other. Sending again is harmless: the server knows a photo by its bytes and answers
        `duplicate`, therefore a lost connection is simply retried. A zip is told by its content, as the server tells it.

        A photo's name is its path below `root`, by default below the folder that is sent: two albums may each have an
        `IMG_1.jpg`. Files of an iterable, without a `root`, keep their names alone. Links to photos are followed, links to folders are not.

        Raises:
            ClientError: a whole request was refused (no such user, quota) or got no answer.
        """
        results: list[UploadResult] = []
        top = folder_of(photos) if root is None else Path(root)
        for batch in batches(photo_paths(photos), batch_files, batch_bytes):
            for result in self._upload_batch(batch, top):
                results.append(result)
                if on_result is not None:
                    on_result(result)
        return results

    def upload_zip(self, path: str | Path) -> list[UploadResult]:
        """Send a zip of photos as it is; one result per entry, whose `path` is its name in the zip.

        The answer comes when every entry is stored; it is waited for as long as an hour.
        """
        headers = {"Content-Type": "application/zip"} | key_header()
        patient = httpx.Timeout(self._timeout_seconds, read=max(self._timeout_seconds, ZIP_ANSWER_SECONDS))

        def attempt() -> httpx.Response:
            return self._http.post(self._path("images"), content=_chunks(Path(path)), headers=headers, timeout=patient)

        return entry_results(body(self._attempts(attempt)))

    def images(self) -> list[Image]:
        """The whole gallery, page by page."""
        return list(self.iter_images())

    def iter_images(self) -> Iterator[Image]:
        """The gallery in the order of arrival, a page fetched when it is needed."""
        for entry in self._pages(self._path("images")):
            yield parse(Image, entry)

    def image(self, image_id: str) -> Image:
        """One photo's facts."""
        return parse(Image, self._json("GET", self._path("images/{}", image_id)))

    def content(self, image_id: str) -> bytes:
        """The photo as it was uploaded."""
        return (self._send("GET", self._path("images/{}/content", image_id))).content

    def thumbnail(self, image_id: str, *, size: int = 256) -> bytes:
        """A small upright JPEG whose longer side has `size` pixels at most."""
        return (self._send("GET", self._path("images/{}/thumbnail", image_id), params={"size": size})).content

    def delete_image(self, image_id: str) -> None:
        """Remove a photo and its masks."""
        self._send("DELETE", self._path("images/{}", image_id))

    # Below: one batch

    def _upload_batch(self, batch: Sequence[Path], root: Path | None) -> list[UploadResult]:
        """Send a batch; its files one by one where the whole request is too large (only the culprit is rejected), or holds a zip."""
        readable = [path for path in batch if is_readable(path)]
        try:
            sent = self._sent(readable, root)
        except TooLarge as error:
            if error.status != httpx.codes.REQUEST_ENTITY_TOO_LARGE:
                raise
            alone = [UploadResult(path, "rejected", code=error.code, reason=error.detail) for path in readable]
            sent = {alone[0].path: alone} if len(alone) == 1 else None
        if sent is None:
            sent = {path: self._upload_batch([path], root) for path in readable}
        return [result for path in batch for result in sent.get(path) or [unreadable(path)]]

    def _sent(self, paths: Sequence[Path], root: Path | None) -> dict[Path, list[UploadResult]] | None:
        """The results of each file; None where they cannot be told apart. Raises ClientError."""
        if len(paths) == 1 and is_zip(paths[0]):
            return {paths[0]: of_zip(paths[0], self.upload_zip(paths[0]))}
        return upload_results(paths, self._post_files(paths, root)) if paths else {}

    def _post_files(self, paths: Sequence[Path], root: Path | None) -> Any:
        headers = key_header()

        def attempt() -> httpx.Response:
            with ExitStack() as opened:  # opened anew for every attempt: a failed one has read them to some point
                files = [("files", (sent_name(path, root), opened.enter_context(path.open("rb")))) for path in paths]
                return self._http.post(self._path("images"), files=files, headers=headers)

        return body(self._attempts(attempt))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
