"""Jobs tell when they were last served and when they last gave way, so that users take turns

Revision: 2026_11_22_turns.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_22_turns"
down_revision = "2026_11_22_bases_context"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("served_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("yielded_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_jobs_user_id_kind_served_at", "jobs", ["user_id", "kind", "served_at"])


def downgrade() -> None:
    op.drop_index("ix_jobs_user_id_kind_served_at", table_name="jobs")
    op.drop_column("jobs", "yielded_at")
    op.drop_column("jobs", "served_at")
