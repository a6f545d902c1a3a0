"""Every annotated shape and dtype of the method is checked while the tests run."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]
INNERMOST = frozenset({"models.bases.espnetv2", "models.bases.layers"})
"""Hundreds of calls a pass, whose checks took two fifths of the time: a test of their own checks them (tests/models/test_shapes.py)."""


def check_shapes(left_out: frozenset[str] = INNERMOST) -> None:
    """To be called before anything imports these modules: later it would change nothing, without a word."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.glob("models/**/*.py")}
    install_import_hook(sorted(modules - left_out), "beartype.beartype")
