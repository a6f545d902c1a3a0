"""`python -m app.secret_files FOLDER`: the secrets of a deployment by `docker compose`, made once and kept.

For deployments that have no store of secrets of their own. What is there already is left as it is.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from app.prepare import write_private

_PASSWORD = "postgres_password"  # noqa: S105 - the name of a file
_DATABASE_URL = "personalseg_database_url"
_METRICS_TOKEN = "personalseg_metrics_token"  # noqa: S105 - the name of a file


def make_secret_files(folder: Path, *, database_host: str = "postgres") -> None:
    """Make the password of the database, the URL that holds it, and the token of Prometheus, where they are missing. Raises OSError."""
    password = _keep(folder / _PASSWORD, secrets.token_urlsafe(32))
    _keep(folder / _DATABASE_URL, f"postgresql+psycopg://personalseg:{password}@{database_host}:5432/personalseg")
    _keep(folder / _METRICS_TOKEN, secrets.token_urlsafe(32))


def _keep(path: Path, text: str) -> str:
    if not path.exists():
        write_private(path, text)
    return path.read_text().strip()


if __name__ == "__main__":
    make_secret_files(Path(sys.argv[1]))
