"""The Python client of the REST API, over httpx. Imports no torch and no numpy.

    from app.client import Client

    client = Client("http://127.0.0.1:8000", token)              # a service token
    mine = client.for_user(client.create_user())                 # acts as that user from here on
    mine.upload(Path("photos").rglob("*.jpg"))
    mine.wait(mine.adapt(), on_progress=lambda job: print(job.stage, job.percent))
    mine.wait(mine.segment("all"))
    png = mine.mask(mine.images()[0].id)

Errors:

    ClientError(Exception)             code, title, detail, status
    ├── ConnectionFailed               no answer: refused, reset, timed out (after the retries)
    ├── BadAnswer                      an answer that is not this API's (a proxy's page, another server)
    ├── ApiError                       the API answered with problem+json
    │   ├── NotAuthorized              401, 403
    │   ├── NotFound                   404
    │   ├── Conflict                   409
    │   ├── TooLarge                   413, 507
    │   ├── InvalidRequest             400, 415, 422 (and any other 4xx)
    │   └── ServerFailed               5xx; 503 only after the retries
    ├── JobFailed                      a job ended `failed` or `cancelled`; carries the job
    └── WaitTimedOut                   a job did not end in the time that the caller gave; carries the job
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

JsonObject = dict[str, Any]
JobKind = Literal["adaptation", "segmentation"]
ModelChoice = Literal["personal", "base"] | int
MaskFormat = Literal["png", "overlay", "confidence"]

BATCH_FILES = 16
BATCH_BYTES = 64 * 1024 * 1024
"""An upload request carries at most so many files and bytes (a single larger file goes alone)."""
PAGE_ENTRIES = 500
RETRIES = 5
FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 8.0
REQUEST_TIMEOUT_SECONDS = 120.0
POLL_SECONDS = 0.5
LONGEST_POLL_SECONDS = 5.0

ENDED = frozenset({"succeeded", "refused", "failed", "cancelled"})


# Errors ---------------------------------------------------------------------------------------------------------------


class ClientError(Exception):
    """Anything the client raises: `code` is for programs; `detail` is for people; `status` is 0 without answer."""

    def __init__(self, code: str, title: str, detail: str = "", status: int = 0) -> None:
        super().__init__(detail or title)
        self.code = code
        self.title = title
        self.detail = detail or title
        self.status = status

    def __str__(self) -> str:
        return f"{self.detail} [{self.code}]"


class ConnectionFailed(ClientError):
    """The server gave no answer."""


class BadAnswer(ClientError):
    """The answer is not one of this API."""


class ApiError(ClientError):
    """The API refused the request; `problem` is its whole problem+json document."""

    def __init__(self, code: str, title: str, detail: str = "", status: int = 0, problem: JsonObject | None = None) -> None:
        super().__init__(code, title, detail, status)
        self.problem = problem or {}


class NotAuthorized(ApiError):
    """401 or 403: no token, a wrong one, or one of the wrong kind."""


class NotFound(ApiError):
    """404: unknown, deleted, not ready, or somebody else's."""


class Conflict(ApiError):
    """409: not possible in the present state, e.g. adapting an empty gallery."""


class TooLarge(ApiError):
    """413 or 507: the request or the gallery has grown past a limit."""


class InvalidRequest(ApiError):
    """Any other 4xx: the request itself is wrong."""


class ServerFailed(ApiError):
    """5xx: the fault is the server's."""


class JobFailed(ClientError):
    """The job ended without a result."""

    def __init__(self, job: Job) -> None:
        reason = job.error_reason or f"The {job.kind or 'job'} was {job.status}."
        super().__init__(job.error_code or job.status, f"Job {job.status}", reason)
        self.job = job


class WaitTimedOut(ClientError):
    """The job is still going on; it was not cancelled."""

    def __init__(self, job: Job, seconds: float) -> None:
        super().__init__("wait_timed_out", "Still not done", f"Job {job.id} is still {job.status} after {seconds:.0f} s.")
        self.job = job


_ERROR_OF_STATUS: dict[int, type[ApiError]] = {
    401: NotAuthorized,
    403: NotAuthorized,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    507: TooLarge,
}


