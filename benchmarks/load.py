"""Many users at once on a running deployment: how long uploads, polls and segmentations take, and whether anything is lost.

`python -m benchmarks.load --url http://127.0.0.1:8000 --token-file data/service-token [--users 1000 --photos 20000 --pollers 200]`

Every user uploads small photos, one a request, and starts a segmentation of them by the base (of the first so many with
`--segmented`, where the machine is slow and the API is what is to be measured); pollers ask all the while for jobs that were
started. At the end everything that the service has acknowledged is looked for again: each photo's bytes, each job and its
masks. Exit code 1 when something is lost. The users are erased afterwards, unless `--keep`.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Annotated, Any

import httpx
import typer
from PIL import Image

from benchmarks.load_table import Answers, rendered

_RETRY = frozenset({429, 503})
_RETRY_SECONDS = 1.0
_POLL_SECONDS = 0.5
_PAGE = 1000
_CLIENTS = 32
"""Connection pools: one with hundreds of connections looks at each of them at every request."""
_ENDED = frozenset({"succeeded", "refused", "failed", "cancelled"})


@dataclass
class User:
    """One user of the load, and what the service has acknowledged to them."""

    id: str
    headers: dict[str, str]
    photos: dict[str, str] = field(default_factory=dict)
    """sha256 of the bytes, by image id."""
    wanted: list[str] = field(default_factory=list)
    """Photos of the segmentation."""
    job_url: str = ""
    job_asked_at: float = 0.0
    job_seconds: float = 0.0
    job: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where everything of theirs is."""
        return f"/v1/users/{self.id}"


@dataclass
class Load:
    """One run: the deployment, how much, and what was measured."""

    callers: Iterator[httpx.AsyncClient]
    """The next one to send a request."""
    service_headers: dict[str, str]
    answers: Answers = field(default_factory=Answers)
    users: list[User] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    segmented: int | None = None
    """So many photos of each user, the first ones; None: all."""

    async def request(self, what: str, method: str, url: str, headers: dict[str, str], **options: Any) -> httpx.Response:
        """One request, sent again while the service says that it is busy; its time is that of all attempts."""
        started = time.perf_counter()
        while True:
            try:
                answer = await next(self.callers).request(method, url, headers=headers, **options)
            except httpx.TransportError as error:
                self.answers.failed(what, type(error).__name__)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if answer.status_code in _RETRY:
                self.answers.busy(what)
                await asyncio.sleep(float(answer.headers.get("Retry-After", _RETRY_SECONDS)))
                continue
            if answer.is_error:
                self.answers.failed(what, str(answer.status_code))
            self.answers.took(what, time.perf_counter() - started)
            return answer

    async def create_user(self, _number: int) -> None:
        """A new user, with their own token."""
        made = (await self.request("create user", "POST", "/v1/users", self.service_headers, json={})).json()
        self.users.append(User(made["id"], {"Authorization": f"Bearer {made['token']}"}))

    async def upload(self, user: User, photo: bytes) -> None:
        """One photo in one request."""
        files = [("files", ("photo.jpg", photo, "image/jpeg"))]
        answer = await self.request("upload", "POST", f"{user.url}/images", user.headers, files=files)
        if answer.is_success:
            (result,) = answer.json()["results"]
            if result["status"] == "rejected":
                self.answers.failed("upload", str(result.get("code")))
            else:
                user.photos[result["image_id"]] = hashlib.sha256(photo).hexdigest()

    async def segment(self, user: User) -> None:
        """Start a segmentation of what the user has."""
        user.job_asked_at = time.perf_counter()
        user.wanted = list(user.photos)[: self.segmented]
        wish = {"image_ids": user.wanted, "model": "base", "adapt": "never"}
        answer = await self.request("segment: accepted", "POST", f"{user.url}/segmentations", user.headers, json=wish)
        if answer.is_success:
            user.job_url = answer.headers["Location"]

    async def poll(self, random: Random, stopping: asyncio.Event) -> None:
        """Ask for jobs that go on, for galleries where there is none yet, until it is said to stop."""
        while not stopping.is_set():
            user = random.choice(self.users)
            # The job may be started while the answer is on its way.
            job_url = user.job_url
            answer = await self.request("poll", "GET", job_url or f"{user.url}/images?limit=20", user.headers)
            if job_url and answer.is_success:
                self.note(user, answer.json())
            await asyncio.sleep(_POLL_SECONDS)

    def note(self, user: User, job: dict[str, Any]) -> None:
        """What a poll says of the user's job; the first that sees its end counts."""
        if job["status"] in _ENDED and not user.job_seconds:
            user.job_seconds = time.perf_counter() - user.job_asked_at
            self.answers.took("segment: ended", user.job_seconds)
        user.job = job

    async def await_job(self, user: User) -> None:
        """Until the user's job has ended."""
        while user.job_url and user.job.get("status") not in _ENDED:
            self.note(user, (await self.request("poll", "GET", user.job_url, user.headers)).json())
            await asyncio.sleep(_POLL_SECONDS)

    async def look_again(self, user: User) -> None:
        """Everything acknowledged is there: bytes of each photo, its mask, the job and its items."""
        page = await self.request("look again", "GET", f"{user.url}/images?limit={_PAGE}", user.headers)
        listed = {image["id"] for image in page.json()["items"]}
        for image_id, sha256 in user.photos.items():
            content = await self.request("look again", "GET", f"{user.url}/images/{image_id}/content", user.headers, follow_redirects=True)
            if image_id not in listed or hashlib.sha256(content.content).hexdigest() != sha256:
                self.lost.append(f"photo {image_id}")
        if user.job_url:
            for image_id in user.wanted:
                mask = await self.request("look again", "GET", f"{user.url}/images/{image_id}/mask?model=base&format=json", user.headers)
                if not mask.is_success:
                    self.lost.append(f"mask of {image_id}")
            job = (await self.request("look again", "GET", user.job_url, user.headers)).json()
            if job.get("status") != "succeeded" or {item["image_id"] for item in job["items"]} != set(user.wanted):
                self.lost.append(f"job {user.job_url}: {job.get('status')} {job.get('error_code')}")

    async def erase(self, user: User) -> None:
        """As if the user had never been."""
        await self.request("erase", "DELETE", user.url, self.service_headers)


