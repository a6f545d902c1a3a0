"""The caches of a worker process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.bases.registry import find_base
from tests.workers.conftest import BASE
from workers.cache import BaseCache, ModelKey, PersonalModelCache, UnknownBase


def key(number: int, user: str = "u") -> ModelKey:
    return ModelKey(user, number, f"{number:064d}")


class Loader:
    """Counts how often it is asked; each model is a new object of `size` bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.calls = 0

    def __call__(self) -> tuple[Any, int]:
        self.calls += 1
        return object(), self.size


def test_a_base_is_loaded_once(bases: BaseCache) -> None:
    assert bases.get(BASE) is bases.get(BASE)


def test_a_base_that_its_user_has_installed_anew_is_loaded_again(bases: BaseCache, monkeypatch: pytest.MonkeyPatch) -> None:
    name, cache = "pspnet_resnet50", BaseCache("cpu")
    first = replace(bases.get(BASE), info=replace(find_base(name), sha256="a" * 64))
    second = replace(first, info=replace(first.info, sha256="b" * 64))
    there: list[str | None] = ["a" * 64]
    cache._loaded[name] = first
    monkeypatch.setattr("workers.cache.named", lambda info, folder: there[0])
    monkeypatch.setattr("workers.cache.load_base", lambda *_, **__: second)
    assert cache.get(name) is first
    there[0] = None  # removed: what is loaded serves
    assert cache.get(name) is first
    there[0] = "b" * 64
    assert cache.get(name) is second and cache.get(name) is second


def test_an_unknown_base_is_named(bases: BaseCache) -> None:
    with pytest.raises(UnknownBase, match=r"no such base.* There are: espnetv2, .*espnetv2_tiny"):
        bases.get("no such base")


def test_a_model_is_loaded_once_per_user_version_and_hash() -> None:
    cache, loader = PersonalModelCache(100), Loader(10)
    first = cache.get(key(1), loader)
    assert cache.get(key(1), loader) is first
    assert cache.get(key(1, user="v"), loader) is not first
    assert cache.get(ModelKey("u", 1, "f" * 64), loader) is not first
    assert loader.calls == 3


def test_the_least_recently_used_model_goes_first() -> None:
    cache, loader = PersonalModelCache(30), Loader(10)
    for number in (1, 2, 3):
        cache.get(key(number), loader)
    cache.get(key(1), loader)
    cache.get(key(4), loader)
    calls = loader.calls
    cache.get(key(1), loader)
    assert (len(cache), loader.calls) == (3, calls)
    cache.get(key(2), loader)
    assert loader.calls == calls + 1


def test_a_model_over_the_bound_is_held_alone() -> None:
    cache = PersonalModelCache(30)
    cache.get(key(1), Loader(10))
    cache.get(key(2), Loader(100))
    assert len(cache) == 1


def test_a_failed_load_leaves_nothing() -> None:
    cache = PersonalModelCache(30)

    def fail() -> tuple[Any, int]:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        cache.get(key(1), fail)
    assert len(cache) == 0
