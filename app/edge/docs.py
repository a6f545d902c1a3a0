"""`/docs`: Swagger UI from files that ship inside the package `fastapi-offline`: no CDN, nothing inline."""

from __future__ import annotations

from pathlib import Path

import fastapi_offline
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

_FILES = Path(fastapi_offline.__file__).parent / "static"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>personalseg: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/files/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/files/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""


def install_docs(app: FastAPI) -> None:
    """Serve the documentation's page, its start and its files."""

    async def page() -> Response:
        return HTMLResponse(_PAGE, headers={"Cache-Control": "no-cache"})

    async def start() -> Response:
        return Response(_START, media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    app.add_api_route("/docs", page, include_in_schema=False)
    app.add_api_route("/docs/start.js", start, include_in_schema=False)
    app.mount("/docs/files", StaticFiles(directory=_FILES), name="docs-files")
