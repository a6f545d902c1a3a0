"""Conditional GET: an answer's ETag, and whether the caller has that very answer already."""

from __future__ import annotations

from fastapi import Request, Response


def etag_of(*parts: object) -> str:
    """A strong ETag made of what decides the bytes."""
    return '"' + "-".join(str(part) for part in parts) + '"'


def cache_headers(etag: str) -> dict[str, str]:
    """Headers of a private answer that the caller may keep and must ask about again."""
    return {
        "ETag": etag,
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Authorization",
    }


def not_modified(request: Request, etag: str) -> Response | None:
    """A 304 when `If-None-Match` names this ETag; None otherwise."""
    held = ",".join(request.headers.getlist("if-none-match"))
    candidates = {candidate.strip().removeprefix("W/") for candidate in held.split(",")}
    if etag in candidates or "*" in candidates:
        return Response(status_code=304, headers=cache_headers(etag))
    return None
