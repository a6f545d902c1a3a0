"""An upload's answer as its Idempotency-Key remembers it: small, whatever the request was made of.

The request that comes again brings its files' names with it, and most files have fared alike: kept are the different
outcomes and, of each file, which of them it had. Only names out of archives, which a repeated request does not open, are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.images.schemas import UploadReport, UploadResult

Places = Sequence[int | None]
"""For each result, which of the request's files it is of (0 = the first); None: of one in an archive."""


def packed(report: UploadReport, places: Places) -> dict[str, Any]:
    """The report, as JSON."""
    outcomes: dict[tuple[str | None, ...], int] = {}
    files = []
    for result, place in zip(report.results, places, strict=True):
        outcome = result.status, result.image_id, result.code, result.reason
        files.append([outcomes.setdefault(outcome, len(outcomes)), result.filename if place is None else place])
    return {"outcomes": [list(outcome) for outcome in outcomes], "files": files}


def unpacked(kept: dict[str, Any], names: Mapping[int, str]) -> UploadReport:
    """The report that was `packed`; `names` of the request's files, by their place."""
    if "results" in kept:
        return UploadReport.model_validate(kept)  # as the version before kept it
    results = []
    for outcome, name in kept["files"]:
        status, image_id, code, reason = kept["outcomes"][outcome]
        filename = names[name] if isinstance(name, int) else name
        results.append(UploadResult(filename=filename, status=status, image_id=image_id, code=code, reason=reason))
    return UploadReport.of(results)


def names_of(report: UploadReport, places: Places) -> dict[int, str]:
    """The names of the request's files, by their place, where the report tells them."""
    return {place: result.filename for result, place in zip(report.results, places, strict=True) if place is not None}
