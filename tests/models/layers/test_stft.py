"""The short-time Fourier transform: its own inverse, and torch's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from upscale.models.layers.stft import TightStft, mid_side


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("overlap", [2, 4])
@pytest.mark.parametrize("num_samples", [1, 500, 5120])
def test_the_transform_gives_back_any_length_and_keeps_energy(overlap: int, num_samples: int) -> None:
    stft, wav = TightStft(512, overlap), noise(1, 2, num_samples)
    real, imaginary = stft.analyse(wav)
    assert torch.allclose(stft.synthesise(real, imaginary, num_samples), wav, atol=1e-6)
    twins = torch.full((257, 1), 2.0)
    twins[0] = twins[-1] = 1.0  # all others stand for their negative twins too
    energy = ((real**2 + imaginary**2) * twins).sum() / 512
    assert energy == pytest.approx(float(wav.square().sum()), rel=1e-4)


@pytest.mark.parametrize("overlap", [2, 4])
def test_the_transform_is_torchs_own(overlap: int) -> None:
    """Also back from a spectrum that belongs to no sound, whose frames do not agree."""
    stft, wav = TightStft(512, overlap), noise(1, 2, 5120)
    padded = F.pad(wav[0], (stft.lead, 256))
    options = {"n_fft": 512, "hop_length": stft.hop, "window": stft.window}
    expected = torch.stft(padded, pad_mode="constant", return_complex=True, **options)
    assert torch.equal(stft.spectrum(wav)[0], expected)
    changed = expected * torch.rand(expected.shape, generator=torch.Generator().manual_seed(2))
    sound = torch.istft(changed, length=(expected.shape[-1] - 1) * stft.hop, **options)
    expected = sound[..., stft.lead : stft.lead + 5120]
    assert torch.allclose(stft.sound(changed[None], 5120)[0], expected, atol=1e-6)


def test_the_transform_is_its_own_inverse_and_sees_what_torch_sees() -> None:
    stft = TightStft(512)
    wav = noise(1, 2, 3000)
    real, imaginary = stft.analyse(wav)
    assert torch.allclose(stft.synthesise(real, imaginary, num_samples=3000), wav, atol=1e-6)
    frame = wav[0, 0, 1024 - 256 : 1024 + 256].double().numpy() * np.sqrt(np.hanning(513)[:-1])
    expected = np.fft.rfft(frame)
    assert np.allclose(real[0, 0, :, 4], expected.real, atol=1e-4)
    assert torch.allclose(mid_side(mid_side(wav)), wav, atol=1e-6)
