"""What may be said of a request in a log: its route and the ids in its path. No name, no query, no token, no free text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

_NO_ROUTE = "none"


def route_of(scope: Mapping[str, Any]) -> str:
    """The pattern of the route that serves this request, such as `/v1/users/{user_id}`."""
    route = scope.get("route")
    return str(getattr(route, "path_format", None) or getattr(route, "path", None) or _NO_ROUTE)


def ids_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """The path's parameters that are ids or numbers; anything else a caller may have written is left out."""
    parameters = scope.get("path_params") or {}
    return {name: str(value) for name, value in parameters.items() if _is_id(str(value))}


def _is_id(text: str) -> bool:
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return True
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
