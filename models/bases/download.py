"""One file from the network: streamed, bounded, checked, tried again where that can help. Knows nothing of bases."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import IO

import httpx

from models.bases.errors import CutOff, FetchError, Refused, Unreachable, WrongFile

CHUNK = 1 << 18  # bytes between two looks at `on_bytes`
TIMEOUT = httpx.Timeout(30.0, connect=10.0)  # seconds without a byte; the whole download may take as long as it needs
RETRY_DELAYS = (1.0, 4.0, 15.0)  # seconds before each further attempt

OnBytes = Callable[[int, int], None]
"""Told (bytes so far, bytes in all) about every CHUNK; what it raises breaks the download off."""


def nothing(done: int, total: int) -> None:
    """An `OnBytes` that does nothing."""


def download(
    url: str, sha256: str, byte_size: int, target: IO[bytes], *, on_bytes: OnBytes = nothing, retry_delays: Sequence[float] = RETRY_DELAYS
) -> None:
    """Writes the file at `url` to `target`, from its beginning. Raises FetchError, OSError, and what `on_bytes` raises."""
    for delay in (*retry_delays, None):
        try:
            return _attempt(url, sha256, byte_size, target, on_bytes)
        except FetchError as error:
            if delay is None or not error.transient:
                raise
        _wait(delay, lambda: on_bytes(0, byte_size))
    raise AssertionError("the last attempt returns or raises")


def _attempt(url: str, sha256: str, byte_size: int, target: IO[bytes], on_bytes: OnBytes) -> None:
    """Nothing half is resumed: every attempt starts at byte 0. Messages show the address without a password."""
    shown = _without_password(url)
    target.seek(0)
    target.truncate()
    digest, done = hashlib.sha256(), 0
    try:
        with httpx.stream("GET", url, timeout=TIMEOUT, follow_redirects=True, headers={"Accept-Encoding": "identity"}) as response:
            if response.status_code != httpx.codes.OK:
                raise Refused(shown, response.status_code, response.reason_phrase)
            announced = int(response.headers.get("Content-Length", byte_size))
            try:
                for chunk in response.iter_bytes(CHUNK):
                    done += len(chunk)
                    if done > byte_size:
                        raise WrongFile(shown, f"more than {byte_size} bytes", f"{byte_size} bytes")
                    digest.update(chunk)
                    target.write(chunk)
                    on_bytes(done, byte_size)
            except httpx.RemoteProtocolError as error:
                raise CutOff(shown, done, announced) from error
    except httpx.UnsupportedProtocol as error:
        raise FetchError(f"{shown} cannot be fetched: an address begins with http:// or https://. Correct the mirror's address.") from error
    except (httpx.TransportError, httpx.TooManyRedirects) as error:
        raise Unreachable(shown, str(error) or type(error).__name__) from error
    if done < byte_size and "Content-Length" not in response.headers:
        raise CutOff(shown, done, byte_size)
    if (found := digest.hexdigest()) != sha256:
        raise WrongFile(shown, f"sha256 {found}, {done} bytes", f"sha256 {sha256}, {byte_size} bytes")


def _without_password(url: str) -> str:
    try:
        return str(httpx.URL(url).copy_with(userinfo=b""))
    except httpx.InvalidURL as error:
        raise FetchError(f"The address to fetch weights from cannot be read ({error}). Correct the mirror's address.") from error


def _wait(seconds: float, look: Callable[[], None]) -> None:
    """Sleeps, but looks twice a second whether to go on."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        look()
        time.sleep(min(0.5, left))
