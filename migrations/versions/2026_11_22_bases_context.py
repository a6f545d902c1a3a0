"""Bases tell their context and whether their weights are here

Revision: 2026_11_22_bases_context, after 2026_11_22_first_tables.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_22_bases_context"
down_revision = "2026_11_22_first_tables"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("bases") as batch:
        batch.add_column(sa.Column("context", sa.String(length=32), nullable=False, server_default="trained"))
        batch.add_column(sa.Column("weights_present", sa.Boolean(), nullable=False, server_default=sa.true()))


def downgrade() -> None:
    with op.batch_alter_table("bases") as batch:
        batch.drop_column("weights_present")
        batch.drop_column("context")
