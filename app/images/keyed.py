"""An upload with an Idempotency-Key: its second request stores nothing and is answered with the first one's results."""

from __future__ import annotations

from app import idempotency
from app.db import once
from app.deps import Wiring
from app.images.multipart import ReceivedFile
from app.images.schemas import UploadReport

_ROUTE = "images"


class KeyedUpload:
    """One upload request and its key, if it has one.

    The body is known only at its end: it counts as the same when its files have the same names and bytes in the same
    order. While the key is new, files are stored as they arrive; of two requests at the same moment both store (the
    same bytes make one photo), and both are answered with the results of the first that ended.
    """

    def __init__(self, wiring: Wiring, user_id: str, key: str | None) -> None:
        self._wiring, self._user_id, self._key = wiring, user_id, key
        self._body = idempotency.BodySum()
        with wiring.database.read() as session:
            self._is_repeated = idempotency.is_known(session, wiring.settings, user_id, _ROUTE, key)

    def is_new(self, received: ReceivedFile) -> bool:
        """Whether this file is to be stored; of a repeated request its bytes are gone afterwards."""
        self._body.add(received.filename, received.sha256, str(received.byte_size))
        if self._is_repeated:
            received.discard()
        return not self._is_repeated

    def earlier_report(self) -> UploadReport | None:
        """What the first request was answered; None for a first one. Raises IdempotencyConflict."""
        with self._wiring.database.read() as session:
            earlier = idempotency.recall(session, self._wiring.settings, self._slot())
        return None if earlier is None else UploadReport.model_validate(earlier)

    def remembered(self, report: UploadReport) -> UploadReport:
        """Keep the answer for the next request with this key; raises IdempotencyConflict when another was faster."""
        return report if self._key is None else once(lambda: self._remember(report))

    def _remember(self, report: UploadReport) -> UploadReport:
        with self._wiring.database.write() as session:
            slot = self._slot()
            earlier = idempotency.recall(session, self._wiring.settings, slot)
            if earlier is not None:
                return UploadReport.model_validate(earlier)
            idempotency.remember(session, self._wiring.settings, slot, report.model_dump(mode="json"), user_id=self._user_id)
        return report

    def _slot(self) -> idempotency.Slot | None:
        return None if self._key is None else idempotency.Slot(self._user_id, _ROUTE, self._key, self._body.sha256())
