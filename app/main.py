"""`create_app`: the one place that wires the API. Importing this does nothing but define."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import structlog
from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

from app import health
from app.adaptations import routes as adaptations
from app.attempts import FailedAttempts
from app.callers import routes as callers
from app.catalog import routes as catalog
from app.checks import Foundations, Probes
from app.db import open_database
from app.decoding.pool import DecoderPool
from app.deps import Wiring
from app.edge.fresh_context import FreshContext
from app.edge.install import install_edge
from app.erasures import routes as erasures
from app.exports import routes as exports
from app.fair_places import FairPlaces
from app.images import routes as images
from app.log import configure_logging
from app.masks import routes as masks
from app.observability import routes as observability
from app.observability.bound_ids import bind_ids
from app.observability.connections import Connections
from app.observability.metrics import ApiMetrics, installed_version
from app.observability.requests import RequestMetrics
from app.observability.state import ServiceState
from app.observability.traced_api import trace_api
from app.page.routes import install_page
from app.personal_models import routes as personal_models
from app.problems import install_handlers
from app.quotas import routes as quotas
from app.segmentations import routes as segmentations
from app.setting_errors import BAD_SETTING, EXIT_CANNOT_START, setting_sentence
from app.settings import Settings
from app.storage import open_storage
from app.streams import OpenStreams, too_many_exports, too_many_streams, too_many_uploads
from app.tenancy import guard
from app.tokens import routes as tokens
from app.tracing import start_tracing, stop_tracing
from app.turns import RecentLines
from app.user_settings import routes as user_settings
from app.users import routes as users
from app.webhooks import routes as webhooks

_DESCRIPTION = """Segments each user's photos with a model that has adapted itself to that user, without a label.

1. `POST /v1/users` with the service token, then `POST …/images` with a batch of photos.
2. `POST …/adaptations` and poll, or follow its events, until it ends.
3. `POST …/segmentations`, then `GET …/images/{image_id}/mask`.

Errors are `application/problem+json` with a stable `code`. Ids are UUIDv7, times are UTC.
"""

log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The API on these settings. The database must be migrated (`app.db.upgrade`)."""
    app = FastAPI(
        title="personalseg",
        version=installed_version(),
        description=_DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        dependencies=[Depends(bind_ids)],
    )
    foundations = Foundations(settings, open_database(settings), open_storage(settings))
    metrics = ApiMetrics()
    metrics.registry.register(ServiceState(foundations))
    metrics.registry.register(Connections(foundations.database))
    app.state.wiring = Wiring(
        settings=settings,
        database=foundations.database,
        storage=foundations.storage,
        decoding=FairPlaces(settings.decoding_processes, settings.max_decodings_waiting),
        decoder=DecoderPool(settings.decoding_limits(), settings.decoding_processes),
        failed_attempts=FailedAttempts(settings.redis_url, settings.auth_failures_per_minute),
        foundations=foundations,
        probes=Probes(foundations),
        metrics=metrics,
        lines=RecentLines(),
        streams=OpenStreams(settings.max_event_streams, too_many_streams),
        exports=OpenStreams(settings.max_exports_under_way, too_many_exports),
        uploads=OpenStreams(settings.max_uploads_under_way, too_many_uploads),
    )
    install_handlers(app)
    guard(app.state.wiring.database)
    install_edge(app, settings)
    app.add_middleware(RequestMetrics, metrics=metrics)
    for room in (
        callers,
        users,
        user_settings,
        tokens,
        erasures,
        images,
        masks,
        adaptations,
        segmentations,
        personal_models,
        quotas,
        webhooks,
        exports,
        catalog,
        health,
        observability,
    ):
        app.include_router(room.router)
    install_page(app)
    return app


def app_factory() -> ASGIApp:
    """For `uvicorn --factory app.main:app_factory`: settings from the environment; ends the process where one is not usable."""
    settings = _settings()
    configure_logging(settings.log_level, as_json=settings.log_json)
    app = create_app(settings)
    if start_tracing("personalseg-api"):
        trace_api(app, app.state.wiring.database)
    return FreshContext(app)


def _settings() -> Settings:
    try:
        return Settings()
    except BAD_SETTING as error:
        configure_logging()
        log.error("api.cannot_start", reason=setting_sentence(error))
        sys.exit(EXIT_CANNOT_START)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    wiring: Wiring = app.state.wiring
    threads = anyio.to_thread.current_default_thread_limiter()
    threads.total_tokens = wiring.settings.request_threads
    wiring.metrics.watch(threads)
    yield
    wiring.decoder.close()
    wiring.database.close()
    stop_tracing()
