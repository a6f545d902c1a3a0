"""What a deployment stands on: its folder and its port."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import IO

from app.folder_lock import FolderInUse, lock_folder


class LocalError(Exception):
    """Why the deployment cannot run here, in one sentence for the person who started it."""


def take_folder(data_dir: Path) -> IO[str]:
    """The lock of the folder, which is made where there is none; raises LocalError."""
    try:
        return lock_folder(data_dir)
    except FolderInUse as error:
        raise LocalError(str(error)) from error
    except OSError as error:
        raise LocalError(f"The data folder {data_dir} cannot be written: {error.strerror or error}.") from error


def choose_port(host: str, wanted: int | None) -> int:
    """The wanted port if it is free (None or 0: any free one); raises LocalError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As uvicorn does: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted or 0))
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror or error})"
            raise LocalError(f"Port {wanted} on {host} {why}: choose another one with PERSONALSEG_PORT, or stop what holds it.") from error
        return int(probe.getsockname()[1])
