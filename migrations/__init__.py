"""Alembic migrations; found by `app.db` through this package, wherever it is installed."""