async def run(url: str, token: str, *, users: int, photos: int, pollers: int, uploaders: int, segmented: int | None, keep: bool) -> Load:
    """The whole load; returns what was measured."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with AsyncExitStack() as stack:
        clients = [httpx.AsyncClient(base_url=url, timeout=120.0, limits=limits, trust_env=False) for _ in range(_CLIENTS)]
        for client in clients:
            await stack.enter_async_context(client)
        load = Load(cycle(clients), {"Authorization": f"Bearer {token}"}, segmented=segmented)
        await _all(range(users), load.create_user, uploaders)
        async with _pollers(load, pollers):
            with load.answers.phase("upload"):
                await _all(_photos(load.users, photos), lambda sent: load.upload(*sent), uploaders)
            with load.answers.phase("segment"):
                await _all(load.users, load.segment, uploaders)
                await _all(load.users, load.await_job, pollers)
        await _all(load.users, load.look_again, uploaders)
        if not keep:
            await _all(load.users, load.erase, uploaders)
        return load


@asynccontextmanager
async def _pollers(load: Load, count: int) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    tasks = [asyncio.create_task(load.poll(Random(number), stopping)) for number in range(count)]
    try:
        yield
    finally:
        stopping.set()
        await asyncio.gather(*tasks)


async def _all(items: Iterable[Any], action: Callable[[Any], Awaitable[None]], at_once: int) -> None:
    """The action for every item, so many at a time."""
    source = iter(items)

    async def work() -> None:
        for item in source:
            await action(item)

    await asyncio.gather(*(work() for _ in range(at_once)))


def _photos(users: list[User], count: int) -> Iterator[tuple[User, bytes]]:
    """Different small photos, one user after the other."""
    picture = Image.effect_noise((160, 120), 60).convert("RGB")
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=80)
    start, rest = encoded.getvalue()[:2], encoded.getvalue()[2:]
    for number in range(count):
        comment = f"photo {number}".encode()
        yield users[number % len(users)], start + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + rest


def main(
    url: Annotated[str, typer.Option(help="The deployment.")] = "http://127.0.0.1:8000",
    token_file: Annotated[Path, typer.Option(help="File of a service token.")] = Path("data/service-token"),
    users: Annotated[int, typer.Option(min=1)] = 1000,
    photos: Annotated[int, typer.Option(min=1, help="Of all users together.")] = 20_000,
    pollers: Annotated[int, typer.Option(min=1, help="Callers who ask for jobs all the while.")] = 200,
    uploaders: Annotated[int, typer.Option(min=1, help="Uploads at the same time.")] = 32,
    segmented: Annotated[int | None, typer.Option(min=1, help="Photos of each user to segment. Default: all.")] = None,
    keep: Annotated[bool, typer.Option(help="Leave the users there.")] = False,
) -> None:
    """Put the load on the deployment and print what it took."""
    token = token_file.read_text().strip()
    load = asyncio.run(run(url, token, users=users, photos=photos, pollers=pollers, uploaders=uploaders, segmented=segmented, keep=keep))
    options = {"users": users, "photos": photos, "pollers": pollers, "uploaders": uploaders, "segmented": segmented}
    print(", ".join(f"{name}: {'all' if value is None else value}" for name, value in options.items()))
    print(rendered(load.answers))
    acknowledged = sum(len(user.photos) for user in load.users)
    jobs = sum(bool(user.job_url) for user in load.users)
    print(f"acknowledged: {acknowledged} photos, {jobs} jobs; lost: {len(load.lost)}")
    for line in load.lost[:20]:
        print(f"  lost: {line}")
    sys.exit(1 if load.lost or acknowledged < photos or jobs < users else 0)


if __name__ == "__main__":
    typer.run(main)
