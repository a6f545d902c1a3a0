import numpy as np
import torch

from models.augment import disturb, mix_pieces


def test_disturbed_photos_keep_their_size_and_range() -> None:
    rng = np.random.default_rng(0)
    photo = torch.from_numpy(rng.uniform(0, 255, (3, 64, 48)).astype(np.float32))
    views = [disturb(photo, rng) for _ in range(40)]
    assert all(view.shape == photo.shape and view.min() >= 0 and view.max() <= 255 for view in views)
    untouched = sum(torch.equal(view, photo) for view in views)
    assert 5 <= untouched <= 30  # (1 − 0.3)(1 − 0.2)(1 − 0.3) = 39 % of 40 are left alone, on average


def test_a_piece_comes_with_its_labels() -> None:
    """Photo i is all i, so that every pixel tells where it and its label came from."""
    values = torch.arange(6.0)
    photos = values.view(6, 1, 1, 1).expand(6, 3, 64, 64).clone()
    labels = values.long().view(6, 1, 1).expand(6, 32, 32).clone()
    mixed, mixed_labels = mix_pieces(photos, labels, np.random.default_rng(1))
    assert torch.equal(mixed[:, 0, ::2, ::2].long(), mixed_labels)
    assert not torch.equal(mixed, photos)
    assert torch.equal(photos[:, 0, 0, 0], values), "the input is left as it was"
    foreign = (mixed_labels != labels).flatten(1).float().mean(1)
    assert (foreign <= 0.36).all()  # at most 60 % × 60 %
    assert ((foreign > 0.08) | (foreign == 0)).all()


def test_one_photo_has_nobody_to_mix_with() -> None:
    photos, labels = torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 4, dtype=torch.int64)
    assert mix_pieces(photos, labels, np.random.default_rng(0))[0] is photos


def test_the_same_seed_gives_the_same_views() -> None:
    photo = torch.rand(3, 32, 32) * 255
    first, second = (disturb(photo, np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(first, second)
