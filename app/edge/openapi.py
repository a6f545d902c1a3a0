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
    429: "Too many wrong tokens, or asked too often; see Retry-After",
    503: "Something the service stands on does not answer; see Retry-After",
    507: "No room left",
}


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
        statuses += [400, 413]
    for status in statuses:
        for number, described in problem_responses(status).items():
            answer = {key: value for key, value in described.items() if key != "model"}
            operation["responses"].setdefault(str(number), answer | {"description": _WHY[status]})
