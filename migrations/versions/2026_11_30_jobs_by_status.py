"""A user's jobs are found by their status, without reading all that have ended

Revision: 2026_11_30_jobs_by_status.
"""

from __future__ import annotations

from alembic import op

revision = "2026_11_30_jobs_by_status"
down_revision = "2026_11_22_webhooks"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_user_id_kind_status", "jobs", ["user_id", "kind", "status"])


def downgrade() -> None:
    op.drop_index("ix_jobs_user_id_kind_status", table_name="jobs")
