"""A job that asks for a base whose weights are not on this machine: fetched at first use, or failed with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from sqlalchemy import select

from app.tables import Job, JobKind, JobStatus, RegisteredBase
from models.bases import registry
from tests.models import weights_server as servers
from tests.models.weights_server import WeightsServer, checkpoint_of, entry, weights_server
from tests.workers.conftest import BASE, add_photo, add_segmentation, job_of, photograph
from workers.cache import BaseCache
from workers.presence import register
from workers.segmentation import segment_photos
from workers.tasks import run
from workers.workshop import Workshop

NAME = "lraspp_mobilenet_v3_large"


@pytest.fixture(scope="module")
def body() -> bytes:
    return checkpoint_of(NAME)


@pytest.fixture
def server(body: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:
    """torchvision's place, as far as the registry knows."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with weights_server(body) as running:
        monkeypatch.setitem(registry._REGISTRY, NAME, entry(body, running.root, NAME))
        yield running


@pytest.fixture
def fresh(workshop: Workshop, tmp_path: Path) -> Workshop:
    return replace(workshop, bases=BaseCache("cpu", tmp_path / "weights"))


def job_on(workshop: Workshop, user_id: str, name: str = "chelsea.png") -> str:
    job_id = add_segmentation(workshop, user_id, [add_photo(workshop, user_id, photograph(name))])
    with workshop.database.write() as session:
        session.get_one(Job, job_id).base = NAME
    return job_id


def registered(workshop: Workshop) -> dict[str, RegisteredBase]:
    with workshop.database.read() as session:
        return {base.name: base for base in session.scalars(select(RegisteredBase))}


def test_the_first_job_fetches_the_weights(fresh: Workshop, user_id: str, server: WeightsServer) -> None:
    register(fresh, [JobKind.SEGMENTATION])
    assert not registered(fresh)[NAME].weights_present
    job_id = job_on(fresh, user_id)
    run(fresh, job_id, segment_photos)
    job = job_of(fresh, job_id)
    assert job.status == JobStatus.SUCCEEDED, job.error_reason
    assert "fetching" in [entry["stage"] for entry in job.timeline]
    assert registered(fresh)[NAME].weights_present
    run(fresh, job_on(fresh, user_id, "coffee.png"), segment_photos)
    assert len(server.paths) == 1


def test_a_job_whose_base_cannot_be_fetched_fails_with_the_reason(
    fresh: Workshop, user_id: str, server: WeightsServer, tmp_path: Path
) -> None:
    server.answers = [servers.another_file]
    job_id = job_on(fresh, user_id)
    run(fresh, job_id, segment_photos)
    job = job_of(fresh, job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "base_wrong_file")
    assert job.error_reason is not None and "Nothing was kept" in job.error_reason and str(tmp_path) not in job.error_reason
    assert [path for path in (tmp_path / "weights").iterdir() if path.suffix != ".lock"] == []


def test_a_worker_that_shall_end_breaks_the_fetch_off(fresh: Workshop, user_id: str, server: WeightsServer) -> None:
    def end_meanwhile(request: BaseHTTPRequestHandler, body: bytes) -> None:
        fresh.stopping.set()  # as SIGTERM does
        servers.good(request, body)

    server.answers = [end_meanwhile]
    job_id = job_on(fresh, user_id)
    run(fresh, job_id, segment_photos)
    assert job_of(fresh, job_id).status == JobStatus.QUEUED  # handed back


def test_bases_tell_their_context_and_whether_their_weights_are_here(fresh: Workshop) -> None:
    register(fresh, [JobKind.SEGMENTATION])
    bases = registered(fresh)
    assert (bases["espnetv2"].context, bases["espnetv2"].weights_present) == ("trained", True)
    assert (bases["deeplabv3_resnet50"].context, bases["deeplabv3_resnet50"].weights_present) == ("non-parametric", False)
    assert "pspnet_resnet50" not in bases  # nobody has trained it
    assert bases[BASE].is_default
