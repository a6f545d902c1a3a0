"""Which weights of its base a mask was made with

Unknown for the masks that are there: they are taken for those of the weights in use.

Revision: 2026_12_01_weights_of_masks.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026_12_01_weights_of_masks"
down_revision = "2026_11_30_chores"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("masks") as masks:
        masks.add_column(sa.Column("base_sha256", sa.String(length=64), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("masks") as masks:
        masks.drop_column("base_sha256")
