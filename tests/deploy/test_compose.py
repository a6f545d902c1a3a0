"""What `docker-compose.yml` says of every container; `make test-compose` builds and runs them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings
from tests.compose.documented import examples

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
GPU: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())["services"]
OURS = ("secrets", "migrate", "api", "worker-segment", "worker-adapt")


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_bounded_and_cannot_write_itself(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] and service["mem_limit"] and service["logging"]["options"]["max-size"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


@pytest.mark.parametrize("name", OURS)
def test_ours_have_no_capability_and_reap_their_decoders(name: str) -> None:
    assert SERVICES[name]["cap_drop"] == ["ALL"] and SERVICES[name]["init"] is True


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_is_in_an_environment(name: str) -> None:
    given = SERVICES[name].get("environment", {})
    assert not [key for key in given if any(word in key for word in ("PASSWORD", "DATABASE_URL", "TOKEN", "SECRET"))]


def test_only_the_api_is_published_and_database_and_redis_are_inside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["api"]
    for name in ("postgres", "redis"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_nothing_starts_before_what_it_stands_on() -> None:
    for name in ("api", "worker-segment", "worker-adapt"):
        conditions = {other: wish["condition"] for other, wish in SERVICES[name]["depends_on"].items()}
        assert conditions == {"migrate": "service_completed_successfully", "redis": "service_healthy"}
    assert SERVICES["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_a_gpu_is_for_the_workers_and_with_the_torch_for_it() -> None:
    assert set(GPU) == {"worker-segment", "worker-adapt"}
    for service in GPU.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["driver"] == "nvidia" and device["capabilities"] == ["gpu"]
        assert service["build"]["args"]["TORCH_INDEX"] == ""
        assert service["image"] != SERVICES["worker-segment"]["image"]


def test_uploads_are_kept_on_a_disk_and_not_in_memory() -> None:
    (mount,) = [volume.split(":") for volume in SERVICES["api"]["volumes"] if volume.startswith("scratch:")]
    assert SERVICES["api"]["environment"]["TMPDIR"] == mount[1]
    assert mount[1] not in SERVICES["api"]["tmpfs"]
    # A new volume takes its owner from the folder in the image.
    assert f"install -d -o personalseg -g personalseg -m 0700 {mount[1]} " in (ROOT / "Dockerfile").read_text()


def test_the_documented_examples_are_those_that_the_walk_runs() -> None:
    assert list(examples()) == ["Backup", "Back again", "New passwords"]
    for script in examples().values():
        assert all(name in SERVICES for name in re.findall(r"docker compose (?:exec -T|run --rm --no-deps(?: -T)?) ([a-z-]+)", script))
        assert "docker compose" in script


@pytest.mark.parametrize("name", ["worker-segment", "worker-adapt"])
def test_a_worker_is_started_again_before_it_is_killed(name: str) -> None:
    given = SERVICES[name]["environment"].get("PERSONALSEG_WORKER_MAX_RSS_BYTES")
    bound = Settings.model_fields["worker_max_rss_bytes"].default if given is None else int(given.rsplit(":-", 1)[1].rstrip("}"))
    limit = int(SERVICES[name]["mem_limit"].rsplit(":-", 1)[1].removesuffix("g}")) * 2**30
    assert bound < 0.9 * limit
