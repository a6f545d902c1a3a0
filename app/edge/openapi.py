"""Completes the OpenAPI document with the answers that the layers around every route can give."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.problems import problem_responses

_WRITING_METHODS = ("post", "put", "patch", "delete")
_METHODS = ("get", "head", *_WRITING_METHODS)
_WHY = {
    400: "The request cannot be read",
    403: "The token is of a kind that may not do this",
    413: "The body is too large",
    415: "The body is of a kind that is not taken here",
    429: "Too many wrong tokens, or asked too often; see Retry-After",
    503: "Something the service stands on does not answer; see Retry-After",
    507: "No room left",
}
_HEADERS = {
    "Location": "Where it is read",
    "Retry-After": "Seconds after which to ask again; not there once it is done",
    "ETag": "For `If-None-Match`",
    "X-Photos-Left-Out": "How many photos have no mask by this model yet",
    "X-Model-Version": "The personal model that made the mask; 0 is the base",
    "X-Image-Id": "The photo in the gallery",
    "Content-Location": "The mask's own address",
}
_OF_USER = "/v1/users/{user_id}"
_HEADERS_OF: dict[tuple[str, str, str], tuple[str, ...]] = {
    **{
        (method, f"{_OF_USER}/{kind}{rest}", status): ("Location", "Retry-After")
        for kind in ("adaptations", "segmentations")
        for method, rest, status in (
            ("post", "", "200"),
            ("post", "", "202"),
            ("get", "/{job_id}", "200"),
            ("post", "/{job_id}/cancel", "202"),
        )
    },
    ("delete", _OF_USER, "202"): ("Location", "Retry-After"),
    ("get", "/v1/erasures/{erasure_id}", "200"): ("Retry-After",),
    ("get", f"{_OF_USER}/images/{{image_id}}/content", "200"): ("ETag",),
    ("get", f"{_OF_USER}/images/{{image_id}}/thumbnail", "200"): ("ETag",),
    ("get", f"{_OF_USER}/images/{{image_id}}/mask", "200"): ("ETag", "X-Model-Version"),
    ("get", f"{_OF_USER}/export", "200"): ("X-Photos-Left-Out",),
    ("post", f"{_OF_USER}/segment", "200"): ("X-Model-Version", "X-Image-Id", "Content-Location"),
}
"""(method, path, status) → what the answer carries besides its body."""


def install_openapi(app: FastAPI) -> None:
    """Let the application describe itself with these additions."""
    describe = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = describe()
            for path, operations in document["paths"].items():
                for method in _METHODS:
                    if method in operations:
                        _complete(path, method, operations[method])
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    if not path.startswith("/v1/"):
        return
    statuses = [429, 503]
    if method in _WRITING_METHODS:
        statuses += [403, 507]
    if "requestBody" in operation:
        statuses += [400, 413, 415]
    for status in statuses:
        for number, described in problem_responses(status).items():
            answer = {key: value for key, value in described.items() if key != "model"}
            operation["responses"].setdefault(str(number), answer | {"description": _WHY[status]})
    for status, answer in operation["responses"].items():
        names = ("Retry-After",) if status in ("429", "503") else _HEADERS_OF.get((method, path, status), ())
        if names:
            answer["headers"] = {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in names}
