"""Files of people's own folders: there whole or not at all, and named by what goes wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path` when the block ends well, and is gone when it does not.

    Meanwhile it lies beside `path` under a name that no other file has. Raises OSError, which names `path`.
    """
    half = path.with_name(f".personalseg-{uuid4().hex}.part")
    try:
        with naming(path, instead_of=half):
            with half.open("xb") as file:
                yield file
            half.replace(path)
    finally:
        half.unlink(missing_ok=True)


@contextmanager
def naming(path: Path, *, instead_of: Path | None = None) -> Iterator[None]:
    """An OSError that names no file (as on a full disk), or `instead_of`, names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(instead_of)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