# Documents: what the API answers. Unknown fields are ignored, so that a newer server still works. ---------------------


class Document(BaseModel):
    """Base of all answers: frozen, tolerant of fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class User(Document):
    """A user; `token` is there only in the answer that created it."""

    id: str
    external_id: str | None = None
    token: str | None = None


class Image(Document):
    """A photo of the gallery; width and height are those of the upright photo, in pixels."""

    id: str
    filename: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    group_index: int | None = None


class Item(Document):
    """One photo of a segmentation: `pending`, `done` or `failed`."""

    image_id: str
    filename: str = ""
    status: str = "pending"
    error_code: str | None = None
    error_reason: str | None = None


class Span(Document):
    """One stage of a job; times are ISO 8601 in UTC."""

    stage: str
    started_at: str | None = None
    finished_at: str | None = None


class Job(Document):
    """An adaptation or a segmentation, as it stands."""

    id: str
    kind: str = ""
    status: str
    base: str | None = None
    stage: str | None = None
    step: int | None = None
    steps: int | None = None
    percent: float | None = None
    eta_seconds: float | None = None
    queue_position: int | None = None
    cancel_requested: bool = False
    depends_on: str | None = None
    attempt: int = 0
    model_version: int | None = None
    error_code: str | None = None
    error_reason: str | None = None
    report: JsonObject | None = None
    timeline: tuple[Span, ...] = ()
    items: tuple[Item, ...] = ()

    @property
    def ended(self) -> bool:
        """True once nothing more will happen to it."""
        return self.status in ENDED

    def require_success(self) -> Self:
        """The job itself, when it succeeded or was refused (a refusal is an answer: the base is kept).

        Raises:
            JobFailed: it failed or was cancelled.
        """
        if self.status in {"failed", "cancelled"}:
            raise JobFailed(self)
        return self


class PersonalModel(Document):
    """A version of the user's own model."""

    version: int
    base: str = ""
    active: bool = False
    report: JsonObject | None = None


class ClassInfo(Document):
    """A class of a base; `color` is (red, green, blue), each 0 to 255."""

    id: int
    name: str
    color: tuple[int, int, int] = (0, 0, 0)


class BaseInfo(Document):
    """A base model that the deployment offers."""

    name: str
    title: str = ""
    licence: str = ""
    is_default: bool = False
    classes: tuple[ClassInfo, ...] = ()
    scores: JsonObject = Field(default_factory=dict)
    context: str = "trained"
    weights_present: bool = True


@dataclass(frozen=True)
class UploadResult:
    """What became of one file: `stored`, `duplicate` (with the id of the photo that is there already) or `rejected`."""

    path: Path
    status: str
    image_id: str | None = None
    code: str | None = None
    reason: str | None = None


DocumentT = TypeVar("DocumentT", bound=Document)


# The client -----------------------------------------------------------------------------------------------------------


