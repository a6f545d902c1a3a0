"""`/` and `/page/…`: the page's files, with ETags, under a policy that allows nothing inline and nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.edge.security_headers import PAGE_POLICY

STATIC = Path(__file__).parent / "static"
# What every answer carries beside these is of `app.edge.security_headers`.
_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    # Asked about again each time, so that page and API are of one version.
    "Cache-Control": "no-cache",
}


class _PageFiles(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or 304 when the caller has it already."""
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def install_page(app: FastAPI) -> None:
    """Serve the page and its parts."""
    files = _PageFiles(directory=STATIC)

    async def page(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    app.add_api_route("/", page, methods=["GET", "HEAD"], include_in_schema=False, response_class=FileResponse)
    app.mount("/page", files, name="page")
