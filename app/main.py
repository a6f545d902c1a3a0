"""`create_app`: the one place that wires the API. Importing this does nothing but define."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

import anyio
from fastapi import FastAPI

from app import health
from app.adaptations import routes as adaptations
from app.attempts import FailedAttempts
from app.callers import routes as callers
from app.catalog import routes as catalog
from app.db import Database
from app.decoding.pool import DecoderPool
from app.deps import Wiring
from app.edge.install import install_edge
from app.exports import routes as exports
from app.images import routes as images
from app.log import configure_logging
from app.masks import routes as masks
from app.page.routes import install_page
from app.personal_models import routes as personal_models
from app.problems import install_handlers
from app.segmentations import routes as segmentations
from app.settings import Settings
from app.storage import Storage
from app.tokens import routes as tokens
from app.users import routes as users

_DESCRIPTION = """Segments each user's photos with a model that has adapted itself to that user, without a label.

1. `POST /v1/users` with the service token, then `POST …/images` with a batch of photos.
2. `POST …/adaptations` and poll, or follow its events, until it ends.
3. `POST …/segmentations`, then `GET …/images/{image_id}/mask`.

Errors are `application/problem+json` with a stable `code`. Ids are UUIDv7, times are UTC.
"""


def create_app(settings: Settings) -> FastAPI:
    """The API on these settings. The database must be migrated (`app.db.upgrade`)."""
    app = FastAPI(
        title="personalseg",
        version=_version(),
        description=_DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.wiring = Wiring(
        settings=settings,
        database=Database(settings.database_url),
        storage=Storage(settings.storage_url),
        decoding=anyio.CapacityLimiter(settings.decoding_processes),
        decoder=DecoderPool(settings.decoding_limits(), settings.decoding_processes),
        failed_attempts=FailedAttempts(settings.redis_url, settings.auth_failures_per_minute),
    )
    install_handlers(app)
    install_edge(app, settings)
    for room in (callers, users, tokens, images, masks, adaptations, segmentations, personal_models, exports, catalog, health):
        app.include_router(room.router)
    install_page(app)
    return app


def app_factory() -> FastAPI:
    """For `uvicorn --factory app.main:app_factory`: settings from the environment."""
    settings = Settings()
    configure_logging(settings.log_level, as_json=settings.log_json)
    return create_app(settings)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.wiring.decoder.close()
    app.state.wiring.database.close()


def _version() -> str:
    try:
        return version("personalseg")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"