class Client:
    """Talks to one deployment with one token; made for one thread.

    A method that concerns a user needs `user_id`: give it here, or take `for_user`.

    Args:
        base_url: e.g. `http://127.0.0.1:8000`.
        token: a service token, or the token of the user `user_id`.
        user_id: the user that the gallery methods act for.
        timeout_seconds: of one request.
        retries: how often an idempotent request is sent again after a connection error or a 503.
        transport: for tests.
        sleep: for tests.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        user_id: str | None = None,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
        retries: int = RETRIES,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.user_id = user_id
        self._retries = retries
        self._sleep = sleep
        self._timeout_seconds = timeout_seconds
        self._transport = transport
        self._http = httpx.Client(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_seconds,
            transport=transport,
            trust_env=False,  # a proxy of the environment is never meant for the deployment next door
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def for_user(self, user: User) -> Client:
        """A client that acts as this user: with the user's own token where it is known, else with the present one."""
        token = user.token or self._http.headers["Authorization"].removeprefix("Bearer ")
        return Client(
            self.base_url,
            token,
            user_id=user.id,
            timeout_seconds=self._timeout_seconds,
            retries=self._retries,
            transport=self._transport,
            sleep=self._sleep,
        )

    # Users, bases, classes

    def create_user(self, external_id: str | None = None) -> User:
        """Make a user (service token only); its token is in the answer, this once."""
        body = {} if external_id is None else {"external_id": external_id}
        return _parse(User, self._json("POST", "/v1/users", json=body))

    def erase(self) -> JsonObject:
        """Erase the user: rows, photos, masks, models, running jobs. Answers with what was removed."""
        document: JsonObject = self._json("DELETE", self._path().rstrip("/"))
        return document

    def bases(self) -> list[BaseInfo]:
        """The base models."""
        return [_parse(BaseInfo, entry) for entry in _entries(self._json("GET", "/v1/bases"), "items")]

    def classes(self, base: str | None = None) -> list[ClassInfo]:
        """Class ids, names and colours of a base (by default the default one)."""
        query = {} if base is None else {"base": base}
        return [_parse(ClassInfo, entry) for entry in _entries(self._json("GET", "/v1/classes", params=query), "items")]

    # Photos

    def upload(
        self,
        paths: Iterable[Path | str],
        *,
        on_result: Callable[[UploadResult], None] | None = None,
        batch_files: int = BATCH_FILES,
        batch_bytes: int = BATCH_BYTES,
    ) -> list[UploadResult]:
        """Send photos, lazily taken from `paths` and streamed from disk; one result per file, in the order given.

        A file that cannot be read or that the server rejects spoils no other. Sending again is harmless: the server
        knows a photo by its bytes and answers `duplicate`, therefore a lost connection is simply retried.

        Raises:
            ClientError: a whole request was refused (no such user, quota) or got no answer.
        """
        results: list[UploadResult] = []
        for batch in _batches(map(Path, paths), batch_files, batch_bytes):
            for result in self._upload_batch(batch):
                results.append(result)
                if on_result is not None:
                    on_result(result)
        return results

    def images(self) -> list[Image]:
        """The whole gallery, page by page."""
        return list(self.iter_images())

    def iter_images(self) -> Iterator[Image]:
        """The gallery in the order of arrival, a page fetched when it is needed."""
        return (_parse(Image, entry) for entry in self._pages(self._path("images")))

    def delete_image(self, image_id: str) -> None:
        """Remove a photo and its masks."""
        self._send("DELETE", self._path("images", image_id))

    # Jobs

    def adapt(
        self,
        *,
        budget_seconds: float | None = None,
        base: str | None = None,
        seed: int | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Start a personalisation (or get the one that is under way)."""
        wish = {"budget_seconds": budget_seconds, "base": base, "seed": seed}
        body = {name: value for name, value in wish.items() if value is not None}
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return self._as_job(self._json("POST", self._path("adaptations"), json=body, headers=headers), "adaptation")

    def segment(
        self,
        image_ids: Sequence[str] | Literal["all"] = "all",
        *,
        model: ModelChoice = "personal",
        adapt: Literal["auto", "always", "never"] = "auto",
        base: str | None = None,
        wait_seconds: float = 0,
    ) -> Job:
        """Segment photos with the personal model, the base (`"base"`) or a version; `auto` adapts first when due."""
        body: JsonObject = {
            "image_ids": image_ids if image_ids == "all" else list(image_ids),
            "model": model,
            "adapt": adapt,
        }
        if base is not None:
            body["base"] = base
        if wait_seconds:
            body["wait"] = wait_seconds
        return self._as_job(self._json("POST", self._path("segmentations"), json=body), "segmentation")

    def job(self, kind: JobKind, job_id: str) -> Job:
        """The job as it stands now."""
        return self._as_job(self._json("GET", self._path(f"{kind}s", job_id)), kind)

    def jobs(self, kind: JobKind) -> Iterator[Job]:
        """The user's jobs of this kind, newest first, a page fetched when it is needed."""
        return (self._as_job(entry, kind) for entry in self._pages(self._path(f"{kind}s")))

    def cancel(self, job: Job) -> Job:
        """Ask a job to stop; it ends within seconds."""
        return self._as_job(self._json("POST", self._path(f"{job.kind}s", job.id, "cancel")), job.kind)

    def wait(
        self,
        job: Job,
        on_progress: Callable[[Job], None] | None = None,
        *,
        timeout_seconds: float | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> Job:
        """Poll until the job has ended; returns its last document, whatever the end (see `Job.require_success`).

        Raises:
            WaitTimedOut: it has not ended within `timeout_seconds`.
        """
        started = time.monotonic()
        path = self._path(f"{job.kind}s", job.id)
        while True:
            answer = self._send("GET", path)
            job = self._as_job(_body(answer), job.kind)
            if on_progress is not None:
                on_progress(job)
            if job.ended:
                return job
            if timeout_seconds is not None and time.monotonic() - started >= timeout_seconds:
                raise WaitTimedOut(job, timeout_seconds)
            # The server's wish counts down to a second at most while a caller watches a progress bar.
            self._sleep(min(poll_seconds, _retry_after(answer) or poll_seconds, LONGEST_POLL_SECONDS))

    # Masks and models

    def mask(self, image_id: str, *, model: ModelChoice = "personal", format: MaskFormat = "png") -> bytes:
        """A PNG at the photo's own upright size: class ids as a palette, overlay, or confidence (255 = certain).

        Raises:
            NotFound: `mask_not_ready`: segment the photo first.
        """
        query: dict[str, str | int] = {"model": model, "format": format}
        return self._send("GET", self._path("images", image_id, "mask"), params=query).content

    def mask_document(self, image_id: str, *, model: ModelChoice = "personal", format: Literal["json", "rle"] = "json") -> JsonObject:
        """The mask in numbers: classes with area share and mean confidence, or COCO run lengths (`rle`)."""
        query: dict[str, str | int] = {"model": model, "format": format}
        document: JsonObject = self._json("GET", self._path("images", image_id, "mask"), params=query)
        return document

    def overlay(self, image_id: str, *, model: ModelChoice = "personal") -> bytes:
        """The photo with its classes laid over it, as a PNG."""
        return self.mask(image_id, model=model, format="overlay")

    def content(self, image_id: str) -> bytes:
        """The photo as it was uploaded."""
        return self._send("GET", self._path("images", image_id, "content")).content

    def models(self) -> list[PersonalModel]:
        """All versions of the user's model."""
        return [_parse(PersonalModel, entry) for entry in _entries(self._json("GET", self._path("models")), "items")]

    def activate(self, version: int) -> PersonalModel:
        """Make a version the one in use."""
        return _parse(PersonalModel, self._json("POST", self._path("models", str(version), "activate")))

    # Below: one request

    def _path(self, *parts: str) -> str:
        if self.user_id is None:
            raise ValueError("This needs a user: Client(..., user_id=...) or client.for_user(client.create_user()).")
        return "/".join(("/v1/users", self.user_id, *parts))

    def _pages(self, path: str) -> Iterator[Any]:
        """The entries of all pages."""
        query: dict[str, str | int] = {"limit": PAGE_ENTRIES}
        while True:
            page = self._json("GET", path, params=query)
            yield from _entries(page, "items")
            if not isinstance(page, dict) or page.get("next_cursor") is None:
                return
            query["cursor"] = page["next_cursor"]

    def _as_job(self, document: Any, kind: str) -> Job:
        return _parse(Job, _with_kind(document, kind))

    def _upload_batch(self, batch: Sequence[Path]) -> list[UploadResult]:
        """Send a batch; where the whole request is too large, its files one by one: only the culprit is rejected."""
        readable = [path for path in batch if _is_readable(path)]
        try:
            sent = dict(zip(readable, self._post_files(readable), strict=True)) if readable else {}
        except TooLarge as error:
            if error.status != 413:
                raise
            if len(readable) == 1:
                sent = {readable[0]: UploadResult(readable[0], "rejected", code=error.code, reason=error.detail)}
            else:
                sent = {path: self._upload_batch([path])[0] for path in readable}
        return [sent.get(path) or _unreadable(path) for path in batch]

    def _post_files(self, paths: Sequence[Path]) -> list[UploadResult]:
        def attempt() -> httpx.Response:
            with ExitStack() as opened:  # opened anew for every attempt: a failed one has read them to some point
                files = [("files", (path.name, opened.enter_context(path.open("rb")))) for path in paths]
                return self._http.post(self._path("images"), files=files)

        answers = _entries(_body(self._attempts(attempt, retry=True)), "results")
        if len(answers) != len(paths):
            raise BadAnswer("bad_answer", "Bad answer", f"{len(paths)} files were sent, {len(answers)} results came back.")
        return [_upload_result(path, answer) for path, answer in zip(paths, answers, strict=True)]

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return _body(self._send(method, path, **options))

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._attempts(lambda: self._http.request(method, path, **options), retry=method == "GET")

    def _attempts(self, attempt: Callable[[], httpx.Response], *, retry: bool) -> httpx.Response:
        """Run a request until it is answered by something other than 503, at most `retries` + 1 times."""
        left = self._retries if retry else 0
        backoff_seconds = FIRST_BACKOFF_SECONDS
        while True:
            try:
                answer = attempt()
            except httpx.TransportError as error:
                if left == 0:
                    raise _no_answer(self.base_url, error) from error
                pause_seconds = backoff_seconds
            else:
                if answer.status_code != 503 or left == 0:
                    return _checked(answer)
                pause_seconds = max(backoff_seconds, _retry_after(answer) or 0)
            left -= 1
            # Jitter keeps many clients from coming back at the same instant.
            self._sleep(min(pause_seconds, LONGEST_BACKOFF_SECONDS) * random.uniform(0.8, 1.0))  # noqa: S311
            backoff_seconds *= 2


# Answers --------------------------------------------------------------------------------------------------------------


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    raise _error_of(answer)


def _error_of(answer: httpx.Response) -> ClientError:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "code" not in problem:
        detail = f"The server answered {answer.status_code} without saying why; is {answer.url} a personalseg deployment?"
        return BadAnswer("bad_answer", "Bad answer", detail, answer.status_code)
    fallback = ServerFailed if answer.status_code >= 500 else InvalidRequest
    kind = _ERROR_OF_STATUS.get(answer.status_code, fallback)
    title = str(problem.get("title", ""))
    return kind(str(problem["code"]), title, str(problem.get("detail") or ""), answer.status_code, problem)


def _no_answer(base_url: str, error: httpx.TransportError) -> ConnectionFailed:
    what = "took too long to answer" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    return ConnectionFailed("no_answer", "No answer", f"The server at {base_url} {what} ({error or type(error).__name__}).")


def _body(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise BadAnswer("bad_answer", "Bad answer", f"{answer.url} did not answer with JSON.", answer.status_code) from error


def _parse(kind: type[DocumentT], document: Any) -> DocumentT:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadAnswer("bad_answer", "Bad answer", f"The server's {kind.__name__} is not understood: {where}: {first['msg']}.") from error


def _entries(document: Any, key: str) -> list[Any]:
    """The list that the document holds under `key`."""
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise BadAnswer("bad_answer", "Bad answer", f"The server's answer has no list of {key}.")
    return found


def _with_kind(document: Any, kind: str) -> Any:
    return {"kind": kind, **document} if isinstance(document, dict) else document


def _upload_result(path: Path, answer: Any) -> UploadResult:
    entry = answer if isinstance(answer, dict) else {}
    return UploadResult(
        path=path,
        status=str(entry.get("status", "rejected")),
        image_id=entry.get("image_id"),
        code=entry.get("code"),
        reason=entry.get("reason"),
    )


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds that the server asks to wait; None where it does not say, or says it as a date."""
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "")))
    except ValueError:
        return None


# Files ----------------------------------------------------------------------------------------------------------------


def _batches(paths: Iterable[Path], most_files: int, most_bytes: int) -> Iterator[list[Path]]:
    """Cut the stream of paths into batches under both bounds; a file above `most_bytes` is a batch of its own."""
    batch: list[Path] = []
    batch_bytes = 0
    for path in paths:
        size = _byte_size(path)
        if batch and (len(batch) >= most_files or batch_bytes + size > most_bytes):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(path)
        batch_bytes += size
    if batch:
        yield batch


def _byte_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError:
        return False
    return True


def _unreadable(path: Path) -> UploadResult:
    return UploadResult(path, "rejected", code="unreadable_file", reason=f"{path} cannot be read on this computer.")
