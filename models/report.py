"""The report of a personalisation: JSON for the job, the API and the report page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from models.alignment import AlignmentLog
from models.appearance import Choice
from models.bases.registry import Base
from models.clock import Clock
from models.config import PersonalizeConfig
from models.held_out import held_out
from models.labels import IGNORE
from models.look import Look
from models.resume import Journal
from models.selftraining import TrainingLog
from models.types import PhotoSource, Verdict


def report_of(
    base: Base,
    photos: PhotoSource,
    config: PersonalizeConfig,
    clock: Clock,
    verdict: Verdict,
    seen: Look | None = None,
    choice: Choice | None = None,
    labels: UInt8[Tensor, "photos h w"] | None = None,
    thresholds: Float[Tensor, " classes"] | None = None,
    log: TrainingLog | None = None,
    aligned: AlignmentLog | None = None,
    journal: Journal | None = None,
) -> dict[str, Any]:
    """What is known of a personalisation when it ends; the arguments that are None belong to stages that were not reached."""
    clock.close()
    report: dict[str, Any] = {
        "base": base.info.name,
        "photos": len(photos.ids),
        "verdict": verdict.to_json(),
        "stages": [{"name": name, "seconds": round(seconds, 3)} for name, seconds in clock.seconds.items()],
        "seconds": round(clock.elapsed, 3),
        "budget_reached": clock.budget_reached,
        "settings": config.to_json(),
        "groups": [],
    }
    if journal is not None:
        report |= journal.to_json()
    if seen is not None:
        if seen.left_out:
            report["photos_left_out"] = left_out_json(seen.left_out)
        members = seen.group_of(photos)
        by_group = [sorted(photo for photo, group in members.items() if group == index) for index in range(len(seen.centres))]
        report["groups"] = [{"index": index, "photos": ids, "size": len(ids)} for index, ids in enumerate(by_group)]
        kept_back = len(held_out(len(seen.pixels), config))
        report |= {
            "photos_seen": len(seen.indices),
            "photos_alike": seen.alike,
            "photos_learned_from": len(seen.pixels) - kept_back,
            "photos_held_out": kept_back,
        }
    if choice is not None:
        report["appearance"] = choice.to_json()
    if labels is not None and thresholds is not None:
        report["pseudo_labels"] = _pseudo_label_report(base, labels, thresholds)
    if aligned is not None:
        report["alignment"] = {"steps": aligned.steps, "planned_steps": aligned.planned_steps}
    if log is not None:
        # JSON knows no NaN, which a training that diverged has.
        losses = [round(loss, 4) if math.isfinite(loss) else None for loss in log.losses]
        report["training"] = {"steps": log.steps, "planned_steps": log.planned_steps, "losses": losses}
    return report


def left_out_json(left_out: Mapping[str, str]) -> list[dict[str, str]]:
    """Photos that could not be read, and why."""
    return [{"id": photo_id, "reason": reason} for photo_id, reason in left_out.items()]


def _pseudo_label_report(base: Base, labels: UInt8[Tensor, "photos h w"], thresholds: Float[Tensor, " classes"]) -> dict[str, Any]:
    counts = torch.bincount(labels.flatten(), minlength=IGNORE + 1)[: base.classes]
    found = [index for index in range(base.classes) if counts[index] > 0]
    return {
        "labelled_share": round(float(counts.sum()) / labels.numel(), 4),
        "classes": [
            {
                "name": base.info.class_names[index],
                "share": round(float(counts[index]) / labels.numel(), 5),
                "threshold": round(float(thresholds[index]), 4),
            }
            for index in found
        ],
    }  # fmt: skip
