"""What a worker process keeps in memory between jobs: each base once, and the personal models used last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from app.tenancy import require_user
from models import Base, BaseInfo, PersonalModel, available_bases, load_base
from models.bases.download import OnBytes, nothing
from models.bases.fetch import default_folder, is_present, named


@dataclass(frozen=True)
class ModelKey:
    """Names one personal model's bytes; the hash keeps a reused version number from meaning two models."""

    user_id: str
    version: int
    sha256: str


class CacheCounts(NamedTuple):
    """How a cache is doing, for the metrics."""

    hits: int
    misses: int
    entries: int
    byte_size: int


class UnknownBase(Exception):
    """No base of this name is installed here."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"There is no base model named {name!r} here. There are: {', '.join(known)}.")


class BaseCache:
    """One loaded base per name; weights that are not here are fetched into `weights_dir`.

    A base is loaded once, and again where its user has trained and installed other weights since.
    """

    def __init__(self, device: str, weights_dir: Path | None = None, mirror: str | None = None) -> None:
        self._device = device
        self._weights_dir = weights_dir or default_folder()
        self._mirror = mirror
        self._loaded: dict[str, Base] = {}

    def holds(self, name: str) -> bool:
        """Whether this base is in memory."""
        return name in self._loaded

    def has_weights(self, info: BaseInfo) -> bool:
        """Whether its weights are on this machine; raises BaseNotAvailable where that cannot be told."""
        return is_present(info, self._weights_dir)

    def get(self, name: str, on_bytes: OnBytes = nothing) -> Base:
        """The base of this name, fetched and loaded at the first call; `on_bytes` hears of a fetch and may break it off by raising.

        Raises UnknownBase, BaseNotAvailable, ModelFileError or OSError.
        """
        if name not in self._loaded or self._was_installed_anew(self._loaded[name]):
            known = [info.name for info in available_bases()]
            if name not in known:
                raise UnknownBase(name, known)
            self._loaded[name] = load_base(name, device=self._device, weights_dir=self._weights_dir, mirror=self._mirror, on_bytes=on_bytes)
        return self._loaded[name]

    def _was_installed_anew(self, base: Base) -> bool:
        return base.info.must_be_trained and named(base.info, self._weights_dir) not in (None, base.info.sha256)


class PersonalModelCache:
    """The personal models used last, within a bound on the bytes of their files. Other threads may count and forget."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[ModelKey, tuple[PersonalModel, int]] = OrderedDict()
        self._held_bytes = 0
        self._hits = 0
        self._misses = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: ModelKey, load: Callable[[], tuple[PersonalModel, int]]) -> PersonalModel:
        """The model under `key`, or what `load` gives (a model and the bytes of its file).

        Raises ForeignAccess when the job is another user's: being in memory is no permission.
        """
        require_user(key.user_id)
        with self._lock:
            if key in self._held:
                self._hits += 1
                self._held.move_to_end(key)
                return self._held[key][0]
            self._misses += 1
        model, byte_size = load()
        with self._lock:
            self._drop(key)
            self._held[key] = (model, byte_size)
            self._held_bytes += byte_size
            self._shrink()
        return model

    def counts(self) -> CacheCounts:
        """Look-ups so far and what is held now."""
        with self._lock:
            return CacheCounts(self._hits, self._misses, len(self._held), self._held_bytes)

    def user_ids(self) -> set[str]:
        """Whose models are held."""
        with self._lock:
            return {key.user_id for key in self._held}

    def forget(self, user_ids: set[str]) -> None:
        """Drop every model of these users."""
        with self._lock:
            for key in [key for key in self._held if key.user_id in user_ids]:
                self._drop(key)

    def _shrink(self) -> None:
        # The newest stays even when it alone is over the bound: its job is running.
        while self._held_bytes > self._max_bytes and len(self._held) > 1:
            self._drop(next(iter(self._held)))

    def _drop(self, key: ModelKey) -> None:
        _, byte_size = self._held.pop(key, (None, 0))
        self._held_bytes -= byte_size
