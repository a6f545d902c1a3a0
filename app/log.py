"""Structured logs: text for people, or one JSON object per line."""

from __future__ import annotations

import logging
import sys

import structlog

from app.trace_context import add_trace_ids


def configure_logging(level: str = "INFO", *, as_json: bool = False) -> None:
    """Set up structlog for this process; call it once, at the start. Writes to standard error."""
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_trace_ids,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # Asked for anew each time: a test, or a program around us, may put another stream in its place.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
