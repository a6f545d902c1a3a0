"""What the jobs of one process share, wired in one place."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass, field

from app.db import Database, open_database
from app.decoding.pool import DecoderPool
from app.ids import new_id
from app.observability.connections import Connections
from app.setting_errors import SettingUnusable
from app.settings import Settings
from app.storage import Storage, open_storage
from app.tenancy import guard
from models.datasets import LabelledFolder
from models.source import open_source
from workers.cache import BaseCache, PersonalModelCache
from workers.devices import choose_device
from workers.metrics import WorkerMetrics


@dataclass(frozen=True)
class Workshop:
    """Everything that a job needs besides its id; `stopping` is set when this process shall end, `broken` where it cannot go on."""

    worker_id: str
    owner: str
    device: str
    settings: Settings
    database: Database
    storage: Storage
    decoder: DecoderPool
    bases: BaseCache
    models: PersonalModelCache
    metrics: WorkerMetrics
    source: LabelledFolder | None = None
    """Labelled photos for alignment, where the operator has configured some."""
    stopping: threading.Event = field(default_factory=threading.Event)
    broken: threading.Event = field(default_factory=threading.Event)

    def give_up(self) -> None:
        """This process shall end, and another take its place."""
        self.broken.set()
        self.stopping.set()


def open_workshop(settings: Settings) -> Workshop:
    """The workshop of this process; loads no model yet. Raises as `choose_device` and `source_photos`."""
    device = choose_device(settings.device)
    worker_id = new_id()
    models = PersonalModelCache(settings.model_cache_bytes)
    database = open_database(settings)
    guard(database)
    metrics = WorkerMetrics(models)
    metrics.registry.register(Connections(database))
    return Workshop(
        worker_id=worker_id,
        # The supervisor of a local deployment finds the jobs of a dead child by host and process id.
        owner=f"{socket.gethostname()}:{os.getpid()}:{worker_id}",
        device=device,
        settings=settings,
        database=database,
        storage=open_storage(settings),
        decoder=DecoderPool(settings.decoding_limits()),
        bases=BaseCache(device, settings.weights_dir, settings.weights_mirror),
        models=models,
        metrics=metrics,
        source=source_photos(settings),
    )


def source_photos(settings: Settings) -> LabelledFolder | None:
    """The labelled photos of `source_dir`, None without one; raises SettingUnusable where it holds none, or two of one name."""
    if settings.source_dir is None:
        return None
    try:
        return open_source(settings.source_dir)
    except (OSError, ValueError) as error:
        raise SettingUnusable("SOURCE_DIR", str(error)) from error
