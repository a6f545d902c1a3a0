"""What users are told when something goes wrong."""

from __future__ import annotations

import errno

import pytest
import torch

from app.errors import BlobNotFound
from models import ModelFileError
from models.bases.errors import CannotStore, CutOff, Damaged, NotTrained, Refused, Unreachable, WrongFile
from models.datasets import UnusableFile
from workers.cache import UnknownBase
from workers.codec import PhotoTooLarge, PhotoUnreadable
from workers.failures import FAILURE_CODES, GalleryVanished, UnknownModelVersion, describe


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (BlobNotFound("users/u/photos/abc"), "photo_missing"),
        (PhotoTooLarge("The picture has too many pixels."), "photo_too_large"),
        (PhotoUnreadable("The photo cannot be decoded: truncated"), "photo_unreadable"),
        (ModelFileError("shape of x"), "model_file_invalid"),
        (UnusableFile("/srv/secret/images/a.jpg cannot be read: truncated"), "source_unreadable"),
        (UnknownModelVersion(3, "espnetv2"), "unknown_model_version"),
        (GalleryVanished(), "gallery_empty"),
        (UnknownBase("no base", ["espnetv2"]), "unknown_base"),
        (Unreachable("http://mirror/x.pth", "Connection refused"), "base_source_unreachable"),
        (Refused("http://mirror/x.pth", 404, "Not Found"), "base_source_refused"),
        (CutOff("http://mirror/x.pth", 1, 2), "base_download_cut_off"),
        (WrongFile("http://mirror/x.pth", "2 bytes", "3 bytes"), "base_wrong_file"),
        (Damaged("lraspp", "another sha256"), "base_damaged"),
        (NotTrained("pspnet_resnet50"), "base_not_trained"),
        (CannotStore("It", OSError(28, "No space left on device", "/srv/secret")), "base_not_stored"),
        (OSError(errno.ENOSPC, "No space left on device", "/srv/secret"), "storage_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "storage_full"),
        (OSError(errno.EIO, "Input/output error", "/srv/secret"), "storage_error"),
        (KeyError("a mistake of ours"), "internal_error"),
        (ZeroDivisionError("/srv/secret/path"), "internal_error"),
    ],
)
def test_each_error_has_a_code_and_a_sentence(error: Exception, code: str) -> None:
    failure = describe(error)
    assert failure.code == code and code in FAILURE_CODES
    assert failure.reason.endswith(".") or code == "photo_unreadable"
    assert "/srv/secret" not in failure.reason and "users/u" not in failure.reason
