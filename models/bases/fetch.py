"""The folder of fetched weights: from a publisher's checkpoint to a checked safetensors file, once, whoever asks first.

Per base: `NAME-SHA.safetensors` (SHA: the first digits of its own sha256) and the receipt `NAME.json`, which names that file, its whole
sha256 and the checkpoint it came from. The receipt is written last, by renaming: it is there only when everything is. Readers need no
lock. Writers hold `.NAME.lock`, so that two processes that want the same base fetch it once; temporary files (`.NAME~….part`) have names
of their own besides. A checkpoint is a pickle: it is read once, with `weights_only`, and deleted.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch
from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from torch import Tensor

from models.bases.download import RETRY_DELAYS, OnBytes, download, nothing
from models.bases.errors import BaseNotAvailable, CannotStore, Damaged, NotTrained, UnfitCheckpoint
from models.bases.info import BaseInfo, Published
from models.bases.weights import convert, flush, read_base_weights
from models.types import ModelFileError

LOCK_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Receipt:
    """What a base's weights in the folder are. `source_sha256`: of the checkpoint they came from, or of the installed file."""

    name: str
    file: str
    sha256: str
    byte_size: int
    source: str
    source_sha256: str


def default_folder() -> Path:
    """The user's cache folder, as the platform wants it."""
    return user_cache_path("personalseg") / "weights"


def is_present(info: BaseInfo, folder: Path) -> bool:
    """Whether the weights are there without a fetch: shipped, fetched or installed. Reads no weights. Raises BaseNotAvailable."""
    return info.weights is not None or _receipt(info, folder) is not None


def named(info: BaseInfo, folder: Path) -> str | None:
    """The sha256 that names the weights that are there, as `read` says, unread; None where there are none. Raises BaseNotAvailable."""
    if info.weights is not None:
        return info.sha256
    receipt = _receipt(info, folder)
    return receipt.source_sha256 if receipt is not None else None


def ensure(info: BaseInfo, folder: Path, *, mirror: str | None = None, on_bytes: OnBytes = nothing) -> None:
    """Fetches the weights where they are not present. Raises BaseNotAvailable, and what `on_bytes` raises."""
    if not is_present(info, folder):
        fetch(info, folder, mirror=mirror, on_bytes=on_bytes)


def read(info: BaseInfo, folder: Path) -> tuple[bytes, str]:
    """The weights file's content, checked, and the sha256 that names these weights for good (`BaseInfo.sha256`).

    Raises BaseNotAvailable; ModelFileError where a shipped file was changed.
    """
    if info.weights is not None:
        data = info.weights.read_bytes()
        if (found := hashlib.sha256(data).hexdigest()) != info.sha256:
            raise ModelFileError(f"{info.weights.name} has sha256 {found}, the registry says {info.sha256}: install the file again")
        return data, info.sha256
    receipt = _receipt(info, folder)
    if receipt is None:
        raise NotTrained(info.name) if info.must_be_trained else Damaged(info.name, "they have vanished")
    with _storing(f"The weights of {info.name}"):
        data = (folder / receipt.file).read_bytes()
    if hashlib.sha256(data).hexdigest() != receipt.sha256:
        raise Damaged(info.name, "another sha256 than when they were stored")
    return data, receipt.source_sha256


def fetch(
    info: BaseInfo,
    folder: Path,
    *,
    mirror: str | None = None,
    on_bytes: OnBytes = nothing,
    retry_delays: Sequence[float] = RETRY_DELAYS,
) -> Receipt:
    """Downloads, checks, converts and stores the weights; does nothing where they are there and whole.

    `mirror`: URL of a folder that holds the publisher's file under its own name. Raises BaseNotAvailable, and what `on_bytes` raises.
    """
    if info.published is None:
        raise NotTrained(info.name)
    with _locked(info.name, folder, on_bytes):
        if (receipt := _whole(info, folder)) is not None:
            return receipt
        state = checkpoint(info.published, folder, mirror=mirror, on_bytes=on_bytes, retry_delays=retry_delays)
        segmenter = info.build()
        try:
            segmenter.base.load_published(state)
            data = convert(segmenter)
        except (RuntimeError, ModelFileError) as error:
            raise UnfitCheckpoint(info.published.file, str(error).splitlines()[0]) from error
        return _store(info, folder, data, info.published.url, info.published.sha256)


