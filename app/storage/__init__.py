"""Blobs in a local folder (`file://`) or in an object store (`s3://`)."""

from app.storage.keys import (
    checkpoint_key,
    checkpoints_prefix,
    confidence_key,
    labels_key,
    masks_prefix,
    model_key,
    photo_key,
    user_prefix,
)
from app.storage.store import Storage, open_storage

__all__ = [
    "Storage",
    "checkpoint_key",
    "checkpoints_prefix",
    "confidence_key",
    "labels_key",
    "masks_prefix",
    "model_key",
    "open_storage",
    "photo_key",
    "user_prefix",
]
