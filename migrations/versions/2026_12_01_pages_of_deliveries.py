"""The newest deliveries of one webhook, found without sorting all of them

Revision: 2026_12_01_pages_of_deliveries.
"""

from __future__ import annotations

from alembic import op

revision = "2026_12_01_pages_of_deliveries"
down_revision = "2026_12_01_weights_of_masks"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_webhook_deliveries_webhook_id_id", "webhook_deliveries", ["webhook_id", "id"])


def downgrade() -> None:
    op.drop_index("ix_webhook_deliveries_webhook_id_id", table_name="webhook_deliveries")
