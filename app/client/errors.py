"""What the client raises: the API's error tree, chosen by `code` first and by status where the code is new.

ClientError(Exception)             code, title, detail, status
├── ConnectionFailed               no answer: refused, reset, timed out (after the retries)
├── BadAnswer                      an answer that is not this API's (a proxy's page, another server)
├── BadLogin                       the address, token or user given cannot be one (`bad_url`, `bad_token`, `bad_user`); nothing was asked
├── NotLoggedIn                    neither the environment nor `personalseg login` says which server and token
├── ApiError                       the API answered with problem+json
│   ├── NotAuthorized              401, 403
│   ├── NotFound                   404
│   │   └── MaskNotReady           mask_not_ready; `job_url` where one is making it
│   ├── Conflict                   409
│   │   ├── GalleryEmpty           gallery_empty
│   │   └── GalleryTooSmall        gallery_too_small
│   ├── TooLarge                   413, 507
│   │   └── QuotaExceeded          quota_exceeded
│   ├── InvalidRequest             400, 415, 422 (and any other 4xx); `malformed_id`, `malformed_path` without asking (status 0)
│   │   ├── IdempotencyConflict    idempotency_conflict
│   │   └── RateLimited            429, after the retries; `retry_after_seconds`
│   └── ServerFailed               5xx; 503 only after the retries
│       └── NotInTime              504; `job_url` of the work that goes on
├── JobFailed                      a job ended `failed` or `cancelled`; carries the job
└── WaitTimedOut                   a job did not end in the time that the caller gave; carries the job
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.client.documents import Job


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

    def __init__(self, detail: str, status: int = 0) -> None:
        super().__init__("bad_answer", "Bad answer", detail, status)


class NoUser(ClientError, ValueError):
    """The method concerns a user, and none was named."""

    def __init__(self) -> None:
        detail = "This needs a user: Client(..., user_id=...) or client.for_user(client.create_user()); in the shell: PERSONALSEG_USER=ID."
        super().__init__("no_user", "No user", detail)


class BadLogin(ClientError, ValueError):
    """The address, the token or the user's id is none; the text quotes no token."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, "Bad login", detail)


class NotLoggedIn(ClientError):
    """It is not known which server to ask, or with which token."""

    def __init__(self, detail: str) -> None:
        super().__init__("not_logged_in", "Not logged in", detail)


class ApiError(ClientError):
    """The API refused the request; `problem` is its whole problem+json document."""

    def __init__(
        self,
        code: str,
        title: str,
        detail: str = "",
        status: int = 0,
        problem: dict[str, Any] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(code, title, detail, status)
        self.problem = problem or {}
        self.retry_after_seconds = retry_after_seconds

    @property
    def job_url(self) -> str | None:
        """Path of the job that the answer names, if it names one."""
        url = self.problem.get("job")
        return url if isinstance(url, str) else None


class NotAuthorized(ApiError):
    """401 or 403: no token, a wrong one, or one of the wrong kind."""


class NotFound(ApiError):
    """404: unknown, deleted, not ready, or somebody else's."""


class MaskNotReady(NotFound):
    """No mask of this photo by this model yet: segment it first."""


class Conflict(ApiError):
    """409: not possible in the present state."""


class GalleryEmpty(Conflict):
    """There is no photo to work on."""


class GalleryTooSmall(Conflict):
    """Too few photos to adapt to."""


class TooLarge(ApiError):
    """413 or 507: the request or the gallery has grown past a limit."""


class QuotaExceeded(TooLarge):
    """The user may not store or compute more."""


class InvalidRequest(ApiError):
    """Any other 4xx: the request itself is wrong. With status 0 this client has seen that, and asked nothing."""


class IdempotencyConflict(InvalidRequest):
    """The Idempotency-Key came before with another body."""


class RateLimited(InvalidRequest):
    """429: too many requests; ask again after `retry_after_seconds`."""


class ServerFailed(ApiError):
    """5xx: the fault is the server's."""


class NotInTime(ServerFailed):
    """504: the work goes on; `job_url` says where."""


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


OF_CODE: dict[str, type[ApiError]] = {
    "gallery_empty": GalleryEmpty,
    "gallery_too_small": GalleryTooSmall,
    "idempotency_conflict": IdempotencyConflict,
    "mask_not_ready": MaskNotReady,
    "quota_exceeded": QuotaExceeded,
}
OF_STATUS: dict[int, type[ApiError]] = {
    401: NotAuthorized,
    403: NotAuthorized,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    429: RateLimited,
    504: NotInTime,
    507: TooLarge,
}


def error_class(code: str, status: int) -> type[ApiError]:
    """The class of an answer with this code and status."""
    return OF_CODE.get(code) or OF_STATUS.get(status) or (ServerFailed if status >= 500 else InvalidRequest)
