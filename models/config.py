"""The numbers of a personalisation. Each cites its source or says that it is ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PersonalizeConfig:
    """How to adapt a base to a gallery. Sides in pixels, times in seconds, shares in [0, 1]."""

    budget_seconds: float = 240.0
    """Wall-clock bound of the whole personalisation; at the bound the best state so far goes to the guard."""
    seed: int = 0

    group_size: int = 8  # METHOD, "Grouping": about 8 photos a group
    describe_side: int = 224  # ours: photos are grouped on small copies
    describe_share: float = 0.25  # ours: at most this share of the budget goes into looking at the gallery
    max_training_photos: int = 160  # ours: of a larger gallery so many, drawn at random; they make the groups

    appearance: bool = True
    """Whether the gallery's appearance is aligned with the training photos' (`models.appearance`)."""
    appearance_share: float = 0.1
    """At most this share of the budget goes into choosing it (ours)."""
    context: bool = True
    """Whether labels, training and serving use the inter-image context."""
    source_share: float = 0.35
    """With source photos: alignment ends when this share of the budget is gone, the look at the gallery counted (ours)."""
    class_balance: bool = True
    """Whether each class keeps `keep_share` of its own pixels; else one threshold holds for all."""

    scales: tuple[float, ...] = (0.75, 1.0, 1.25)  # ours: pseudo labels average these multiples of the base's side, each also flipped
    label_share: float = 0.45  # ours: pseudo labels may take at most this share of the budget
    keep_share: float = 0.85  # ours (docs/decisions/0004, 0006); of each class's pixels, as CBST (arXiv 1810.07911, section 4)
    keep_share_shifted: float = 0.75  # ours (docs/decisions/0006): the same in a gallery from an unfamiliar camera
    shifted_from: float = 1.12
    """A gallery's camera is unfamiliar where its statistics are this many times as far from training as ordinary photos' (ours)."""
    step_share: float = 0.5
    """How far the personal model's weights go from where training began to where it ended (WiSE-FT, arXiv 2109.01903; ours: half-way)."""
    easy_share: float = 1.0
    """Share of the photos, by mean entropy the easiest, that are learned from (METHOD, step 2: 0.60–0.67; ours: all)."""
    teacher_decay: float = 0.0
    """Decay a step of the running mean of weights that becomes the personal model (mean teacher, arXiv 1703.01780); 0: the last weights."""
    anchor_weight: float = 0.0
    """Weight of KL(base ‖ personal) on the pixels without a label (ours): holds the model to the base where nothing is learned."""
    strong_views: bool = True
    """Whether training sees disturbed and mixed photos (`models.augment`)."""

    epochs: int = 3  # ours; of each run
    runs: int = 2
    """Trainings from the same start whose mean is the personal model (model soups, arXiv 2203.05482; ours: two, docs/decisions/0026)."""
    learning_rate: float = 5e-5  # ours: AdamW; 1e-4 harmed some galleries
    auxiliary_weight: float = 0.4  # METHOD, step 1
    gradient_norm: float = 5.0  # ours

    photos_at_once: int | None = None
    """Photos whose activations are in memory at once; the results are the same but for float error. None: 1 on a CPU, else a group."""

    remembered_photos: int = 2  # ours: photos of each group whose class proxies the context bank keeps
    held_out_share: float = 0.125
    """Share of the photos chosen to learn from that are kept for the guard, and not trained on (ours: one in eight, from `held_out_from`
    chosen photos on). They give context to their group mates while these are labelled, and may be among the photos of the context bank."""
    held_out_from: int = 16
    guard_photos: int = 32  # ours: photos the guard looks at, those held out first
    guard_share: float = 0.12  # ours: share of the budget that training leaves to the guard

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)
