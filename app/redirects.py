"""Blobs that the bucket serves itself: the API says who may, the bytes go past it."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from app.deps import Wiring


def redirect_to_blob(request: Request, wiring: Wiring, key: str, media_type: str, disposition: str = "inline") -> Response | None:
    """A redirect to where the caller, who must have been authorised, fetches this blob; None: it goes through the API.

    None as well for a blob that is missing: the route has its own words for that.
    """
    seconds = wiring.settings.storage_redirect_seconds
    # An address is signed for GET: another method is refused there.
    if not seconds or request.method != "GET" or _wants_no_redirect(request) or not wiring.storage.exists(key):
        return None
    url = wiring.storage.signed_url(key, seconds, media_type, disposition)
    # Whoever holds the address can fetch the blob: nobody is to keep it.
    return None if url is None else RedirectResponse(url, 307, headers={"Cache-Control": "no-store"})


def _wants_no_redirect(request: Request) -> bool:
    """Our own page may load nothing from elsewhere: its Content-Security-Policy says so.

    Browsers say where a request comes from only to services that they trust: over HTTPS, or on this machine.
    """
    return "x-no-redirect" in request.headers or request.headers.get("sec-fetch-site") == "same-origin"
