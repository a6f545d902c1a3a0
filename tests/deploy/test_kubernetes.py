"""The manifests: valid by Kubernetes' own schemas (strictly), built by kustomize, and as locked down as they say."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import kubernetes_validate
import pytest
import sqlalchemy
import yaml
from pydantic import BaseModel, ConfigDict, Field

from app.settings import Settings
from app.tables import Job, User

BOTH_DATABASES = True
FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
OLDEST, NEWEST = "1.29", "1.34"
OVERLAYS = ("cpu", "gpu")
KUBECTL = shutil.which("kubectl")
Manifest = dict[str, Any]


class Strict(BaseModel):
    """KEDA's resources are not in the schema package: the part of its documented schema that we use, and nothing else."""

    model_config = ConfigDict(extra="forbid")


class Reference(Strict):
    name: str


class Trigger(Strict):
    type: Literal["postgresql"]
    metadata: dict[Literal["query", "targetQueryValue", "activationTargetQueryValue"], str]
    authenticationRef: Reference  # noqa: N815


class Fallback(Strict):
    failureThreshold: int = Field(gt=0)  # noqa: N815
    replicas: int = Field(ge=0)


class ScaledObjectSpec(Strict):
    scaleTargetRef: Reference  # noqa: N815
    minReplicaCount: int = Field(ge=0)  # noqa: N815
    maxReplicaCount: int = Field(gt=0)  # noqa: N815
    pollingInterval: int = Field(gt=0)  # noqa: N815
    cooldownPeriod: int = Field(ge=0)  # noqa: N815
    fallback: Fallback
    advanced: dict[Literal["horizontalPodAutoscalerConfig"], dict[Literal["behavior"], dict[str, Any]]]
    triggers: list[Trigger] = Field(min_length=1)


class SecretTarget(Strict):
    parameter: Literal["connection"]
    name: str
    key: str


class AuthenticationSpec(Strict):
    secretTargetRef: list[SecretTarget]  # noqa: N815


KEDA = {"ScaledObject": ScaledObjectSpec, "TriggerAuthentication": AuthenticationSpec}


def base_manifests() -> Iterator[Manifest]:
    for path in sorted((FOLDER / "base").glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


def check(manifest: Manifest, version: str) -> None:
    if manifest["apiVersion"] == "keda.sh/v1alpha1":
        KEDA[manifest["kind"]].model_validate(manifest["spec"])
        return
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.fixture(scope="module", params=OVERLAYS)
def built(request: pytest.FixtureRequest) -> list[Manifest]:
    """What `kubectl apply -k` would send for this overlay."""
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    command = [KUBECTL, "kustomize", str(FOLDER / "overlays" / request.param)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_base_is_valid(version: str) -> None:
    manifests = list(base_manifests())
    assert len(manifests) > 12
    for manifest in manifests:
        check(manifest, version)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_overlays_are_valid(built: list[Manifest], version: str) -> None:
    for manifest in built:
        check(manifest, version)


def test_a_wrong_field_would_be_found() -> None:
    (job,) = [manifest for manifest in base_manifests() if manifest["kind"] == "Job"]
    job["spec"]["backofLimit"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        check(job, NEWEST)


def workloads(manifests: list[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in ("Deployment", "Job")]


def test_every_pod_is_locked_down(built: list[Manifest]) -> None:
    assert len(workloads(built)) == 4
    for manifest in workloads(built):
        pod = manifest["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True and security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]["cpu"]
        assert container["image"].count(":") == 1
        for volume in pod["volumes"]:
            assert "secret" in volume or volume["emptyDir"]["sizeLimit"]
        if manifest["kind"] == "Deployment":
            assert container["livenessProbe"] and container["startupProbe"]
            assert "replicas" not in manifest["spec"]  # an autoscaler's business


def test_what_refers_to_each_other_fits(built: list[Manifest]) -> None:
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in built}
    (settings,) = [name for kind, name in names if kind == "ConfigMap"]
    for manifest in workloads(built):
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"configMapRef": {"name": settings}}]
    for manifest in built:
        target = manifest.get("spec", {}).get("scaleTargetRef")
        if target:
            assert ("Deployment", target["name"]) in names
        if manifest["kind"] == "PodDisruptionBudget":
            wanted = manifest["spec"]["selector"]["matchLabels"]
            pods = [other["spec"]["template"]["metadata"]["labels"] for other in workloads(built)]
            assert sum(wanted.items() <= labels.items() for labels in pods) == 1
        assert manifest["kind"] in ("Namespace",) or manifest["metadata"]["namespace"] == "personalseg"


def test_the_settings_are_settings_of_ours(built: list[Manifest]) -> None:
    (config,) = [manifest for manifest in built if manifest["kind"] == "ConfigMap"]
    ours = {name.removeprefix("PERSONALSEG_").lower(): value for name, value in config["data"].items() if name.startswith("PERSONALSEG_")}
    assert ours.keys() <= set(Settings.model_fields)
    Settings(**ours)
    assert not {name for name in config["data"] if re.search("PASSWORD|TOKEN|SECRET_", name)}


def test_keda_counts_the_rows_that_wait(built: list[Manifest], database_url: str) -> None:
    """The queries run on the tables as they are, and count what they should."""
    engine = sqlalchemy.create_engine(database_url)
    counted = {}
    states = [("adaptation", "queued"), ("adaptation", "failed"), ("segmentation", "queued"), ("segmentation", "running")]
    with engine.begin() as connection:
        connection.execute(sqlalchemy.insert(User).values(id="ann"))
        for kind, status in states:
            connection.execute(sqlalchemy.insert(Job).values(user_id="ann", kind=kind, status=status, base="b", request={}, timeline=[]))
        for manifest in built:
            if manifest["kind"] == "ScaledObject":
                (trigger,) = manifest["spec"]["triggers"]
                counted[manifest["metadata"]["name"]] = connection.exec_driver_sql(trigger["metadata"]["query"]).scalar()
    engine.dispose()
    assert counted == {"personalseg-worker-adapt": 1, "personalseg-worker-segment": 2}


def test_the_gpu_overlay_asks_for_one_each() -> None:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")
    text = subprocess.run([KUBECTL, "kustomize", str(FOLDER / "overlays" / "gpu")], capture_output=True, text=True, timeout=60).stdout
    workers = [
        manifest for manifest in yaml.safe_load_all(text) if "worker" in manifest["metadata"]["name"] and manifest["kind"] == "Deployment"
    ]
    assert len(workers) == 2
    for worker in workers:
        (container,) = worker["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert container["command"][:3] == ["python", "-m", "workers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
