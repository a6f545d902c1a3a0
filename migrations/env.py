"""Run by Alembic: on the connection that `app.db` hands over, or on the database of the settings from the shell."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from app.db import migrating
from app.settings import Settings
from app.tables import Table


def run(connection: Connection) -> None:
    """Migrate on this connection, all in its one transaction."""
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        render_as_batch=True,
        transactional_ddl=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with migrating(Settings().database_url) as own:
        run(own)
