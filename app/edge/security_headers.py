"""Headers that tell browsers what an answer may do: nothing, except that our own pages may load our own files."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
# Also where somebody opens a photo or a problem document in a tab of its own.
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_USER_CONTENT = "/v1/"


class SecurityHeaders:
    """Adds what an answer does not say itself; what is under `/v1/` is kept by nobody unless its route allows it."""

    def __init__(self, app: ASGIApp, *, hsts_seconds: int = 0) -> None:
        self._app = app
        self._always = dict(_ALWAYS)
        if hsts_seconds:
            self._always["Strict-Transport-Security"] = f"max-age={hsts_seconds}; includeSubDomains"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._complete(MutableHeaders(scope=message), scope["path"])
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _complete(self, headers: MutableHeaders, path: str) -> None:
        for name, value in self._always.items():
            headers.setdefault(name, value)
        is_page = headers.get("content-type", "").startswith("text/html")
        headers.setdefault("Content-Security-Policy", PAGE_POLICY if is_page else DATA_POLICY)
        if path.startswith(_USER_CONTENT):
            headers.setdefault("Cache-Control", "no-store")
            headers.add_vary_header("Authorization")
