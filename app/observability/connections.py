"""The connections of one process to the database, told by the API and by the workers."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.pool import QueuePool

from app.db import Database


class Connections(Collector):
    """The pool of a database, read from its own counts."""

    def __init__(self, database: Database) -> None:
        self._pool = database.engine.pool

    def collect(self) -> Iterable[Metric]:
        """In use and idle now; nothing where there is no pool."""
        family = GaugeMetricFamily("personalseg_db_connections", "Connections of this process to the database.", labels=["state"])
        if isinstance(self._pool, QueuePool):
            family.add_metric(["in_use"], self._pool.checkedout())
            family.add_metric(["idle"], self._pool.checkedin())
        yield family
