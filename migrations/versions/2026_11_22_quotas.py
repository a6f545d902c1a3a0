"""Users can have quotas of their own; counting their photos needs an index only

Revision: 2026_11_22_quotas.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_11_22_quotas"
down_revision = "2026_11_22_idempotency_scope"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("quota_images", sa.BigInteger(), nullable=True))
    op.add_column("users", sa.Column("quota_bytes", sa.BigInteger(), nullable=True))
    op.add_column("users", sa.Column("quota_adaptation_seconds", sa.Float(precision=53), nullable=True))
    op.create_index("ix_images_user_id_byte_size", "images", ["user_id", "byte_size"])


def downgrade() -> None:
    op.drop_index("ix_images_user_id_byte_size", table_name="images")
    op.drop_column("users", "quota_adaptation_seconds")
    op.drop_column("users", "quota_bytes")
    op.drop_column("users", "quota_images")
