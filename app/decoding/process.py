"""One decoder process, seen from outside: started with nothing of ours, asked, and ended when it takes too long."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from app.child_environment import python_path
from app.decoding.errors import DecoderUnavailable, PhotoRejected
from app.decoding.limits import DecodingLimits
from app.decoding.wire import ConnectionEnded, receive_bytes, receive_message, send_message
from app.errors import StorageUnavailable

_START_SECONDS = 60.0


class DecoderProcess:
    """A running decoder. After anything but an answer it is dead, and `is_alive` says so."""

    def __init__(self, limits: DecodingLimits) -> None:
        self._limits = limits
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = _start(limits, theirs)
        self.requests = 0
        self.is_alive = True
        try:
            receive_message(self._connection, time.monotonic() + _START_SECONDS)
        except (ConnectionEnded, OSError) as error:
            self.end()
            raise DecoderUnavailable(f"A decoder process does not start (exit status {self._process.returncode}).") from error

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, request: dict[str, Any], descriptors: Sequence[int], most_bytes: int) -> tuple[dict[str, Any], bytearray]:
        """Its answer and the bytes after it; raises PhotoRejected, also where the file has killed it or takes too long.

        Raises StorageUnavailable where the file's bytes cannot be had.
        """
        deadline = time.monotonic() + self._limits.seconds
        self.requests += 1
        try:
            self._connection.settimeout(self._limits.seconds)
            send_message(self._connection, request, list(descriptors))
            answer = receive_message(self._connection, deadline)
            count = int(answer.get("bytes", 0))
            if not 0 <= count <= most_bytes:
                raise ConnectionEnded
            data = receive_bytes(self._connection, count, deadline)
        except TimeoutError as error:
            self.end()
            raise _too_slow(self._limits.seconds) from error
        except (ConnectionEnded, OSError, ValueError, TypeError) as error:
            self.end()
            raise self._told_end() from error
        if "rejected" in answer:
            raise PhotoRejected(str(answer["rejected"]), str(answer.get("reason", "")))
        if "unread" in answer:
            raise StorageUnavailable("The file system under the photo's file is in trouble.")
        return answer, data

    def end(self) -> None:
        """Kill it, at once."""
        self.is_alive = False
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _told_end(self) -> PhotoRejected:
        if self._process.returncode == -signal.SIGXCPU:
            return _too_slow(self._limits.seconds)
        return PhotoRejected("decoding_crashed", "The picture made its decoder fail.")


def _start(limits: DecodingLimits, theirs: socket.socket) -> subprocess.Popen[bytes]:
    # No token, address or proxy of ours; one memory arena, because each counts in full against the limit.
    environment = {"PYTHONPATH": python_path(), "MALLOC_ARENA_MAX": "1", "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-P", "-m", "app.decoding", json.dumps(limits.as_json())]
    return subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
        command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=environment, cwd="/", start_new_session=True, close_fds=True
    )


def _too_slow(seconds: float) -> PhotoRejected:
    return PhotoRejected("decoding_timeout", f"Decoding the picture takes longer than the {seconds:g} s that the service gives one.")
