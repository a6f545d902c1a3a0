"""Real deployments with the tiny base, and the photographs that are sent to them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import skimage
import sklearn
from PIL import Image

from app.client import Client
from app.local import Deployment

# Short, so that a test of recovery does not wait for half a minute.
FAST = {
    "default_base": "espnetv2_tiny",
    "device": "cpu",
    "lease_seconds": 6.0,
    "heartbeat_seconds": 1.0,
    "sweep_seconds": 1.0,
}
_SKIMAGE = ("chelsea.png", "astronaut.png", "coffee.png", "rocket.jpg")
_SKLEARN = ("china.jpg", "flower.jpg")
_WIDTH = 240


def deployment_in(folder: Path, **settings: object) -> Deployment:
    """A quick deployment on this data folder; not started."""
    return Deployment(folder, quiet=True, **{**FAST, **settings})


@pytest.fixture(scope="session", autouse=True)
def own_environment() -> Iterator[None]:
    """Children that share few cores, and no setting of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("PERSONALSEG_")]:
            environment.delenv(name)
        environment.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small versions of photographs that ship inside scikit-image and scikit-learn."""
    folder = tmp_path_factory.mktemp("photos")
    sources = [Path(skimage.__file__).parent / "data" / name for name in _SKIMAGE]
    sources += [Path(sklearn.__file__).parent / "datasets" / "images" / name for name in _SKLEARN]
    for source in sources:
        with Image.open(source) as image:
            small = image.convert("RGB").resize((_WIDTH, round(_WIDTH * image.height / image.width)))
            small.save(folder / f"{source.stem}.jpg")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A running deployment, shared by the tests of one file."""
    with deployment_in(tmp_path_factory.mktemp("deployment")) as running:
        yield running


@pytest.fixture
def client(deployment: Deployment) -> Iterator[Client]:
    """A new user of that deployment."""
    with new_user(deployment) as user:
        yield user


def new_user(deployment: Deployment) -> Client:
    """The client of a new user."""
    with Client(deployment.base_url, deployment.service_token) as service:
        return service.for_user(service.create_user())


def processes_below(pid: int) -> list[psutil.Process]:
    """All processes that this one has started, and theirs."""
    return psutil.Process(pid).children(recursive=True)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()
