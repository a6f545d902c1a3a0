"""Users may wish for adaptations by themselves

Revision: 2026_11_22_auto_adapt.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_22_auto_adapt"
down_revision = "2026_11_22_erasures"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("auto_adapt", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("users", sa.Column("auto_adapt_seen", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_users_auto_adapt", "users", ["id"], sqlite_where=sa.text("auto_adapt"), postgresql_where=sa.text("auto_adapt"))


def downgrade() -> None:
    op.drop_index("ix_users_auto_adapt", table_name="users")
    op.drop_column("users", "auto_adapt_seen")
    op.drop_column("users", "auto_adapt")
