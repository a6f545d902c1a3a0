import pytest
import torch

from models.fourier import swap_low_frequencies


def test_beta_zero_takes_over_the_mean_only() -> None:
    torch.manual_seed(0)
    photos, style = torch.rand(1, 3, 8, 8) + 1, torch.rand(1, 3, 8, 8) + 5
    result = swap_low_frequencies(photos, style, 0.0)
    assert torch.allclose(result.mean((2, 3)), style.mean((2, 3)), atol=1e-5)
    assert torch.allclose(result - result.mean((2, 3), keepdim=True), photos - photos.mean((2, 3), keepdim=True), atol=1e-5)


def test_one_low_wave_by_hand() -> None:
    # Both are 1 + a·cos along the rows with one period; amplitudes swap, so the photo's wave takes the style's height and keeps its place.
    place = torch.arange(8) * 2 * torch.pi / 8
    wave = lambda height, shift: (1 + height * torch.cos(place + shift)).view(1, 1, 1, 8).expand(1, 3, 8, 8)  # noqa: E731
    result = swap_low_frequencies(wave(0.5, 0.7), wave(0.2, -0.4), 0.2)
    assert torch.allclose(result, wave(0.2, 0.7), atol=1e-5)


def test_high_frequencies_stay() -> None:
    checkers = ((torch.arange(8)[:, None] + torch.arange(8)[None]) % 2).float().expand(1, 3, 8, 8)  # mean 1/2 and the highest frequency
    result = swap_low_frequencies(checkers, torch.full((1, 3, 8, 8), 0.5), 0.2)
    assert torch.allclose(result, checkers, atol=1e-5)


def test_a_photo_with_its_own_style_is_itself() -> None:
    photos = torch.rand(2, 3, 9, 12)
    assert torch.allclose(swap_low_frequencies(photos, photos, 0.3), photos, atol=1e-5)


def test_beta_out_of_range() -> None:
    with pytest.raises(ValueError, match="beta"):
        swap_low_frequencies(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), 0.5)
