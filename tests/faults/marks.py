"""On which databases a fault is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def on_both_when_long(test: Callable[..., Any]) -> Any:
    """SQLite always, PostgreSQL in the long form."""
    return pytest.mark.on_both_when_long(pytest.mark.parametrize("service", ["sqlite", "postgresql"], indirect=True)(test))


on_sqlite = pytest.mark.parametrize("service", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("service", ["postgresql"], indirect=True)
