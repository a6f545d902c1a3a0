"""Every annotated shape and dtype of the method is checked while the tests run."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import install_import_hook

REPOSITORY = Path(__file__).parents[1]
INNERMOST = {"models.bases.espnetv2", "models.bases.layers"}
"""Hundreds of calls a pass, whose checks took two fifths of the time: a test of their own checks them (tests/models/test_shapes.py)."""


def check_shapes() -> None:
    """To be called before anything imports these modules: later it would change nothing, without a word."""
    modules = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in REPOSITORY.glob("models/**/*.py")}
    install_import_hook(sorted(modules - INNERMOST), "beartype.beartype")
