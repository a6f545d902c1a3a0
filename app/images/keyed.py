"""An upload with an Idempotency-Key: its second request stores nothing and is answered with the first one's results.

A row of the key's remembers each photo that it stored, from the transaction that stored it. So a request that comes while
the first is under way, or after it was cut off in the middle, answers `stored` for what the first has stored.
"""

from __future__ import annotations

from app import idempotency
from app.db import once
from app.deps import Wiring
from app.images.multipart import ReceivedFile
from app.images.remembered import Places, names_of, packed, unpacked
from app.images.schemas import UploadReport

_ROUTE, _PHOTO_ROUTE = "images", "images_photo"
_PASSING = {"quota_exceeded", "decoding_timeout", "decoding_crashed"}
"""Why a photo was rejected that may be taken the next time: such an answer is not remembered."""


class KeyedUpload:
    """One upload request and its key, if it has one.

    The body is known only at its end: it counts as the same when its files have the same names and bytes in the same
    order. While the key is new, files are stored as they arrive; of two requests at the same moment both store (the
    same bytes make one photo).
    """

    def __init__(self, wiring: Wiring, user_id: str, key: str | None) -> None:
        self._wiring, self._user_id, self._key = wiring, user_id, key
        self._body = idempotency.BodySum()
        self._seen: set[str] = set()
        self._names: dict[int, str] = {}
        with wiring.database.read() as session:
            self._is_repeated = idempotency.is_known(session, wiring.settings, user_id, _ROUTE, key)

    def is_new(self, received: ReceivedFile) -> bool:
        """Whether this file is to be stored; of a repeated request its bytes are gone afterwards."""
        self._body.add(received.filename, received.sha256, str(received.byte_size))
        if self._is_repeated:
            received.discard()
            if len(self._names) < 2 * self._wiring.settings.max_batch_files:  # no request with more was answered
                self._names[len(self._names)] = received.filename
        return not self._is_repeated

    def photo_slot(self, sha256: str) -> idempotency.Slot | None:
        """Where it is remembered that this key stored the photo; None without a key, and for bytes that this request has had already."""
        if self._key is None or sha256 in self._seen:
            return None
        self._seen.add(sha256)
        name = idempotency.BodySum()
        name.add(self._key, sha256)
        return idempotency.Slot(self._user_id, _PHOTO_ROUTE, name.sha256(), sha256)

    def earlier_report(self) -> UploadReport | None:
        """What the first request was answered, where this one is known to be repeated; None for a new one. Raises IdempotencyConflict."""
        if not self._is_repeated:
            return None
        with self._wiring.database.read() as session:
            earlier = idempotency.recall(session, self._wiring.settings, self._slot())
        return None if earlier is None else unpacked(earlier, self._names)

    def remembered(self, report: UploadReport, places: Places) -> UploadReport:
        """Keep the answer for the next request with this key; what another was answered that was faster. Raises IdempotencyConflict."""
        return report if self._key is None else once(lambda: self._remember(report, places))

    def _remember(self, report: UploadReport, places: Places) -> UploadReport:
        with self._wiring.database.write() as session:
            slot = self._slot()
            earlier = idempotency.recall(session, self._wiring.settings, slot)
            if earlier is not None:
                return unpacked(earlier, names_of(report, places))
            if not any(entry.code in _PASSING for entry in report.results):
                idempotency.remember(session, self._wiring.settings, slot, packed(report, places), user_id=self._user_id)
        return report

    def _slot(self) -> idempotency.Slot | None:
        return None if self._key is None else idempotency.Slot(self._user_id, _ROUTE, self._key, self._body.sha256())
