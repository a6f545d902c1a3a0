"""`python -m workers.health`: exit code 0 when a worker of this host has been heard from lately. For containers."""

from __future__ import annotations

import socket
import sys
from datetime import timedelta

from sqlalchemy import exists, select

from app.clock import utc_now
from app.db import Database
from app.settings import Settings
from app.tables import Worker


def is_alive(settings: Settings) -> bool:
    """Whether a worker with this host's name has beaten within `worker_fresh_seconds`."""
    since = utc_now() - timedelta(seconds=settings.worker_fresh_seconds)
    fresh = exists().where(Worker.hostname == socket.gethostname(), Worker.heartbeat_at >= since)
    with Database(settings.database_url).read() as session:
        return bool(session.execute(select(fresh)).scalar())


if __name__ == "__main__":
    sys.exit(0 if is_alive(Settings()) else 1)
