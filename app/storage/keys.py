"""Where everything lies in the blob store; the keys of one user all start with `users/{user_id}/`."""

from __future__ import annotations


def user_prefix(user_id: str) -> str:
    """Where everything of one user lies."""
    return f"users/{user_id}"


def photo_key(user_id: str, sha256: str) -> str:
    """An original, as it was uploaded."""
    return f"{user_prefix(user_id)}/photos/{sha256}"


def model_key(user_id: str, version: int, sha256: str) -> str:
    """A personal model's safetensors file."""
    return f"{user_prefix(user_id)}/models/{version}-{sha256}.safetensors"


def checkpoints_prefix(user_id: str, job_id: str) -> str:
    """Where an adaptation's checkpoints lie while it goes on."""
    return f"{user_prefix(user_id)}/checkpoints/{job_id}"


def checkpoint_key(user_id: str, job_id: str, token: int) -> str:
    """The checkpoint that the holder of this fencing token writes; keys sort as tokens do."""
    return f"{checkpoints_prefix(user_id, job_id)}/{token:08d}.safetensors"


def masks_prefix(user_id: str, image_id: str) -> str:
    """Where every mask of one photo lies."""
    return f"{user_prefix(user_id)}/masks/{image_id}"


def labels_key(user_id: str, image_id: str, base: str, version: int) -> str:
    """A mask: palette PNG of the photo's own upright size."""
    return f"{masks_prefix(user_id, image_id)}/{base}-v{version}.labels.png"


def confidence_key(user_id: str, image_id: str, base: str, version: int) -> str:
    """A mask's confidence: 8-bit grey PNG, 255 = certain."""
    return f"{masks_prefix(user_id, image_id)}/{base}-v{version}.confidence.png"
