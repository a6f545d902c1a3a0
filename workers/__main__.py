"""`python -m workers --queue adaptation --queue segmentation`: one process that does jobs, one at a time."""

from __future__ import annotations

import os

# Dramatiq reads this at its import. More than one would strand a job behind a long one.
os.environ["dramatiq_queue_prefetch"] = "1"  # noqa: SIM112 - its name for it

import signal
import sys
import threading
import time
from typing import Annotated, NoReturn

import structlog
import typer
from dramatiq import Worker
from sqlalchemy.exc import SQLAlchemyError

from app.db import current_revision, head_revision
from app.log import configure_logging
from app.setting_errors import BAD_SETTING, EXIT_CANNOT_START, SettingUnusable, setting_sentence
from app.settings import Settings
from app.tables import JobKind
from app.tracing import start_tracing, stop_tracing, trace_database
from models.bases.errors import BaseNotAvailable
from models.types import Cancelled, ModelFileError
from workers.broker import make_broker
from workers.cache import UnknownBase
from workers.memory import bound_allocator
from workers.metrics import serve_metrics
from workers.presence import register, start_background, unregister
from workers.tasks import declare_actors
from workers.workshop import Workshop, open_workshop

EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL
# How often an idle worker asks Redis, and so the longest time before a ring is heard.
_POLL_MILLISECONDS = 250
_LOOK_SECONDS = 2.0
# A running job gets this long to come to a step where it can be handed back.
_HAND_BACK_SECONDS = 5.0

log = structlog.get_logger(__name__)


def main(
    queues: Annotated[list[JobKind], typer.Option("--queue", help="Kind of jobs to do; may be given more than once.")],
) -> None:
    """Do jobs until SIGTERM or SIGINT."""
    settings = _settings()
    configure_logging(settings.log_level, as_json=settings.log_json)
    bound_allocator()
    try:
        complaint = schema_complaint(settings.database_url)
    except SQLAlchemyError as error:
        _try_again(f"The database cannot be reached: {error}")
    if complaint:
        _refuse(complaint)
    try:
        workshop = open_workshop(settings)
    except SettingUnusable as error:
        _refuse(setting_sentence(error))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: workshop.stopping.set())
    if start_tracing("personalseg-worker"):
        trace_database(workshop.database)
    load_default_base(workshop)
    exit_code = work_until_stopped(workshop, queues)
    stop_tracing()
    workshop.database.close()
    _leave(exit_code)


def _settings() -> Settings:
    """Those of the environment; ends the process where one is not usable."""
    try:
        return Settings()
    except BAD_SETTING as error:
        configure_logging("INFO", as_json=False)
        _refuse(setting_sentence(error))


def load_default_base(workshop: Workshop) -> None:
    """Load it, fetching it first where that is needed; ends the process where that does not go, or when it shall end."""
    name = workshop.settings.default_base

    def on_bytes(_done: int, _total: int) -> None:
        if workshop.stopping.is_set():
            raise Cancelled

    try:
        workshop.bases.get(name, on_bytes)
    except Cancelled:
        sys.exit(0)
    except BaseNotAvailable as error:
        if error.transient:
            _try_again(str(error))
        _refuse(f"The base model {name!r} cannot be loaded: {error}")
    except (UnknownBase, ModelFileError, OSError) as error:
        _refuse(f"The base model {name!r} cannot be loaded: {error}")


def schema_complaint(database_url: str) -> str | None:
    """Why a worker must not touch this database, in one sentence; None when it may. Raises SQLAlchemyError."""
    found, known = current_revision(database_url), head_revision()
    if found == known:
        return None
    held = "has no tables yet" if found is None else f"is of revision {found}"
    return f"The database {held}, this worker knows revision {known}: migrate the database or update the worker."


def work_until_stopped(workshop: Workshop, queues: list[JobKind]) -> int:
    """Take jobs from these queues until `workshop.stopping` is set; a running one is handed back. Returns the exit code."""
    broker = make_broker(workshop.settings.redis_url)
    declare_actors(broker, workshop)
    try:
        register(workshop, queues)
    except SQLAlchemyError as error:
        _try_again(f"The database cannot be written: {error}")
    worker = Worker(broker, queues={queue.value for queue in queues}, worker_threads=1, worker_timeout=_POLL_MILLISECONDS)
    worker.start()
    background = start_background(workshop, broker, queues)
    serve_metrics(workshop.metrics, workshop.settings)
    log.info("worker.started", queues=[queue.value for queue in queues], device=workshop.device)
    _watch(workshop, worker)
    _stop(worker)
    for thread in background:
        thread.join(timeout=1.0)
    unregister(workshop)
    log.info("worker.stopped")
    return EXIT_TRY_AGAIN if workshop.broken.is_set() else 0


def _watch(workshop: Workshop, worker: Worker) -> None:
    """Wait until this process shall end; it must where a thread without which no job is done has died."""
    threads = [*worker.consumers.values(), *worker.workers]
    while not workshop.stopping.wait(_LOOK_SECONDS):
        if dead := [thread.name for thread in threads if not thread.is_alive()]:
            # It would look alive for ever, and do nothing.
            log.error("worker.thread_died", threads=dead)
            workshop.give_up()


def _stop(worker: Worker) -> None:
    """Wait for the running job to be handed back; past the grace the process ends, and its lease with it."""
    stopper = threading.Thread(target=worker.stop, args=(int(_HAND_BACK_SECONDS * 1000),), daemon=True)
    started = time.monotonic()
    stopper.start()
    stopper.join(_HAND_BACK_SECONDS + 1.0)
    log.debug("worker.threads_stopped", seconds=round(time.monotonic() - started, 2), clean=not stopper.is_alive())


def _leave(exit_code: int) -> NoReturn:
    """End at once: on busy cores Python takes longer to clear torch away than Docker waits, and what ends by itself looks killed (137).

    With a device that is lost, clearing away would fail.
    """
    sys.stderr.flush()
    os._exit(exit_code)


def _refuse(complaint: str) -> NoReturn:
    log.error("worker.cannot_start", reason=complaint)
    sys.exit(EXIT_CANNOT_START)


def _try_again(complaint: str) -> NoReturn:
    log.error("worker.not_started", reason=complaint)
    sys.exit(EXIT_TRY_AGAIN)


if __name__ == "__main__":
    typer.run(main)
