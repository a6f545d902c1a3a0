"""Masks, models and exports."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import httpx

from app.client._sync.connection import Connection
from app.client.answers import Patience, body, checked, entries, error_of, no_answer, parse
from app.client.documents import ClassInfo, ExportFormat, JsonObject, MaskClass, MaskFormat, ModelChoice, PersonalModel
from app.client.errors import ClientError
from app.client.mask import PREVIEW_PIXELS, Mask
from app.whole_file import whole_file


class Results(Connection):
    """Calls on what the service made."""

    def mask(self, image_id: str, *, model: ModelChoice = "personal", format: MaskFormat = "png", base: str | None = None) -> bytes:
        """A PNG at the photo's own upright size: class ids as a palette, overlay, or confidence (255 = certain).

        `base`: with the model `base`, of which base model; without, the newest mask that a base has made.

        Raises:
            MaskNotReady: segment the photo first.
        """
        query: dict[str, str | int] = {"model": model, "format": format} | ({} if base is None else {"base": base})
        return (self._send("GET", self._path("images/{}/mask", image_id), params=query)).content

    def mask_document(self, image_id: str, *, model: ModelChoice = "personal", format: Literal["json", "rle"] = "json") -> JsonObject:
        """The mask in numbers: classes with area share and mean confidence, or COCO run lengths (`rle`)."""
        query: dict[str, str | int] = {"model": model, "format": format}
        document: JsonObject = self._json("GET", self._path("images/{}/mask", image_id), params=query)
        return document

    def overlay(self, image_id: str, *, model: ModelChoice = "personal") -> bytes:
        """The photo with its classes laid over it, as a PNG."""
        return self.mask(image_id, model=model, format="overlay")

    def open_mask(self, image_id: str, *, model: ModelChoice = "personal") -> Mask:
        """The mask as arrays and pictures; in a notebook it shows itself.

        Raises:
            MaskNotReady: segment the photo first.
        """
        document = self.mask_document(image_id, model=model)
        version = int(document.get("model_version") or 0)
        # All parts from the version that the document speaks of: another may come into use in between.
        pinned: ModelChoice = version or "base"
        base = str(document.get("base", ""))
        of_base = None if version else base
        return Mask(
            image_id=image_id,
            model_version=version,
            base=base,
            classes=tuple(parse(MaskClass, entry) for entry in entries(document, "classes")),
            labels_png=self.mask(image_id, model=pinned, base=of_base),
            confidence_png=self.mask(image_id, model=pinned, format="confidence", base=of_base),
            preview=(self._send("GET", self._path("images/{}/thumbnail", image_id), params={"size": PREVIEW_PIXELS})).content,
            known_classes=self._known_classes(base),
        )

    def segment_photo(self, photo: bytes | str | Path, *, model: ModelChoice = "personal", format: MaskFormat = "png") -> bytes:
        """One photo in, its mask out: the bytes, or the path of a file. It is stored in the gallery, as `upload` does; nothing is adapted.

        Raises:
            NotInTime: it takes longer than the server waits; the error's `job_url` goes on.
        """
        query: dict[str, str | int] = {"model": model, "format": format}
        content = Path(photo).read_bytes() if isinstance(photo, str | Path) else photo
        return (self._send("POST", self._path("segment"), params=query, content=content)).content

    def models(self) -> list[PersonalModel]:
        """All versions of the user's model, page by page, newest first."""
        return [parse(PersonalModel, entry) for entry in self._pages(self._path("models"))]

    def activate(self, version: int) -> PersonalModel:
        """Make a version the one in use."""
        return parse(PersonalModel, self._json("POST", self._path("models/{}/activate", version)))

    def delete_model(self, version: int) -> None:
        """Drop a version; without an active one the base is used."""
        self._send("DELETE", self._path("models/{}", version))

    def export(self, path: str | Path, *, format: ExportFormat = "coco", **query: str | int) -> Path:
        """Write the zip of all masks to a file, streamed; the file is there, in the place of an earlier one, only once it is whole.

        Asked for again as other calls are, until its first byte has come; one that breaks off later is not.

        Raises:
            OSError: the file cannot be written, e.g. where `path` is a folder.
        """
        target = Path(path)
        patience = Patience(self._retries)
        while (pause := self._exported(target, {"format": format, **query}, patience)) is not None:
            self._sleep(pause)
        return target

    # Below: one attempt, and what is asked once

    def _exported(self, target: Path, wish: dict[str, str | int], patience: Patience) -> float | None:
        """None once the file is written; or the seconds to wait before the export is asked for again. Raises ClientError, OSError."""
        pause: float | None
        begun = False
        try:
            with self._http.stream("GET", self._path("export"), params=wish) as answer:
                if answer.is_success:
                    with whole_file(target) as file:
                        for chunk in answer.iter_bytes():
                            begun = True
                            file.write(chunk)
                    return None
                answer.read()
                pause = patience.pause_after(answer)
                if pause is None:
                    raise error_of(answer)
        except httpx.TransportError as error:
            pause = None if begun else patience.pause_after(error)
            if pause is None:
                raise no_answer(self.base_url, error) from error
        return pause

    def _known_classes(self, base: str) -> tuple[str, ...]:
        """The names of all classes of a base, asked once; none where the service cannot say, which is not waited for."""
        if base not in self._class_names:
            try:
                answer = checked(self._http.get("/v1/classes", params={"base": base}))
                found = [parse(ClassInfo, entry) for entry in entries(body(answer), "items")]
            except (ClientError, httpx.TransportError):
                return ()
            self._class_names[base] = tuple(entry.name for entry in found)
        return self._class_names[base]
