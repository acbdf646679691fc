"""The spectral networks: identity at the start, chunks equal the whole, mono stays mono, levels do not matter."""

import pytest
import torch

from upscale.metrics import lsd, si_sdr
from upscale.models import SpectralCascade, SpectralFill, SpectralFilter, SpectralGain
from upscale.models.spectral.bypass import QualityBypass
from upscale.models.spectral_fill import LOUD, noise_carrier

TINY = {"width": 8, "num_blocks": 2, "num_bands": 16, "frame_width": 16, "average_frames": 3}
TINY_CASCADE = {**TINY, "fine_window_size": 4096, "brief_window_size": 256}
TINY_LEVEL = {"level_width": 8, "num_level_blocks": 1, "level_frame_width": 16}
TINY_FILL = {**TINY_CASCADE, **TINY_LEVEL, "num_iterations": 2, "period": 8192}
UNRELATED = torch.zeros(1)  # left and right


def tiny(name: str) -> torch.nn.Module:
    """A small network with random weights everywhere, so that the zero start hides nothing."""
    generator = torch.Generator().manual_seed(0)
    make = {
        "gain": lambda: SpectralGain(num_blocks=2),
        "filter": lambda: SpectralFilter(**TINY),
        "cascade": lambda: SpectralCascade(**TINY_CASCADE),
        "fill": lambda: SpectralFill(**TINY_FILL),
    }
    model = make[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def noise(*shape: int, seed: int = 0, cutoff: float = 16_000) -> torch.Tensor:
    """White noise below `cutoff` Hz, as an MP3 of a middling bitrate has it."""
    spectrum = torch.fft.rfft(0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    spectrum[..., round(cutoff / 44_100 * shape[-1]) + 1 :] = 0
    return torch.fft.irfft(spectrum, n=shape[-1])


@pytest.mark.parametrize("num_samples", [1, 1000, 1024, 44100])
@pytest.mark.parametrize("model", [SpectralGain(), SpectralCascade(**TINY_CASCADE)], ids=["gain", "cascade"])
def test_untrained_is_identity_at_any_length(model: torch.nn.Module, num_samples: int) -> None:
    wav = noise(2, 2, num_samples)
    assert torch.allclose(model(wav), wav, atol=1e-6)


@pytest.mark.parametrize("name", ["gain", "filter", "cascade", "fill"])
def test_a_chunk_with_context_equals_the_whole(name: str) -> None:
    model = tiny(name)
    before = -(-model.context // model.stride) * model.stride
    start = before + model.stride
    stop = start + 5000
    wav = noise(1, 2, stop + model.context + 20_000)
    if name in ("cascade", "fill"):  # the bypass opens within the chunk
        loud = start - (QualityBypass().average_frames - 9) * QualityBypass().stride
        wav[..., :loud] = noise(1, 2, loud, cutoff=22_050)
    with torch.no_grad():
        whole = model(wav)
        chunk = model(wav[..., start - before : stop + model.context])
    assert not torch.allclose(whole[..., start:stop], wav[..., start:stop], atol=1e-3)
    assert torch.allclose(chunk[..., before:][..., :5000], whole[..., start:stop], atol=1e-4)


def test_a_quiet_file_is_filtered_like_a_loud_one() -> None:
    model = tiny("cascade")
    wav = noise(1, 2, 20_000)
    with torch.no_grad():
        assert torch.allclose(model(wav * 1e-2) * 1e2, model(wav), atol=1e-3)


@pytest.mark.parametrize("name", ["cascade", "fill"])
def test_mono_stays_mono_and_silence_stays_silent(name: str) -> None:
    model = tiny(name)
    wav = noise(1, 1, 20_000).expand(1, 2, -1)
    with torch.no_grad():
        restored = model(wav)
        silent = model(torch.zeros(1, 2, 9000))
    assert torch.allclose(restored[:, 0], restored[:, 1], atol=1e-5)
    assert silent.abs().max() < 1e-4


@pytest.mark.parametrize("name", ["cascade", "fill"])
def test_an_unknown_bitrate_is_zero_or_none_and_a_known_one_matters(name: str) -> None:
    model = tiny(name)
    wav = noise(2, 2, 9000)
    with torch.no_grad():
        unknown = model(wav)
        assert torch.equal(unknown, model(wav, torch.tensor([0.0, 0.0])))
        assert not torch.allclose(unknown, model(wav, torch.tensor([64.0, 64.0])), atol=1e-5)


@pytest.mark.parametrize("name", ["cascade", "fill"])
def test_a_good_file_passes_unchanged(name: str) -> None:
    model = tiny(name)
    full, low_passed = noise(1, 2, 40_000, cutoff=22_050), noise(1, 2, 40_000)
    with torch.no_grad():
        assert torch.equal(model(full), full)
        assert torch.equal(model(low_passed, torch.tensor([320.0])), low_passed)
        assert not torch.allclose(model(full, torch.tensor([128.0])), full, atol=1e-3)
        assert not torch.allclose(model(low_passed), low_passed, atol=1e-3)


def test_true_levels_bring_the_sound_nearer_with_every_iteration() -> None:
    """Degraded: every other band of bins 10 dB down. Wanted: the clean spectrum."""
    model, clean = SpectralFill(**TINY_FILL), noise(1, 2, 40_000)
    spectrum = torch.fft.rfft(clean)
    spectrum *= torch.where(torch.arange(spectrum.shape[-1]) // 400 % 2 == 0, 1.0, 0.3)
    degraded = torch.fft.irfft(spectrum, n=clean.shape[-1])
    amplitude = torch.sqrt(10 ** model.level.log_power(model.stft.analyse(clean)) / model.level.power_scale)
    distances, errors = [lsd(clean, degraded)], [-si_sdr(clean, degraded)]
    for model.num_iterations in (1, 8, 16):
        restored = model.with_levels(model.stft.analyse(degraded), amplitude, UNRELATED, num_samples=clean.shape[-1])
        distances.append(lsd(clean, restored))
        errors.append(-si_sdr(clean, restored))
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.3 * distances[0]
    assert errors == sorted(errors, reverse=True)


def test_loud_bins_stay_as_filtered() -> None:
    """A tone 26 dB above noise, all of which should be 20 dB quieter: the noise obeys."""
    model, length = SpectralFill(**TINY_FILL), 40_960
    hiss = 0.1 * noise(1, 2, length, cutoff=22_050)
    tone = 0.3 * torch.sin(2 * torch.pi * 1000 / 44_100 * torch.arange(length)).expand(1, 2, -1)
    wav = tone + hiss
    spectrum = model.stft.analyse(wav)
    amplitude = 0.1 * torch.sqrt(10 ** model.level.log_power(spectrum) / model.level.power_scale)
    restored = model.with_levels(spectrum, amplitude, UNRELATED, num_samples=length)
    assert si_sdr(wav, restored) > 20
    before, after = (model.level.log_power(model.stft.analyse(sound))[:, :, 200:400, 8:-8] for sound in (wav, restored))
    assert (after - before).mean() == pytest.approx(-2, abs=0.2)

    flat, silent = torch.ones(1, 2, 1024, 50), torch.zeros(1, 2, 1024, 50)
    assert torch.allclose(model.kept(flat, silent), torch.tensor(1 / (1 + LOUD)))
    assert model.kept(silent, silent).abs().max() == 0


def correlated(correlation: float, num_samples: int) -> torch.Tensor:
    """White noise, left and right: [1, 2, num_samples]."""
    mid, side = noise(2, num_samples, cutoff=22_050)
    left, right = (1 + correlation) ** 0.5 * mid, (1 - correlation) ** 0.5 * side
    return torch.stack([left + right, left - right])[None]


@pytest.mark.parametrize("correlation", [-1, -0.6, 0, 0.8, 1])
def test_filled_bins_have_the_correlation_that_is_asked_for(correlation: float) -> None:
    model, length = SpectralFill(**{**TINY_FILL, "num_iterations": 6}), 81_920
    wide = correlated(correlation, length)
    level = model.level
    assert level.correlation(level.stft.analyse(wide)).mean() == pytest.approx(correlation, abs=0.02)

    above = slice(600, 1000)  # bins, where an encoder left nothing
    spectrum = level.stft.analyse(correlated(0.5, length))
    for part in spectrum:
        part[:, :, above.start - 100 :] = 0
    amplitude = torch.ones(1, 2, 1024, spectrum[0].shape[-1])
    filled = model.with_levels(spectrum, amplitude, torch.full((1, 1, 1024, 1), correlation), num_samples=length)
    real, imaginary = (part[:, :, above, 8:-8] for part in level.stft.analyse(filled))
    power = (real**2 + imaginary**2).mean(dim=(2, 3))[0]
    cross = (real[:, 0] * real[:, 1] + imaginary[:, 0] * imaginary[:, 1]).mean()
    assert cross / power.prod().sqrt() == pytest.approx(correlation, abs=0.03)
    assert power.sqrt().tolist() == pytest.approx([1, 1], abs=0.05)


def test_gradients_are_finite_for_silence_and_mono() -> None:
    model = SpectralFill(**TINY_FILL).train()
    wav = noise(3, 2, 9000)
    wav[0] = 0
    wav[1, 1] = wav[1, 0]
    model(wav).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_noise_carrier_is_flatter_than_noise_and_always_the_same() -> None:
    carrier = noise_carrier(16384)
    assert torch.equal(carrier, noise_carrier(16384))

    def ripple(wav: torch.Tensor, hop: int = 300) -> float:
        window = torch.hann_window(2048)
        spectrum = torch.stft(wav.repeat(3), 2048, hop, window=window, return_complex=True)
        return float(torch.log10(spectrum[50:-50, 16:-16].abs() ** 2).std())

    assert ripple(noise(16384, cutoff=22_050)) == pytest.approx(0.557, abs=0.03)
    assert ripple(carrier) < 0.4
    assert ripple(carrier, hop=512) < 0.13, "in the frames that it was made for"
