"""The alerts and the dashboard name metrics and labels that the service really has, and every alert is explained."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from app.checks import Foundations
from app.db import Database
from app.observability.connections import Connections
from app.observability.metrics import ApiMetrics
from app.observability.state import ServiceState
from app.settings import Settings
from app.storage import Storage
from workers.cache import PersonalModelCache
from workers.metrics import WorkerMetrics

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "personalseg.json"
# Prometheus' own, and what it adds to every sample.
SCRAPED = {"up": set[str]()}
TARGET_LABELS = {"job", "instance"}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",), "info": ("_info",), "unknown": ("",)}


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def dashboard_queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"].replace("$__rate_interval", "5m") for panel in panels for target in panel.get("targets", [])]


def selectors(node: object) -> Iterator[promql_parser.VectorSelector]:
    """Every selector in an expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "param"):
        child = getattr(node, name, None)
        if child is not None:
            yield from selectors(child)
    for child in getattr(node, "args", None) or []:
        yield from selectors(child)


def exposed(registry: CollectorRegistry) -> Iterator[tuple[str, set[str]]]:
    """Each series name that a registry exposes, with its labels."""
    for collector in list(registry._collector_to_names):
        for family in collector.collect():
            labels = {label for sample in family.samples for label in sample.labels}
            if isinstance(collector, MetricWrapperBase):
                labels |= set(collector._labelnames)
            if family.type == "histogram":
                labels.add("le")
            for suffix in SUFFIXES[family.type]:
                yield family.name + suffix, labels
            yield from (
                (sample.name, set(sample.labels)) for sample in family.samples if not family.samples[0].name.startswith(family.name)
            )


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> dict[str, set[str]]:
    """Every series of the API and of a worker, with its labels."""
    folder = tmp_path_factory.mktemp("metrics")
    settings = Settings(data_dir=folder, redis_url="redis://127.0.0.1:1/0")
    shutil.copy(migrated_sqlite, folder / "personalseg.sqlite3")
    database = Database(settings.database_url)
    api = ApiMetrics()
    api.registry.register(ServiceState(Foundations(settings, database, Storage(settings.storage_url))))
    api.registry.register(Connections(database))
    worker = WorkerMetrics(PersonalModelCache(1))
    # The family of a machine without a GPU has no sample; its labels are those of its declaration.
    gpu = {"personalseg_worker_gpu_memory_bytes": {"device", "what"}}
    found = {**SCRAPED, **dict(exposed(api.registry)), **dict(exposed(worker.registry)), **gpu}
    assert "personalseg_worker_gpu_memory_bytes" in {name for name, _ in exposed(worker.registry)}
    database.close()
    return found


@pytest.mark.parametrize("query", [rule["expr"] for rule in alerts()] + dashboard_queries())
def test_every_metric_and_label_exists(query: str, known: dict[str, set[str]]) -> None:
    found = list(selectors(promql_parser.parse(query)))
    assert found
    for selector in found:
        assert selector.name in known, selector.name
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= known[selector.name] | TARGET_LABELS, (selector.name, asked)


def test_a_wrong_name_would_be_found(known: dict[str, set[str]]) -> None:
    (selector,) = selectors(promql_parser.parse("sum(rate(personalseg_worker_job_total[5m]))"))
    assert selector.name not in known


def test_every_alert_is_explained() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    sections = set(re.findall(r"^### (Personalseg\w+)$", text, re.M))
    assert sections == {rule["alert"] for rule in alerts()}
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def test_every_metric_is_shown_or_alerted_on(known: dict[str, set[str]]) -> None:
    """What nobody looks at need not be counted."""
    used = {
        selector.name
        for query in [rule["expr"] for rule in alerts()] + dashboard_queries()
        for selector in selectors(promql_parser.parse(query))
    }
    ours = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in known if name.startswith("personalseg_")}
    unseen = ours - {re.sub(r"_(bucket|sum|count|total)$", "", str(name)) for name in used}
    assert unseen == {"personalseg_worker_model_cache_entries"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_the_alerts_fire_when_they_should() -> None:
    done = subprocess.run(["promtool", "test", "rules", "alerts_test.yml"], cwd=ALERTS.parent, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
