"""Errors as RFC 9457 `application/problem+json`: the handlers, and their place in the OpenAPI document."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.db import DATABASE_AWAY
from app.edge.told import route_of
from app.errors import AppError, StorageUnavailable, is_disk_full

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_SECONDS = 2
_CODE_OF_STATUS = {404: "route_not_found", 405: "method_not_allowed", 413: "body_too_large"}

log = structlog.get_logger(__name__)


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    location: str = Field(examples=["body.budget_seconds"])
    message: str
    type: str


class Problem(BaseModel):
    """RFC 9457. `code` is stable: programs decide by it."""

    model_config = ConfigDict(extra="allow")
    type: str = Field(examples=["urn:personalseg:problem:gallery_empty"])
    title: str
    status: int
    detail: str
    code: str = Field(examples=["gallery_empty"])
    errors: list[FieldProblem] | None = None


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route for these statuses."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "model": Problem,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install_handlers(app: FastAPI) -> None:
    """Make every error leave as a problem document."""
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    for kind in DATABASE_AWAY:
        app.add_exception_handler(kind, _database_away)
    app.add_exception_handler(StorageUnavailable, _storage_away)
    app.add_exception_handler(OSError, _os_error)
    app.add_exception_handler(ClientDisconnect, _hung_up)
    app.add_exception_handler(Exception, unexpected)


def problem(status: int, code: str, title: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> JSONResponse:
    """One problem document as a response."""
    document = {
        "type": f"urn:personalseg:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        **extra,
    }
    return JSONResponse(document, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def _app_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AppError)
    return problem(error.status, error.code, error.title, error.detail, headers=error.headers, **error.extra)


def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes) and error.body:  # FastAPI reads a body as JSON where the header says so, and only there
        given = request.headers.get("content-type", "no Content-Type")
        detail = f"The body is to be JSON, with the header `Content-Type: application/json`; it came with {given}."
        return problem(415, "not_json", "Unsupported media type", detail)
    errors = [
        {
            "location": ".".join(str(part) for part in entry["loc"]),
            "message": _message(entry),
            "type": str(entry["type"]),
        }
        for entry in error.errors()
    ]
    malformed_id = any(entry["loc"][0] == "path" for entry in error.errors())
    code = "malformed_id" if malformed_id else "validation_failed"
    detail = "; ".join(f"{entry['location']}: {entry['message']}" for entry in errors[:5])
    return problem(422, code, "Unprocessable", detail, errors=errors)


def _unreadable_json(cause: Exception) -> JSONResponse:
    """FastAPI knows `JSONDecodeError` alone: here are bytes that are not UTF-8, numbers of thousands of digits, endless nesting."""
    reason = "it is not UTF-8" if isinstance(cause, UnicodeDecodeError) else "it is nested too deeply, or a number is too long"
    message = f"JSON decode error: {reason}"
    errors = [{"location": "body", "message": message, "type": "json_invalid"}]
    return problem(422, "validation_failed", "Unprocessable", f"body: {message}", errors=errors)


def _message(entry: dict[str, Any]) -> str:
    if entry["type"] == "json_invalid":
        return f"JSON decode error: {entry.get('ctx', {}).get('error', '')} at character {entry['loc'][-1]}"
    return str(entry["msg"])


def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, ClientDisconnect):
        return _hung_up(request, error)
    if error.status_code == HTTPStatus.BAD_REQUEST and isinstance(error.__cause__, (ValueError, RecursionError)):
        return _unreadable_json(error.__cause__)
    phrase = HTTPStatus(error.status_code).phrase
    code = _CODE_OF_STATUS.get(error.status_code, phrase.lower().replace(" ", "_"))
    headers = dict(error.headers) if error.headers else None
    return problem(error.status_code, code, phrase, str(error.detail), headers=headers)


def _database_away(request: Request, error: Exception) -> JSONResponse:
    log.error("request.database_away", method=request.method, route=route_of(request.scope), exc_info=error)
    detail = "The database does not answer. Nothing was changed; try again in a moment."
    headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
    return problem(503, "database_unavailable", "Not available", detail, headers=headers)


def _storage_away(request: Request, error: Exception) -> JSONResponse:
    log.error("request.storage_away", method=request.method, route=route_of(request.scope), exc_info=error)
    detail = "The blob store does not answer. What was answered as stored before is kept; try again in a moment."
    headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)}
    return problem(503, "storage_unavailable", "Not available", detail, headers=headers)


def _os_error(request: Request, error: Exception) -> JSONResponse:
    if is_disk_full(error):
        log.error("request.storage_full", method=request.method, route=route_of(request.scope), exc_info=error)
        detail = "The service has no room left. What was answered as stored before is kept."
        return problem(507, "storage_full", "Insufficient storage", detail)
    return unexpected(request, error)


def _hung_up(_request: Request, _error: Exception) -> JSONResponse:
    # Nobody is there to read this; it keeps a caller's broken line out of the log of our errors.
    return problem(400, "client_disconnected", "Bad request", "The caller hung up before the request was complete.")


def unexpected(request: Request, error: Exception) -> JSONResponse:
    """The answer to an error that nobody meant to give; its traceback goes to the log."""
    log.error("request.failed", method=request.method, route=route_of(request.scope), exc_info=error)
    detail = "Something went wrong on our side; it has been logged. Trying again later may help."
    return problem(500, "internal_error", "Internal error", detail)
