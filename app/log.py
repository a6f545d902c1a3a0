"""Structured logs: text for people, or one JSON object per line. What libraries log comes out in the same form."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from app.trace_context import add_trace_ids

# uvicorn gives these handlers of their own, which write text, before it asks for the application.
_OF_THE_SERVER = ("uvicorn", "uvicorn.error", "uvicorn.access")


class _Lines(logging.StreamHandler[TextIO]):
    """Writes to standard error, asked for anew each time: a test, or a program around us, may put another stream in its place."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def configure_logging(level: str = "INFO", *, as_json: bool = False) -> None:
    """Set up structlog, and what libraries log from WARNING on, for this process; call it at the start. Writes to standard error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    told: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_trace_ids,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*told, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    lines = _Lines()
    lines.setLevel(number)
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *told],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.format_exc_info, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [*(handler for handler in root.handlers if not isinstance(handler, _Lines)), lines]
    for name in _OF_THE_SERVER:
        server = logging.getLogger(name)
        if server.handlers:
            server.handlers, server.propagate = [], True
