"""`make test-compose`: the whole way through the real containers, with a transcript; leaves no container and no volume behind.

Build, up, upload, adapt, segment, a worker's process killed, three workers, a worker's container killed, down, up again with
everything kept, and what docs/operations.md says of backups and passwords, as it is written there. Needs a Docker daemon, and
the base images, which it fetches where there is a registry; where there is none they are made beforehand. TORCH_INDEX="" takes
torch from where pip finds it.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import typer
from PIL import Image

from app.client import Client, Job
from tests.compose.containers import Composition, require, run, within
from tests.compose.documented import examples
from tests.compose.photos import make_photos
from tests.conftest import free_port

_MOST_ABOVE_BASE = 300_000_000
_BUDGET_SECONDS = 180.0
_JOB_SECONDS = 600.0
_OURS = ("api", "worker-segment", "worker-adapt")


class Walk:
    """One walk; its steps are called in order."""

    def __init__(self) -> None:
        self.containers = Composition(free_port())
        self.url = f"http://127.0.0.1:{self.containers.port}"
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """A line of the transcript."""
        print(f"[{time.monotonic() - self._started:7.1f} s] {text}", flush=True)

    def build(self) -> None:
        """Both images; the API's is small and knows no torch."""
        self.containers.compose("build")
        base, api, worker = (int(run(["docker", "inspect", "--format", "{{.Size}}", name])) for name in _images())
        self.say(f"built: api {api / 1e6:.0f} MB, {(api - base) / 1e6:.0f} MB above its base; worker {worker / 1e6:.0f} MB")
        require(api - base < _MOST_ABOVE_BASE, "the API's image is too large")
        code = "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ('torch', 'numpy', 'sklearn'))))"
        run(["docker", "run", "--rm", "--network=none", "personalseg-api", "python", "-c", code])
        self.say("the API's image holds no torch, numpy or scikit-learn")

    def up(self, *options: str, segmenting: int = 1) -> None:
        """Everything started and healthy."""
        self.containers.compose("up", "--detach", *options)
        for service, count in (("postgres", 1), ("redis", 1), ("api", 1), ("worker-segment", segmenting), ("worker-adapt", 1)):
            self.containers.await_healthy(service, count)
        for service in ("secrets", "migrate"):
            state = self.containers.inspect(self.containers.ids(service, running=False)[0])["State"]
            require(state["ExitCode"] == 0, f"{service} ended with {state['ExitCode']}")
        checks = httpx.get(f"{self.url}/readyz", timeout=30.0).json()["checks"]
        require(all(check["ok"] for check in checks.values()), f"not ready: {checks}")
        self.say(f"up, all healthy; workers {checks['workers']['detail']}")

    def look_at_the_guards(self) -> None:
        """Nobody is root, nothing can be written but the volumes, no password is in an environment."""
        for service in _OURS:
            (user, *_) = self.containers.execute(service, "id", "-u").split()
            require(user != "0", f"{service} runs as root")
            found = self.containers.inspect(self.containers.ids(service)[0])
            require(found["HostConfig"]["ReadonlyRootfs"], f"{service} may write its own file system")
            require(found["HostConfig"]["Memory"] > 0, f"{service} may take all memory")
            require(not any("PASSWORD" in line or "DATABASE_URL" in line for line in found["Config"]["Env"]), f"{service} shows a secret")
        for service in ("postgres", "redis"):
            require(self.containers.inspect(self.containers.ids(service)[0])["HostConfig"]["ReadonlyRootfs"], f"{service} is writable")
        policy = self.containers.execute("redis", "redis-cli", "config", "get", "maxmemory-policy").split()[-1]
        appends = self.containers.execute("redis", "redis-cli", "config", "get", "appendonly").split()[-1]
        require((policy, appends) == ("noeviction", "yes"), f"Redis runs with {policy}, appendonly {appends}")
        self.say("not root, read-only, bounded memory, no secret in an environment; Redis: AOF, noeviction")

    def look_at_the_page_and_the_metrics(self) -> None:
        """The page is served; both kinds of metrics answer, the API's only with its token."""
        page = httpx.get(self.url, follow_redirects=True, timeout=30.0)
        require("text/html" in page.headers["Content-Type"] and page.status_code == 200, "there is no page")
        token = self.containers.execute("api", "cat", "/run/secrets/personalseg_metrics_token")
        require(httpx.get(f"{self.url}/metrics", timeout=30.0).status_code == 401, "metrics without a token")
        told = httpx.get(f"{self.url}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=30.0).text
        code = "import urllib.request as r; print(r.urlopen('http://worker-segment:9100/metrics', timeout=10).read().decode())"
        workers = self.containers.execute("api", "python", "-c", code)
        require("personalseg_" in told and "personalseg_" in workers, "there are no metrics")
        self.say(f"page {len(page.content)} bytes; metrics: API {len(told.splitlines())} lines, worker {len(workers.splitlines())}")

    def new_user(self) -> Client:
        """A user's client, made with the service token of the volume."""
        with Client(self.url, self.service_token()) as service:
            return service.for_user(service.create_user())

    def service_token(self) -> str:
        """The token that the first start made."""
        return self.containers.execute("api", "cat", "/data/service-token")

    def upload(self, client: Client, folder: Path) -> None:
        """A gallery in, each photo stored once."""
        photos = make_photos(folder)
        statuses = [result.status for result in client.upload(photos)]
        require(statuses == ["stored"] * len(photos), f"uploaded: {statuses}")
        self.say(f"uploaded {len(photos)} photos")

    def adapt_and_segment(self, client: Client) -> None:
        """A personal model (or the guard's refusal), and a mask of every photo."""
        adaptation = self.ended(client, client.adapt(budget_seconds=_BUDGET_SECONDS), {"succeeded", "refused"})
        self.say(f"adaptation {adaptation.status}: {adaptation.error_reason or 'model ' + str(client.models()[0].version)}")
        segmentation = self.ended(client, client.segment("all", adapt="never"), {"succeeded"})
        self.say(f"segmented with model {segmentation.model_version}: {len(segmentation.items)} photos")
        image = client.images()[0]
        size = Image.open(io.BytesIO(client.mask(image.id))).size
        overlay = Image.open(io.BytesIO(client.overlay(image.id))).size
        require(size == overlay == (image.width, image.height), f"mask {size}, overlay {overlay}, photo {image.width} × {image.height}")
        self.say(f"mask and overlay of a photo: {size[0]} × {size[1]}")

    def kill_a_workers_process(self, client: Client) -> None:
        """Its container starts it again, and the job ends."""
        job = self.running_segmentation(client)
        holder = self.holder(job)
        restarts = self.containers.inspect(holder)["RestartCount"]
        code = (
            "import os, pathlib\n"
            "for entry in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
            "    words = entry.read_bytes().split(b'\\0')\n"
            "    if words[0].endswith(b'python') and b'workers' in words: os.kill(int(entry.parent.name), 9)\n"
        )
        run(["docker", "exec", holder, "python", "-c", code])
        killed = time.monotonic()
        self.say(f"killed the process of worker {holder[:12]} in the middle of a segmentation")
        ended = self.ended(client, job, {"succeeded"})
        require(all(item.status == "done" for item in ended.items), "a photo was not segmented")
        require(self.containers.inspect(holder)["RestartCount"] > restarts, "Docker did not start it again")
        self.say(f"its job ended {time.monotonic() - killed:.1f} s later, at attempt {ended.attempt}; Docker started the worker again")

    def kill_a_workers_container(self, client: Client) -> None:
        """Another one takes its job over."""
        job = self.running_segmentation(client)
        holder = self.holder(job)
        run(["docker", "kill", holder])
        killed = time.monotonic()
        self.say(f"killed the container of worker {holder[:12]} in the middle of a segmentation")
        ended = self.ended(client, job, {"succeeded"})
        require(all(item.status == "done" for item in ended.items), "a photo was not segmented")
        require(ended.attempt > 1, "nobody had to take the job over")
        self.say(f"another worker ended its job {time.monotonic() - killed:.1f} s later, at attempt {ended.attempt}")

    def running_segmentation(self, client: Client) -> Job:
        """A segmentation by the base that a worker has begun."""
        for mask_of in client.images():
            client.delete_image(mask_of.id)
        with tempfile.TemporaryDirectory() as folder:
            client.upload(make_photos(Path(folder)))
        job = client.segment("all", model="base", adapt="never")
        within(120.0, lambda: client.job("segmentation", job.id).status != "queued", "a worker begins the job")
        require(client.job("segmentation", job.id).status == "running", "the job ended too soon to be disturbed: too few photos")
        return job

    def holder(self, job: Job) -> str:
        """The container whose worker holds the job's lease."""
        query = f"SELECT lease_owner FROM jobs WHERE id = '{job.id}'"
        told = self.containers.execute("postgres", "psql", "-U", "personalseg", "-h", "/var/run/postgresql", "-Atc", query, "personalseg")
        hostname = told.split(":")[0]
        (found,) = [container for container in self.containers.ids("worker-segment") if container.startswith(hostname)]
        return found

    def ended(self, client: Client, job: Job, wanted: set[str]) -> Job:
        """The job once it has ended as wanted."""
        ended = client.wait(job, timeout_seconds=_JOB_SECONDS)
        require(ended.status in wanted, f"{job.kind} {ended.status}: {ended.error_code} {ended.error_reason}")
        return ended

    def down_and_up_again(self, client: Client) -> None:
        """Nothing that was stored is lost."""
        token = self.service_token()
        before = _everything(client)
        self.containers.compose("down")
        require(not self.containers.ids("api", running=False), "a container was left")
        self.say("down")
        self.up()
        require(self.service_token() == token, "there is another service token")
        require(_everything(client) == before, "photos, masks or models are not what they were")
        self.say(f"all kept: {len(before) - 1} photos with their masks, models {before['models']}")
        with Client(self.url, token) as service:
            require(len(list(service.users())) > 0, "the users are gone")

    def back_up_and_restore(self, client: Client, folder: Path) -> None:
        """As documented: everything into two files, and out of them into an empty deployment."""
        before = _everything(client)
        self.containers.follow(examples()["Backup"], folder)
        self.say(f"backed up: {', '.join(f'{file.name} {file.stat().st_size} bytes' for file in sorted(folder.iterdir()))}")
        self.containers.compose("down", "--volumes")
        self.up()
        lost = self.service_token()
        self.containers.follow(examples()["Back again"], folder)
        self.up("--no-recreate")
        require(_everything(client) == before, "photos, masks or models are not what they were")
        require(self.service_token() != lost, "the service token of the empty deployment is still in the file")
        with Client(self.url, self.service_token()) as service:
            require(len(list(service.users())) > 0, "the users are gone")
        self.say("restored into an empty deployment: all is as it was")

    def change_the_passwords(self, client: Client, folder: Path) -> None:
        """As documented; the old ones are good for nothing."""
        names = ("postgres_password", "personalseg_metrics_token")
        before = [self.containers.execute("api", "cat", f"/run/secrets/{name}") for name in names]
        self.containers.follow(examples()["New passwords"], folder)
        self.up("--no-recreate")
        require(len(list(client.images())) > 0, "the photos are gone")
        after = [self.containers.execute("api", "cat", f"/run/secrets/{name}") for name in names]
        require(not set(before) & set(after), "a password is the old one")
        statuses = [
            httpx.get(f"{self.url}/metrics", headers={"Authorization": f"Bearer {t}"}, timeout=30.0).status_code
            for t in (before[1], after[1])
        ]
        require(statuses == [401, 200], f"metrics with the old and the new token: {statuses}")
        self.say("new passwords; the old metrics token is refused")

    def clean_up(self) -> None:
        """No container, network or volume stays; the images do."""
        self.containers.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
        self.say("cleaned up")

    def logs(self) -> str:
        """The end of what the containers said, for a walk that failed."""
        return self.containers.compose("logs", "--no-color", "--tail=40")


def _images() -> tuple[str, str, str]:
    return "python:3.11-slim", "personalseg-api", "personalseg-worker"


def _everything(client: Client) -> dict[str, object]:
    blobs = {image.id: (client.content(image.id), client.mask(image.id, model="base")) for image in client.images()}
    return {**blobs, "models": [(model.version, model.active) for model in client.models()]}


@contextmanager
def _cleaned_up(walk: Walk, *, keep: bool) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        print(f"{walk.logs()}\nThe walk failed: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        if not keep:
            walk.clean_up()


def main(keep: bool = typer.Option(False, help="Leave the deployment running at the end.")) -> None:
    """Walk; exit code 1 with the containers' logs where something is not as it must be."""
    walk = Walk()
    with _cleaned_up(walk, keep=keep), tempfile.TemporaryDirectory() as folder:
        walk.build()
        walk.up()
        walk.look_at_the_guards()
        walk.look_at_the_page_and_the_metrics()
        with walk.new_user() as client:
            walk.upload(client, Path(folder))
            walk.adapt_and_segment(client)
            walk.kill_a_workers_process(client)
            walk.up("--no-recreate", "--scale", "worker-segment=3", segmenting=3)
            walk.kill_a_workers_container(client)
            walk.down_and_up_again(client)
            with tempfile.TemporaryDirectory() as files:
                walk.back_up_and_restore(client, Path(files))
                walk.change_the_passwords(client, Path(files))
        walk.say(f"the whole way is gone; the API listened on {walk.url}")


if __name__ == "__main__":
    typer.run(main)