def install(info: BaseInfo, folder: Path, file: Path) -> Receipt:
    """Takes a weights file that its user has trained (`models.train_base`) into the folder. Raises BaseNotAvailable, ModelFileError."""
    with _storing(file.name):
        data = file.read_bytes()
    read_base_weights(info.build(), data)
    with _locked(info.name, folder, nothing):
        return _store(info, folder, data, file.name, hashlib.sha256(data).hexdigest())


def checkpoint(
    published: Published,
    folder: Path,
    *,
    mirror: str | None = None,
    on_bytes: OnBytes = nothing,
    retry_delays: Sequence[float] = RETRY_DELAYS,
) -> Mapping[str, Tensor]:
    """A publisher's state dict; its file is in `folder` only while this runs. Raises BaseNotAvailable, and what `on_bytes` raises."""
    url = f"{(mirror or published.root).rstrip('/')}/{published.file}"
    with _locked(published.file, folder, on_bytes), _storing(published.file), _temporary(published.file, folder) as (file, path):
        download(url, published.sha256, published.byte_size, file, on_bytes=on_bytes, retry_delays=retry_delays)
        file.flush()
        try:
            state = read_state(path)
        except ValueError as error:
            raise UnfitCheckpoint(published.file, "it is not a state dict of tensors") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UnfitCheckpoint(published.file, "it is not a state dict of tensors")
    return state


def read_state(path: Path, device: torch.device | str = "cpu") -> Any:
    """What `torch.save` wrote: tensors and plain containers only. Raises ValueError where the file is nothing of the kind, OSError."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a file of PyTorch's with tensors only") from error


def _receipt(info: BaseInfo, folder: Path) -> Receipt | None:
    """What the folder has of this base; None where it has nothing, or weights of another checkpoint than the registry names now."""
    try:
        text = (folder / f"{info.name}.json").read_text()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CannotStore(f"The weights of {info.name}", error) from error
    try:
        receipt = Receipt(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise Damaged(info.name, "an unreadable receipt") from error
    if info.published is not None and receipt.source_sha256 != info.published.sha256:
        return None
    return receipt if (folder / receipt.file).is_file() else None


def _whole(info: BaseInfo, folder: Path) -> Receipt | None:
    """The receipt of weights that are there and unchanged."""
    try:
        receipt = _receipt(info, folder)
        if receipt is not None:
            read(info, folder)
    except Damaged:
        return None
    return receipt


def _store(info: BaseInfo, folder: Path, data: bytes, source: str, source_sha256: str) -> Receipt:
    sha256 = hashlib.sha256(data).hexdigest()
    receipt = Receipt(info.name, f"{info.name}-{sha256[:12]}.safetensors", sha256, len(data), source, source_sha256)
    with _storing(f"The weights of {info.name}"):
        _put(info.name, folder / receipt.file, data)
        _put(info.name, folder / f"{info.name}.json", json.dumps(asdict(receipt), indent=2).encode())
        for older in folder.glob(f"{info.name}-*.safetensors"):
            if older.name != receipt.file:
                older.unlink(missing_ok=True)
    return receipt


def _put(key: str, target: Path, data: bytes) -> None:
    with _temporary(key, target.parent) as (file, path):
        file.write(data)
        file.flush()
        flush(path)
        path.replace(target)
    flush(target.parent)


@contextmanager
def _temporary(key: str, folder: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A file of a name that nobody else has; gone at the end unless it was renamed."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{key}~", suffix=".part", delete=False) as file:
        path = Path(file.name)
        try:
            yield file, path
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _locked(key: str, folder: Path, on_bytes: OnBytes) -> Iterator[None]:
    """Alone with `key`'s files among all processes; the lock goes with its process, and what a dead one left half is swept."""
    with _storing("The lock of the weights"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{key}.lock")
        while True:
            on_bytes(0, 0)
            try:
                lock.acquire(timeout=LOCK_LOOK_SECONDS)
                break
            except Timeout:
                continue
    try:
        with _storing("What an earlier fetch left"):
            for left in folder.glob(f".{key}~*.part"):
                left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


@contextmanager
def _storing(what: str) -> Iterator[None]:
    try:
        yield
    except BaseNotAvailable:
        raise
    except OSError as error:
        raise CannotStore(what, error) from error
