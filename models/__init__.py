"""The method: photos in, masks out. The door of this room: `load_base`, `personalize`, `segment`.

>>> base = load_base("espnetv2")                      # doctest: +SKIP
>>> result = personalize(base, photos)                # photos: a PhotoSource
>>> segment(base, photo, result.model).labels         # (H, W) uint8
"""

from models.bases.registry import Base, BaseInfo, available_bases, default_base, load_base
from models.checkpoint_file import photo_ids_in
from models.checkpoints import PersonalModel, load_personal
from models.config import PersonalizeConfig
from models.guard import GuardLimits
from models.inference import segment
from models.look import learned_side
from models.personalize import Personalization, personalize
from models.resume import CheckpointStore
from models.types import Cancelled, ModelFileError, PhotoSource, PhotoUnavailable, Progress, Segmentation, Verdict


def save_personal(model: PersonalModel) -> bytes:
    """The personal model's file content (safetensors); `load_personal` reads it."""
    return model.stored


__all__ = [
    "Base",
    "BaseInfo",
    "Cancelled",
    "CheckpointStore",
    "GuardLimits",
    "ModelFileError",
    "PersonalModel",
    "Personalization",
    "PersonalizeConfig",
    "PhotoSource",
    "PhotoUnavailable",
    "Progress",
    "Segmentation",
    "Verdict",
    "available_bases",
    "default_base",
    "learned_side",
    "load_base",
    "load_personal",
    "personalize",
    "photo_ids_in",
    "save_personal",
    "segment",
]
