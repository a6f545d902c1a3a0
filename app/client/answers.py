"""From an HTTP answer to a document or an error; and how long to wait before asking again. No I/O."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError

from app.client.documents import Document, UploadResult
from app.client.errors import ApiError, BadAnswer, ClientError, ConnectionFailed, error_class
from app.client.tls import FILE_VARIABLE, is_untrusted

FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 8.0
LONGEST_RETRY_AFTER_SECONDS = 60.0
"""A server that asks for more (a daily quota) is not waited for: the error says how long it is."""
_WHOLE_ZIP = Path("archive.zip")
"""Under this name the service refuses a zip that is the whole body of a request."""

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

DocumentT = TypeVar("DocumentT", bound=Document)


@dataclass
class Patience:
    """Decides after each attempt of one logical call whether, and after how many seconds, it is made again."""

    left: int
    backoff_seconds: float = FIRST_BACKOFF_SECONDS
    used: bool = False
    """Whether the call has been made again."""
    lost: bool = False
    """Whether the answer of an attempt was lost that the server may have got and done."""

    def pause_after(self, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds until the next attempt; None where the outcome stands."""
        # What this side refuses to send is not sent any better the next time.
        if self.left == 0 or isinstance(outcome, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
            return None
        if isinstance(outcome, httpx.TransportError) and is_untrusted(outcome):
            return None
        asked = retry_after(outcome) if isinstance(outcome, httpx.Response) else None
        if isinstance(outcome, httpx.Response) and not _passes(outcome.status_code, asked):
            return None
        self.left -= 1
        self.used = True
        self.lost |= isinstance(outcome, httpx.TransportError) and not isinstance(outcome, _NOT_SENT)
        backoff = min(self.backoff_seconds, LONGEST_BACKOFF_SECONDS)
        self.backoff_seconds *= 2
        # Jitter keeps many clients from coming back at the same instant; never earlier than the server asked for.
        return max(backoff * random.uniform(0.8, 1.0), asked or 0)  # noqa: S311


def _passes(status: int, asked_seconds: float | None) -> bool:
    """Whether an answer of this status may be another one after a while."""
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return asked_seconds is not None and asked_seconds <= LONGEST_RETRY_AFTER_SECONDS
    return status == httpx.codes.SERVICE_UNAVAILABLE and (asked_seconds or 0) <= LONGEST_RETRY_AFTER_SECONDS


def retry_after(answer: httpx.Response) -> float | None:
    """Seconds that the server asks to wait; None where it does not say, or says it as a date."""
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "")))
    except ValueError:
        return None


def checked(answer: httpx.Response) -> httpx.Response:
    """The answer itself when it is a success; raises what it means otherwise. Its body must have been read."""
    if answer.is_success:
        return answer
    raise error_of(answer)


def error_of(answer: httpx.Response) -> ClientError:
    """What an answer that is no success means."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "code" not in problem:
        detail = f"The server answered {answer.status_code} without saying why; is {answer.url} a personalseg deployment?"
        return BadAnswer(detail, answer.status_code)
    code, status = str(problem["code"]), answer.status_code
    kind: type[ApiError] = error_class(code, status)
    return kind(code, str(problem.get("title", "")), str(problem.get("detail") or ""), status, problem, retry_after(answer))


def no_answer(base_url: str, error: httpx.TransportError) -> ConnectionFailed:
    """What a lost connection means."""
    if isinstance(error, httpx.LocalProtocolError):  # its text quotes the header that is wrong
        return ConnectionFailed("no_answer", "No answer", f"The request to {base_url} could not be sent: something in it is malformed.")
    if is_untrusted(error):
        advice = f"If it is one of your own authority, name that authority's file in {FILE_VARIABLE}."
        return ConnectionFailed(
            "untrusted_certificate", "Certificate not trusted", f"The certificate of {base_url} is not trusted. {advice}"
        )
    what = "took too long to answer" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    return ConnectionFailed("no_answer", "No answer", f"The server at {base_url} {what} ({error or type(error).__name__}).")


def body(answer: httpx.Response) -> Any:
    """The answer's JSON."""
    try:
        return answer.json()
    except ValueError as error:
        raise BadAnswer(f"{answer.url} did not answer with JSON.", answer.status_code) from error


def parse(kind: type[DocumentT], document: Any) -> DocumentT:
    """The document as what it should be; raises BadAnswer."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadAnswer(f"The server's {kind.__name__} is not understood: {where}: {first['msg']}.") from error


def entries(document: Any, key: str) -> list[Any]:
    """The list that the document holds under `key`."""
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise BadAnswer(f"The server's answer has no list of {key}.")
    return found


def with_kind(document: Any, kind: str) -> Any:
    """A job's document, which may lack its kind."""
    return {"kind": kind, **document} if isinstance(document, dict) else document


def upload_results(paths: Sequence[Path], document: Any) -> dict[Path, list[UploadResult]] | None:
    """The results of each file; None where they cannot be told apart: one of several files is a zip of photos after all.

    A single file's results are all its own: where there are several, they go by the names of its entries.
    """
    answers = entries(document, "results")
    if len(answers) == len(paths):
        return {
            path: [_upload_result(path, answer if isinstance(answer, dict) else {})] for path, answer in zip(paths, answers, strict=True)
        }
    if len(paths) > 1:
        return None
    if not answers:
        raise BadAnswer("A file was sent, and no result came back.")
    return {paths[0]: entry_results(document)}


def entry_results(document: Any) -> list[UploadResult]:
    """One result per entry of a zip, by the entry's name."""
    found = [answer if isinstance(answer, dict) else {} for answer in entries(document, "results")]
    return [_upload_result(Path(str(answer.get("filename", ""))), answer) for answer in found]


def of_zip(path: Path, results: list[UploadResult]) -> list[UploadResult]:
    """The results of a zip's entries; where it was refused as a whole, which the service tells under a name of its own, of the file."""
    if [result.path for result in results] == [_WHOLE_ZIP] and results[0].status == "rejected":
        return [replace(results[0], path=path)]
    return results


def _upload_result(path: Path, entry: dict[str, Any]) -> UploadResult:
    status = str(entry.get("status", "rejected"))
    return UploadResult(path, status, entry.get("image_id"), entry.get("code"), entry.get("reason"))
